"""Cover masks -> chains of reasoning with a mask for each step, the way of Terra-CoT; the answer is computed from them.

The tasks are those of TerraScope-Bench. The masks of a chain lie in `targets.masks` in the order of its steps;
`meta["steps"]` says which piece of text each of them proves (see `_tasks`), and every piece is one text part of the
assistant's turn. The last piece is `<answer>...</answer>`: the letter of an option, or the value itself where none are
given; `meta["final"]` is what stands in it, spelled out.

Rules: coverage_percentage N / total of a cover of at least 5 %. absolute_area N times the area of a pixel.
area_comparison of two covers of at least 5 %, more than 10 % of the larger apart. boundary_detection: one of two covers
(each at least 3 % in at most five pieces), grown by a pixel over sides and corners, meets the other.
distance_measurement between the nearest pixels of two covers that are more than 10 pixels apart. cover_change: how the
share of a cover differs between two dates. building_change: buildings of the first date of which less than half is
still building at the second, or that the facts call destroyed. Wrong options are at least 15 % from the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lhrs_chat.schema import Number, Sample, Targets

from . import Builder, _nouns, _tasks
from ._facts import pick
from ._rasters import Rasters, array_of, components, distance_px, region, touch
from ._rows import Rows
from ._tasks import Step

_LEAST_SHARE, _LEAST_AREA, _LEAST_BORDER, _MOST_SHARE = 0.05, 0.01, 0.03, 0.95
_ALL_STAND = 0.3  # of the pairs without a lost building are asked about
_GAP = 0.1
_MOST_PIECES = 5
_LEAST_DISTANCE_PX = 10
_LEAST_CHANGE = 1.0  # points of per cent
_LEAST_BUILDINGS, _LEAST_BUILDING_PX = 3, 12
_STILL_THERE = 0.5
_DAMAGE = "destroyed building"
_NO_COVERS = frozenset({"cloud", "cloud shadow", "change"})
_WITH_OPTIONS = 0.7  # of the questions with a value
_FACTORS = (0.3, 0.5, 0.7, 0.85, 1.15, 1.35, 1.6, 2.0)
_LETTERS = "ABCD"
_THINK = ("Think step by step", "Reason over the regions first", "Find the regions that matter, step by step")

_COVERAGE = (
    "Which share of the picture is covered by {name}?",
    "How much of the picture is taken by {name}?",
    "What percentage of the scene is taken by {name}?",
)
_AREA = (
    "What area is covered by {name}?",
    "How large is the area of {name} in this scene?",
    "Work out the area of {name}.",
)
_LARGER = (
    "Which covers more area, {one} or {other}?",
    "Compare the areas of {one} and {other}: which is larger?",
    "What takes more room here: {one} or {other}?",
)
_BORDER = (
    "Do {one} and {other} touch each other?",
    "Is there a border between {one} and {other}?",
    "Do the areas of {one} and {other} meet?",
)
_DISTANCE = (
    "What is the shortest distance between {one} and {other}?",
    "How far is it from {one} to the nearest {other}?",
)
_COVER_CHANGE = (
    "By how many points of per cent has the share of {name} changed between the two pictures?",
    "The first picture is from before, the second from after. How has the share of {name} changed, in per cent?",
)
_BUILDING_CHANGE = (
    "The first picture is from before, the second from after. How many buildings are gone or destroyed?",
    "How many of the buildings of the first picture no longer stand in the second?",
)
_FOUND = (
    "The area of {name} has {count} pixels.",
    "First I mark {name}: {count} pixels.",
    "Marked as {name}: {count} pixels.",
)
_NEXT = ("Then I mark {name}: {count} pixels.", "The area of {name} has {count} pixels.")


@dataclass(frozen=True)
class _Said:
    """The right value of a question, the wrong ones offered beside it, and the number it stands for."""

    right: str
    wrong: tuple[str, ...]
    number: Number | None = None


class _Scene:
    """The covers of a row of facts, at one date or two."""

    def __init__(self, facts: Sample) -> None:
        self.facts = facts
        self.rasters = Rasters(facts)
        self.rows = Rows(facts, "pixel_cot")
        self.total = self.rasters.size_px[0] * self.rasters.size_px[1]

    def views(self, rng: np.random.Generator) -> tuple[int, ...]:
        """The images to reason on: the first, or the first and a radar picture beside it, where there is one."""
        pair = [0, *(k for k, role in enumerate(self.rasters.roles) if role == "sar")][:2]
        return tuple(pair[: 1 + int(rng.integers(2))])

    def covers(self, image: int, least: float) -> dict[str, np.ndarray]:
        """Covers of an image that take at least a share of it, and not nearly all."""
        found = self.rasters.covers(image)
        return {k: mask for k, mask in found.items() if least <= mask.mean() <= _MOST_SHARE and k not in _NO_COVERS}

    def make(
        self,
        subtask: str,
        question: str,
        steps: list[Step],
        said: _Said,
        rng: np.random.Generator,
        images: Sequence[int],
    ) -> Sample:
        """One row: with options, or with the value asked for in plain."""
        think = pick(rng, _THINK)
        numbers = () if said.number is None else (said.number,)
        if said.wrong and (said.number is None or rng.random() < _WITH_OPTIONS):
            texts = [said.right, *said.wrong]
            order = [texts[int(k)] for k in rng.permutation(len(texts))]
            options = tuple(f"{letter}. {text}" for letter, text in zip(_LETTERS, order, strict=False))
            answer, choices = _LETTERS[order.index(said.right)], options
            question = "\n".join([question, *options, f"{think}. End with <answer>LETTER</answer>."])
        else:
            answer, choices = said.right, ()
            question = f"{question} {think}. End with <answer>VALUE</answer>."
        return _tasks.make(
            self.rows,
            "reasoning",
            subtask,
            question,
            [*steps, Step(f"<answer>{answer}</answer>")],
            Targets(choices=choices, numbers=numbers),
            images=images,
            meta={"final": said.right},
        )


def _spoken(name: str) -> str:
    return _nouns.plural(name)


def _grouped(count: int) -> str:
    return f"{count:,}"


def _area(square_m: float) -> str:
    """An area in the unit that suits it."""
    return f"{square_m / 1e6:.2f} km2" if square_m >= 1e6 else f"{square_m:,.0f} m2"


def _valued(value: float, unit: str, write: Callable[[float], str], rng: np.random.Generator, most: float) -> _Said:
    """A value with three others that are 15 % away at least and at most `most`."""
    right = write(value)
    others = [write(value * factor) for factor in _FACTORS if value * factor <= most]
    others = [text for text in dict.fromkeys(others) if text != right]
    wrong = tuple(others[int(k)] for k in rng.permutation(len(others))[:3])
    return _Said(right, wrong if len(wrong) == 3 else (), Number(round(value, 1), unit, "computed"))


def _draw(rng: np.random.Generator, names: Sequence[str], count: int) -> list[str]:
    return [names[int(k)] for k in rng.permutation(len(names))[:count]]


def _find(covers: dict[str, np.ndarray], names: Sequence[str], rng: np.random.Generator) -> list[Step]:
    """The steps that point at covers, one after the other."""
    return [
        Step(
            pick(rng, _NEXT if place else _FOUND).format(name=_spoken(name), count=_grouped(int(covers[name].sum()))),
            covers[name],
            name,
        )
        for place, name in enumerate(names)
    ]


def _coverage(scene: _Scene, rng: np.random.Generator) -> Iterator[Sample]:
    covers = scene.covers(0, _LEAST_SHARE)
    for name in _draw(rng, list(covers), 1):
        share = round(100 * float(covers[name].mean()), 1)
        steps = [
            *_find(covers, [name], rng),
            Step(f"The picture has {_grouped(scene.total)} pixels, so that is {share} %."),
        ]
        said = _valued(share, "%", lambda value: f"{value:.1f} %", rng, 100.0)
        question = pick(rng, _COVERAGE).format(name=_spoken(name))
        yield scene.make("coverage_percentage", question, steps, said, rng, scene.views(rng))


def _absolute(scene: _Scene, rng: np.random.Generator) -> Iterator[Sample]:
    covers, gsd_m = scene.covers(0, _LEAST_AREA), scene.rasters.gsd_m
    if gsd_m is None:
        return
    for name in _draw(rng, list(covers), 1):
        pixel_m2, count = gsd_m**2, int(covers[name].sum())
        steps = [
            *_find(covers, [name], rng),
            Step(
                f"A pixel is {gsd_m:g} m wide and covers {pixel_m2:.4g} m2; together that is {_area(count * pixel_m2)}."
            ),
        ]
        said = _valued(count * pixel_m2, "m2", _area, rng, scene.total * pixel_m2)
        question = f"{pick(rng, _AREA).format(name=_spoken(name))} A pixel is {gsd_m:g} m wide."
        yield scene.make("absolute_area", question, steps, said, rng, scene.views(rng))


def _larger(scene: _Scene, rng: np.random.Generator) -> Iterator[Sample]:
    covers = scene.covers(0, _LEAST_SHARE)
    names = _draw(rng, list(covers), 2)
    if len(names) < 2:
        return
    sizes = [int(covers[name].sum()) for name in names]
    if abs(sizes[0] - sizes[1]) <= _GAP * max(sizes):
        return
    one, other = (_spoken(name) for name in names)
    right, wrong = (one, other) if sizes[0] > sizes[1] else (other, one)
    steps = [*_find(covers, names, rng), Step(f"The larger area is that of {right}.")]
    question = pick(rng, _LARGER).format(one=one, other=other)
    yield scene.make("area_comparison", question, steps, _Said(right, (wrong,)), rng, scene.views(rng))


def _pairs(covers: dict[str, np.ndarray], rng: np.random.Generator) -> list[tuple[str, str]]:
    names = list(covers)
    pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
    return [pairs[int(k)] for k in rng.permutation(len(pairs))]


def _border(scene: _Scene, rng: np.random.Generator) -> Iterator[Sample]:
    """Ask about a pair that touches and about one that does not, where there are such."""
    covers = {
        name: mask for name, mask in scene.covers(0, _LEAST_BORDER).items() if len(components(mask)) <= _MOST_PIECES
    }
    asked: set[bool] = set()
    for one, other in _pairs(covers, rng):
        meets = touch(covers[one], covers[other])
        if meets in asked:
            continue
        asked.add(meets)
        words = {"one": _spoken(one), "other": _spoken(other)}
        found = "meets" if meets else "does not reach"
        steps = [
            *_find(covers, [one, other], rng),
            Step(f"Grown by one pixel, the first region {found} the second."),
        ]
        said = _Said("yes", ("no",)) if meets else _Said("no", ("yes",))
        yield scene.make("boundary_detection", pick(rng, _BORDER).format(**words), steps, said, rng, scene.views(rng))


def _distance(scene: _Scene, rng: np.random.Generator) -> Iterator[Sample]:
    covers, gsd_m = scene.covers(0, _LEAST_AREA), scene.rasters.gsd_m
    if gsd_m is None:
        return
    for one, other in _pairs(covers, rng):
        apart_px = distance_px(covers[one], covers[other])
        if apart_px <= _LEAST_DISTANCE_PX:
            continue
        metres = round(apart_px * gsd_m, 1)
        steps = [
            *_find(covers, [one, other], rng),
            Step(
                f"Their nearest pixels are {apart_px:.1f} pixels apart, and {apart_px:.1f} x {gsd_m:g} m = {metres} m."
            ),
        ]
        words = {"one": _spoken(one), "other": _spoken(other)}
        said = _valued(metres, "m", lambda value: f"{value:.1f} m", rng, 1e9)
        question = f"{pick(rng, _DISTANCE).format(**words)} A pixel is {gsd_m:g} m wide."
        yield scene.make("distance_measurement", question, steps, said, rng, scene.views(rng))
        return


def _cover_change(scene: _Scene, rng: np.random.Generator, images: tuple[int, int]) -> Iterator[Sample]:
    dates = [scene.rasters.covers(image) for image in images]
    changes = {}
    for name in sorted({*dates[0], *dates[1]} - _NO_COVERS):
        empty = np.zeros(scene.rasters.size_px[::-1], dtype=bool)
        masks = [covers.get(name, empty) for covers in dates]
        shares = [round(100 * float(mask.mean()), 1) for mask in masks]
        if abs(shares[1] - shares[0]) >= _LEAST_CHANGE:
            changes[name] = (masks, shares)
    for name in _draw(rng, list(changes), 1):
        masks, shares = changes[name]
        steps = [
            Step(f"{when} {_spoken(name)} on {share} % of the picture.", mask if mask.any() else None, name, image)
            for when, share, mask, image in zip(("Before:", "After:"), shares, masks, images, strict=True)
        ]
        change = round(shares[1] - shares[0], 1)
        steps.append(Step(f"{shares[1]} - {shares[0]} = {change:+.1f} points of per cent."))
        said = _valued(change, "%", lambda value: f"{value:+.1f} %", rng, 100.0)
        question = pick(rng, _COVER_CHANGE).format(name=_spoken(name))
        yield scene.make("cover_change", question, steps, said, rng, images)


def _gone(scene: _Scene, images: tuple[int, int]) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Buildings of the first date, and those of them that are gone; None where the facts do not tell."""
    size_px = scene.rasters.size_px
    before = [array_of(m, size_px) for k, m in scene.rasters.masks if k == images[0] and m.label == "building"]
    after = scene.rasters.covers(images[1])
    if "building" not in scene.facts.meta.get("complete", ()) or not before:
        return None
    if any(m.rle is None for _, m in scene.rasters.masks):  # each building is outlined, and its damage told
        if _DAMAGE not in scene.facts.meta["complete"]:
            return None
        gone = [array_of(m, size_px) for k, m in scene.rasters.masks if k == images[1] and m.label == _DAMAGE]
        return before, gone
    stands = after.get("building", np.zeros(size_px[::-1], dtype=bool))
    pieces = components(np.logical_or.reduce(before), _LEAST_BUILDING_PX)
    return pieces, [piece for piece in pieces if (piece & stands).sum() < _STILL_THERE * piece.sum()]


def _building_change(scene: _Scene, rng: np.random.Generator, images: tuple[int, int]) -> Iterator[Sample]:
    found = _gone(scene, images)
    if found is None or len(found[0]) < _LEAST_BUILDINGS:
        return
    before, gone = found
    if not gone and rng.random() >= _ALL_STAND:
        return
    steps = [
        Step(
            f"Before, there are {_nouns.counted(len(before), 'building')}.",
            np.logical_or.reduce(before),
            "building",
            images[0],
        )
    ]
    if gone:
        lost = np.logical_or.reduce(gone)
        where = f" in the {region(lost)}" if len(gone) == 1 else ""
        verb = "does" if len(gone) == 1 else "do"
        text = f"After, {_nouns.counted(len(gone), 'building')}{where} {verb} not stand any more."
        steps.append(Step(text, lost, "gone building", images[1]))
    else:
        steps.append(Step("After, all of them still stand."))
    near = [n for n in range(max(0, len(gone) - 3), len(gone) + 4) if n != len(gone) and n <= len(before)]
    wrong = tuple(str(near[int(k)]) for k in rng.permutation(len(near))[:3])
    said = _Said(str(len(gone)), wrong, Number(len(gone), "", "computed", "gone building"))
    yield scene.make("building_change", pick(rng, _BUILDING_CHANGE), steps, said, rng, images)


def build(facts: Sample, rng: np.random.Generator) -> Iterator[Sample]:
    """Make the chains of one scene or pair; nothing where there are no masks of whole covers."""
    if not facts.targets.masks or "masks_tell" in facts.meta:
        return
    scene = _Scene(facts)
    roles = scene.rasters.roles
    if "before" in roles and "after" in roles:
        images = (roles.index("before"), roles.index("after"))
        yield from _cover_change(scene, rng, images)
        yield from _building_change(scene, rng, images)
        return
    for make in (_coverage, _absolute, _larger, _border, _distance):
        yield from make(scene, rng)


BUILDER = Builder(needs="masks of covers, of one date or of two (roles before, after)", build=build)
