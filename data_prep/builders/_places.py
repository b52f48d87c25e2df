"""Questions about where something lies: a box, the ninths of the picture that show it, what a ninth shows."""

from __future__ import annotations

import numpy as np

from lhrs_chat.geo.frames import convert
from lhrs_chat.schema import Box, Targets
from lhrs_chat.text.grounding import write

from . import _wordings as wordings
from ._facts import Facts, Question, pick
from ._regions import REGIONS, compact_box, region_of, region_shares

DIALECT = "brackets100"
STEP = 5  # hundredths; finer coordinates are noise to a grid of 7 x 7 visual tokens
_SHOWN, _NOT_SHOWN = 0.3, 0.12  # of a ninth: above, it shows a cover; below, it does not; between, nobody asks
_FILLED = 0.6  # of a ninth: what fills so much of it is what is there
_MOST_PARTS = 6


def where_is(facts: Facts, rng: np.random.Generator, most: int = 3) -> list[Question]:
    """Ask for the box of the only one of its kind, of the clearly largest, or of a cover that lies together."""
    if facts.size_px is None:
        return []
    places: list[tuple[str, Box]] = []
    for label, found in facts.boxes.items():
        boxes = sorted((facts.in_pixels(box) for _, box in found), key=_area, reverse=True)
        if len(boxes) == 1 and facts.counts.get(label, 1) == 1:
            places.append((label, boxes[0]))
        elif len(boxes) > 1 and _area(boxes[0]) >= 1.3 * _area(boxes[1]):
            places.append((f"largest {label}", boxes[0]))
    for mask in facts.sample.targets.masks:
        if mask.label in facts.boxes or mask.rle is None:
            continue
        box = compact_box(mask, facts.size_px)
        if box is not None:
            places.append((_called(facts, mask.label, rng), box))
    made = []
    for i in rng.permutation(len(places))[:most]:
        name, box = places[int(i)]
        place = convert(box, "per100", size_px=facts.size_px)
        answer = f"In the {region_of(place)}: {write(_coarse(place), DIALECT, facts.size_px)}"
        truth = Box(box.xyxy, "pixel", name)
        question = pick(rng, wordings.WHERE_ONE).format(name=name)
        targets = Targets(answer=answer, labels=(name,), boxes=(truth,))
        made.append(Question("where_is", question, answer, targets))
    return made


def _called(facts: Facts, cover: str, rng: np.random.Generator) -> str:
    """What a newcomer would call a cover in this scene: the water of a lake is also `lake`."""
    labels = facts.sample.targets.labels
    if cover == "water" and labels and labels[0] in wordings.WATERS and rng.random() < 0.6:
        return wordings.WATERS[labels[0]]
    return cover


def _area(box: Box) -> float:
    return (box.xyxy[2] - box.xyxy[0]) * (box.xyxy[3] - box.xyxy[1])


def _coarse(box: Box) -> Box:
    """A box in per cent with sides at multiples of `STEP`, at least one step long: all that the model can tell."""
    low = [min(STEP * round(v / STEP), 100 - STEP) for v in box.xyxy[:2]]
    high = [max(STEP * round(v / STEP), start + STEP) for v, start in zip(box.xyxy[2:], low, strict=True)]
    return Box((low[0], low[1], high[0], high[1]), box.frame, box.label)


def _shares(facts: Facts) -> dict[str, np.ndarray]:
    """Share of each cover in each ninth; nothing where the masks do not cover the picture."""
    masks = [mask for mask in facts.sample.targets.masks if mask.rle is not None]
    shares = {mask.label: region_shares(mask.to_array()) for mask in masks}
    return shares if len(shares) > 1 else {}


def which_parts(facts: Facts, rng: np.random.Generator, most: int = 2) -> list[Question]:
    """Ask in which ninths a cover lies, where it is clear of every ninth whether it does."""
    made = []
    for label, shares in _shares(facts).items():
        parts = [name for name, share in zip(REGIONS, shares, strict=True) if share >= _SHOWN]
        if not 1 <= len(parts) <= _MOST_PARTS or ((shares < _SHOWN) & (shares > _NOT_SHOWN)).any():
            continue
        answer = f"The {', '.join(parts)}."
        question = pick(rng, wordings.WHICH_PARTS).format(name=label)
        made.append(Question("which_parts", question, answer, Targets(answer=answer, labels=(label,))))
    return [made[int(i)] for i in rng.permutation(len(made))[:most]]


def what_is_at(facts: Facts, rng: np.random.Generator, most: int = 3) -> list[Question]:
    """Ask what fills a ninth, where not all of them are filled by the same."""
    filling = {
        name: label
        for label, shares in _shares(facts).items()
        for name, share in zip(REGIONS, shares, strict=True)
        if share >= _FILLED
    }
    if len(set(filling.values())) < 2:
        return []
    names = list(filling)
    made = []
    for i in rng.permutation(len(names))[:most]:
        label = filling[names[int(i)]]
        question = pick(rng, wordings.WHAT_IS_AT).format(region=names[int(i)])
        made.append(Question("what_is_at", question, label, Targets(answer=label, labels=(label,))))
    return made
