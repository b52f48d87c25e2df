"""Questions about the bare ground: slope, floods, landslides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lhrs_chat.schema import Sample

from . import _height_words, _nouns
from ._facts import pick
from ._ground import LEAST, MOST, SHARE_TOLERANCE, Ground, valued
from ._rasters import connected_to
from ._tasks import Step

FIRM = ("building", "water", "road", "pavement", "built-up area")
_FOREST = ("forest", "tree")
_SLOPE_TOLERANCE_DEG, _REASONED_TOLERANCE = 2.0, 5.0
_SLOPES_DEG = (5, 10, 15, 20, 25, 30)
_RISES_M = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
_MOST_FLOODED = 0.8


def slope(ground: Ground, rng: np.random.Generator) -> Iterator[Sample]:
    """Ask for the mean slope, and for the share and mask of steep ground."""
    if ground.ground is None or ground.slope is None:
        return
    mean = round(float(ground.slope.mean()), 1)
    yield ground.make(
        "slope_info",
        pick(rng, _height_words.SLOPE),
        [Step(pick(rng, _height_words.SLOPE_SAID).format(value=mean))],
        valued(mean, "deg", _SLOPE_TOLERANCE_DEG),
        ground.ground,
    )
    fitting = [t for t in _SLOPES_DEG if LEAST <= float((ground.slope > t).mean()) <= MOST]
    if fitting:
        limit = fitting[int(rng.integers(len(fitting)))]
        mask = ground.slope > limit
        share = round(100 * float(mask.mean()), 1)
        yield ground.make(
            "slope_info",
            pick(rng, _height_words.SLOPE_SHARE).format(limit=limit),
            [Step(_height_words.SLOPE_SHARE_SAID.format(limit=limit, share=share), mask, f"over {limit} degrees")],
            valued(share, "%", SHARE_TOLERANCE),
            ground.ground,
            over_deg=limit,
        )


def flood(ground: Ground, rng: np.random.Generator) -> Iterator[Sample]:
    """Ask what is under water when it rises."""
    if ground.ground is None:
        return
    dem = ground.ground.metres
    water = ground.covers.get("water", np.zeros(dem.shape, dtype=bool))
    seeds = water.copy()
    if water.any():
        start = float(np.median(dem[water]))
    else:
        start = float(dem.min())
        seeds[0], seeds[-1], seeds[:, 0], seeds[:, -1] = True, True, True, True
    floods = {rise: connected_to(seeds, dem < start + rise) for rise in _RISES_M}
    fitting = [rise for rise, flood in floods.items() if 2 * LEAST <= float((flood & ~water).mean()) <= _MOST_FLOODED]
    if not fitting:
        return
    rise = fitting[int(rng.integers(len(fitting)))]
    level = start + rise
    if not water.any():  # the level that is asked for is the one that is said
        level = round(level, 1)
        floods[rise] = connected_to(seeds, dem < level)
    flood = floods[rise] | water
    share, fresh = round(100 * float(flood.mean()), 1), round(100 * float((flood & ~water).mean()), 1)
    steps = []
    reached = "from the present water" if water.any() else "from the edge of the picture"
    if water.any():
        question = pick(rng, _height_words.FLOOD_RISE).format(rise=f"{rise:g}", reached=reached)
        steps.append(
            Step(f"The water lies at {start:.1f} m above sea level, on the area marked first.", water, "water")
        )
    else:
        question = pick(rng, _height_words.FLOOD_LEVEL).format(level=f"{level:g}", reached=reached)
    newly = f", {fresh} % of the picture newly" if water.any() else ""
    steps.append(Step(f"Ground below {level:.1f} m that can be reached {reached} is flooded{newly}.", flood, "flood"))
    steps.append(Step(f"Under water: {share} % of the picture."))
    rule = {"level_m": level, "rise_m": rise, "from": "water" if water.any() else "edge"}
    yield ground.make(
        "flooding_inference", question, steps, valued(share, "%", _REASONED_TOLERANCE), ground.ground, **rule
    )


def landslide(ground: Ground, rng: np.random.Generator) -> Iterator[Sample]:
    """Ask where the ground could slide, by a rule that the question tells."""
    if ground.ground is None or ground.slope is None or not ground.covers:
        return
    held = FIRM + (_FOREST if rng.random() < 0.5 else ())
    firm = np.zeros(ground.slope.shape, dtype=bool)
    for label in held:
        firm |= ground.covers.get(label, firm)
    shares = {t: float(((ground.slope > t) & ~firm).mean()) for t in _SLOPES_DEG}
    fitting = [t for t, share in shares.items() if LEAST <= share <= MOST]
    fitting = fitting or [t for t in _SLOPES_DEG if not (ground.slope > t).any()][:1]
    if not fitting:
        return
    limit = fitting[int(rng.integers(len(fitting)))]
    steep = ground.slope > limit
    prone = steep & ~firm
    share = round(100 * float(prone.mean()), 1)
    listed = _nouns.listed([_nouns.plural(label) for label in held]).replace(" and ", " or ")
    rule = f"Ground counts as prone if it is steeper than {limit} degrees and carries no {listed}."
    if not steep.any():
        steps = [Step(f"No slope exceeds {limit} degrees: 0 % of the picture is prone to landslides.")]
    else:
        steps = [
            Step(
                f"The ground is steeper than {limit} degrees on {100 * float(steep.mean()):.1f} % of the picture.",
                steep,
                "steep",
            ),
            Step(
                f"Without {listed}, {share} % of the picture is left as prone to landslides.",
                prone,
                "prone",
            ),
        ]
    question = pick(rng, _height_words.LANDSLIDE).format(rule=rule)
    yield ground.make(
        "landslides_inference",
        question,
        steps,
        valued(share, "%", _REASONED_TOLERANCE),
        ground.ground,
        over_deg=limit,
        firm=list(held),
    )
