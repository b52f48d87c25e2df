"""Heights -> the ten tasks that GeoHeight-Bench names, and heights of single buildings and trees.

Facts: an optical image, height images (role `height`; `bands` says nDSM, CHM, DSM, DEM or DTM) and, where a task needs
them, cover masks of image 0. All answers are computed in the rasters, by these rules:

- elevation_retrieval: the value of one pixel, named in whole per cent, or the maximum of a box. All pixels that the
  same per cent could mean are within 0.5 m.
- pixel_info: cover, height and share of lower pixels at such a pixel.
- instances are pieces of a cover that hang together; their height is the median of a building, the maximum of trees.
  A building whose 10th and 90th percentile differ by more than 2 m and 30 % is two at least and is not asked for.
- instance_extraction: the highest or lowest instance, 1 m and 10 % from the next. height_ranking: three to five
  instances, each 1 m and 10 % from the next.
- threshold_segmentation: a limit that 2 to 60 % of the picture exceed. class_segmentation: a cover, or its pixels over
  a limit.
- slope_info: Horn's slope of the bare ground, its mean and the share over a limit.
- flooding_inference: ground below the level that hangs together, over sides, with the water or, without water, with
  the edge of the picture. landslides_inference: ground over a limit of slope that carries nothing of `_terrain.FIRM`;
  the rule is part of the question and of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lhrs_chat.schema import Number, Sample, Targets

from . import Builder, _height_words, _nouns, _terrain
from ._facts import pick
from ._ground import INSTANCES, LEAST, MOST, SHARE_TOLERANCE, Ground, apart, valued
from ._rasters import ABOVE_GROUND, Height, box_of, even, inner_point, per_cent, region, spot
from ._regions import REGIONS, region_shares
from ._tasks import Step

_EVEN_M = 0.5  # between pixels that one whole per cent could mean
_SPARED = 0.6  # of the questions about flat ground: most ground has a height of 0
_RAISED_M = 2.0
_MOST_RANKED = 5
_HEIGHT_TOLERANCE_M = 1.0


def _draw_pixel(where: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """Column and row of one of the pixels of a mask."""
    places = np.flatnonzero(where)
    if places.size == 0:
        return None
    row, column = divmod(int(places[int(rng.integers(places.size))]), where.shape[1])
    return column, row


def _retrieval(ground: Ground, rng: np.random.Generator) -> Iterator[Sample]:
    for height in ground.rasters.heights:
        above = _height_words.ABOVE[height.kind]
        level, raised = even(height.metres, _EVEN_M), height.metres > _RAISED_M
        wanted = [level & raised, level & ~raised] if height.kind in ABOVE_GROUND else [level]
        if wanted[0].any() and rng.random() < _SPARED:
            wanted = wanted[:1]
        for where in wanted:
            place = _draw_pixel(where, rng)
            if place is None:
                continue
            value = round(float(height.metres[place[1], place[0]]), 1)
            question = pick(rng, _height_words.RETRIEVAL[above])
            yield ground.make(
                "elevation_retrieval",
                question.format(spot=spot(*place, ground.rasters.size_px)),
                [Step(pick(rng, _height_words.RETRIEVED).format(value=value, above=above))],
                valued(value, "m", _HEIGHT_TOLERANCE_M),
                height,
                point_px=list(place),
            )
        yield from _region(ground, height, rng)


def _region(ground: Ground, height: Height, rng: np.random.Generator) -> Iterator[Sample]:
    """Ask for the maximum of a box of a sixth to a half of each side."""
    wide, tall = ground.rasters.size_px
    w, h = (max(2, int(side * rng.uniform(0.17, 0.5))) for side in (wide, tall))
    x, y = int(rng.integers(wide - w + 1)), int(rng.integers(tall - h + 1))
    inside = np.zeros((tall, wide), dtype=bool)
    inside[y : y + h, x : x + w] = True
    flat = height.kind in ABOVE_GROUND and float(np.nanmax(height.metres[inside], initial=0.0)) == 0
    if np.isfinite(height.metres[inside]).all() and not (flat and rng.random() < _SPARED):
        above = _height_words.ABOVE[height.kind]
        value = round(float(height.metres[inside].max()), 1)
        start, end = _height_words.REGION[int(rng.integers(len(_height_words.REGION)))]
        yield ground.make(
            "elevation_retrieval",
            [start.format(above=above), box_of(inside, ""), end.format(above=above)],
            [Step(pick(rng, _height_words.REGION_SAID).format(value=value, above=above))],
            valued(value, "m", _HEIGHT_TOLERANCE_M),
            height,
        )


def _pixel_info(ground: Ground, rng: np.random.Generator) -> Iterator[Sample]:
    if ground.above is None or not ground.covers:
        return
    metres = ground.above.metres
    label = list(ground.covers)[int(rng.integers(len(ground.covers)))]
    place = _draw_pixel(even(metres, _EVEN_M) & ground.covers[label], rng)
    if place is None:
        return
    value = round(float(metres[place[1], place[0]]), 1)
    rank = round(100 * float((metres < metres[place[1], place[0]]).mean()))
    words = _height_words.PIXEL_SAID if rank else _height_words.PIXEL_LOW_SAID
    said = pick(rng, words).format(cover=_nouns.one(label), value=value, rank=rank)
    yield ground.make(
        "pixel_info",
        pick(rng, _height_words.PIXEL).format(spot=spot(*place, ground.rasters.size_px)),
        [Step(said)],
        Targets(
            labels=(label,),
            numbers=(
                Number(value, "m", "computed"),
                Number(_HEIGHT_TOLERANCE_M, "m", "computed", "tolerance"),
                Number(rank, "%", "computed", "lower"),
            ),
        ),
        ground.above,
        point_px=list(place),
    )


def _named(label: str) -> str:
    """One instance of a cover."""
    return {"forest": "piece of forest"}.get(label, label)


def _instance(ground: Ground, rng: np.random.Generator) -> Iterator[Sample]:
    if ground.above is None or not ground.instances:
        return
    for number in rng.permutation(len(ground.instances))[:2]:
        label, mask, height = ground.instances[int(number)]
        value, name = round(height, 1), _named(label)
        start, end = _height_words.INSTANCE[int(rng.integers(len(_height_words.INSTANCE)))]
        yield ground.make(
            "instance_height",
            [start.format(name=name), box_of(mask, name), end],
            [Step(pick(rng, _height_words.INSTANCE_SAID).format(name=name, value=value))],
            valued(value, "m", _HEIGHT_TOLERANCE_M),
            ground.above,
        )


def _extraction(ground: Ground, rng: np.random.Generator) -> Iterator[Sample]:
    if ground.above is None:
        return
    for label in INSTANCES:
        found = sorted((i for i in ground.instances if i[0] == label), key=lambda instance: instance[2])
        if len(found) < 2 or label in ground.mixed:
            continue
        for rank, one, other in (("highest", found[-1], found[-2]), ("lowest", found[0], found[1])):
            if not apart(one[2], other[2]):
                continue
            words = {"rank": rank, "name": _named(label), "value": round(one[2], 1), "region": region(one[1])}
            yield ground.make(
                "instance_extraction",
                pick(rng, _height_words.EXTRACT).format(**words),
                [Step(pick(rng, _height_words.EXTRACTED).format(**words), one[1], label)],
                valued(round(one[2], 1), "m", _HEIGHT_TOLERANCE_M),
                ground.above,
            )


def _ranking(ground: Ground, rng: np.random.Generator) -> Iterator[Sample]:
    chosen: list[tuple[str, np.ndarray, float]] = []
    for number in rng.permutation(len(ground.instances)):
        instance = ground.instances[int(number)]
        if len(chosen) < _MOST_RANKED and all(apart(instance[2], other[2]) for other in chosen):
            chosen.append(instance)
    if ground.above is None or len(chosen) < 3:
        return
    letters = tuple("ABCDE"[: len(chosen)])
    size_px = ground.rasters.size_px
    places = [per_cent(*inner_point(mask), size_px) for _, mask, _ in chosen]
    marks = "; ".join(f"{letter} at ({x} %, {y} %)" for letter, (x, y) in zip(letters, places, strict=True))
    order = tuple(sorted(letters, key=lambda letter: -chosen[letters.index(letter)][2]))
    yield ground.make(
        "height_ranking",
        pick(rng, _height_words.RANKING).format(marks=marks),
        [Step(", ".join(order))],
        Targets(labels=order, choices=letters),
        ground.above,
    )


def _pattern(ground: Ground, rng: np.random.Generator) -> Iterator[Sample]:
    if ground.above is None or not np.isfinite(ground.above.metres).all():
        return
    metres = ground.above.metres
    raised = metres > _RAISED_M
    share, top = round(100 * float(raised.mean())), round(float(metres.max()), 1)
    if share == 0:
        text = f"The scene is flat: nearly nothing rises more than {_RAISED_M:g} m above ground."
    else:
        ninths = region_shares(raised)
        most = REGIONS[int(ninths.argmax())]
        text = (
            f"{share} % of the picture rises more than {_RAISED_M:g} m above ground, most of all in the {most}. "
            f"What rises there has a median height of {float(np.median(metres[raised])):.1f} m; "
            f"the highest point, at {top} m, lies in the {region(metres == metres.max())}."
        )
        counts = {label: sum(instance[0] == label for instance in ground.instances) for label in ("building",)}
        if counts["building"] > 1 and "building" not in ground.mixed:
            heights = [instance[2] for instance in ground.instances if instance[0] == "building"]
            text += f" The buildings are {min(heights):.1f} m to {max(heights):.1f} m high."
    yield ground.make(
        "pattern_description",
        pick(rng, _height_words.PATTERN),
        [Step(text)],
        Targets(captions=(text,)),
        ground.above,
    )


def _limit(metres: np.ndarray, rng: np.random.Generator) -> float | None:
    """A limit in half metres that 2 to 60 % of the picture exceed."""
    known = metres[np.isfinite(metres)]
    if known.size == 0:
        return None
    limits = np.unique(np.floor(2 * np.quantile(known, rng.uniform(1 - MOST, 1 - LEAST, 8))) / 2)
    fitting = [float(t) for t in limits if LEAST <= float((metres > t).mean()) <= MOST]
    return fitting[int(rng.integers(len(fitting)))] if fitting else None


def _threshold(ground: Ground, rng: np.random.Generator) -> Iterator[Sample]:
    for height in ground.rasters.heights:
        limit = _limit(height.metres, rng)
        if limit is None:
            continue
        mask = height.metres > limit
        share = round(100 * float(mask.mean()), 1)
        words = {"limit": f"{limit:g}", "above": _height_words.ABOVE[height.kind], "share": share}
        yield ground.make(
            "threshold_segmentation",
            pick(rng, _height_words.THRESHOLD).format(**words),
            [Step(pick(rng, _height_words.THRESHOLD_SAID).format(**words), mask, f"over {limit:g} m")],
            valued(share, "%", SHARE_TOLERANCE),
            height,
            over_m=limit,
        )


def _classes(ground: Ground, rng: np.random.Generator) -> Iterator[Sample]:
    if ground.above is None:
        return
    for label in INSTANCES:
        if label not in ground.covers or ground.covers[label].mean() < LEAST:
            continue
        cover, metres = ground.covers[label], ground.above.metres
        middle = float(np.nanmedian(metres[cover])) if np.isfinite(metres[cover]).any() else 0.0
        limit = np.floor(middle) if middle > _RAISED_M and rng.random() < 0.5 else None
        mask = cover if limit is None else cover & (metres > limit)
        if not mask.any():
            continue
        share = round(100 * float(mask.mean()), 1)
        words = {"plural": _nouns.plural(label), "limit": "" if limit is None else f"{limit:g}", "share": share}
        asked, said = (
            (_height_words.CLASS, _height_words.CLASS_SAID)
            if limit is None
            else (_height_words.CLASS_OVER, _height_words.CLASS_OVER_SAID)
        )
        rule = {} if limit is None else {"over_m": float(limit)}
        yield ground.make(
            "class_segmentation",
            pick(rng, asked).format(**words),
            [Step(pick(rng, said).format(**words), mask, label)],
            valued(share, "%", SHARE_TOLERANCE),
            ground.above,
            **rule,
        )


_MAKERS: tuple[Callable[[Ground, np.random.Generator], Iterator[Sample]], ...] = (
    *(_retrieval, _pixel_info, _instance, _extraction, _ranking, _pattern),
    *(_threshold, _classes, _terrain.slope, _terrain.flood, _terrain.landslide),
)


def build(facts: Sample, rng: np.random.Generator) -> Iterator[Sample]:
    """Make the questions of one scene; nothing where it has no height image on the grid of its picture."""
    ground = Ground(facts)
    if ground.rasters.roles[:1] == ["optical"] and ground.rasters.heights:
        for make in _MAKERS:
            yield from make(ground, rng)


BUILDER = Builder(needs="an optical image with nDSM or DEM (role height), cover masks for part of it", build=build)
