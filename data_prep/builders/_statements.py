"""True statements about a picture, each with false versions of it: what preference pairs are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lhrs_chat.geo.frames import convert
from lhrs_chat.schema import Box

from . import _nouns, _phrases, _wordings
from ._beside import MOST_COUNTED, Beside, wrong_numbers
from ._facts import Facts, pick
from ._regions import REGIONS, region_of

_MOSTLY, _LITTLE, _SEEN = 50.0, 20.0, 5.0  # per cent of the picture
_CLEAR = 5.0  # per cent of the picture, by which the centre of a box keeps off the border of its ninth
_APART = 20.0  # per cent of the picture between the centres of two things of which one is left of the other
_LARGER = 1.3
_LEAST_M = 2  # what rises less is not told of, and what differs by less is not false
_AREAS = ("residential", "industrial", "commercial")
_LARGEST = ("the largest {name} lies in the {region}", "the largest {name} is in the {region} of the picture")
_SIDES = {"left": "right", "right": "left", "above": "below", "below": "above"}
_BESIDE = {
    "left": "the {first} lies to the left of the {second}",
    "right": "the {first} lies to the right of the {second}",
    "above": "the {first} lies above the {second}",
    "below": "the {first} lies below the {second}",
}
_HEIGHT = ("the highest {name} rises about {metres} m", "the tallest {name} is about {metres} m high")
_HEIGHT_ASKED = ("How high is the highest {name}?", "What is the height of the tallest {name}?")
_SOME_COVER = ("{cover} can be seen in this picture", "part of the ground is {cover}", "there is also {cover}")


@dataclass(frozen=True)
class Wrong:
    """A text that the facts contradict: its kind of error, and how bad it is, from 1 to 3."""

    text: str
    kind: str
    severity: int


@dataclass(frozen=True)
class Statement:
    """A true clause, a question that asks for it alone ('' where none does), and its false versions."""

    text: str
    question: str = ""
    wrong: tuple[Wrong, ...] = ()


def absent_in(facts: Facts, beside: Beside) -> list[str]:
    """What is not there for sure, as often as other pictures show it; all that is not there where they show none."""
    absent = set(facts.absent)
    return [name for name in beside.things if name in absent] or sorted(absent)


def statements(facts: Facts, beside: Beside, rng: np.random.Generator) -> list[Statement]:
    """Say what the facts hold, in random order."""
    found = [
        *_scene(facts, beside, rng),
        *_counted(facts, beside, rng),
        *_covers(facts, beside, rng),
        *_places(facts, rng),
        *_relations(facts, rng),
        *_heights(facts, beside, rng),
    ]
    return [found[i] for i in rng.permutation(len(found))]


def invented(facts: Facts, beside: Beside, rng: np.random.Generator) -> list[Statement]:
    """Say what is not there, as one says what is; at most three, in random order."""
    names = list(dict.fromkeys(pick(rng, absent) for absent in [absent_in(facts, beside)] * 6 if absent))
    return [Statement(_shown(name, pick(rng, beside.counts(name)), rng)) for name in names[:3]]


def setting(label: str) -> str:
    """A scene class with what it needs to stand in a sentence: `a port`, `an industrial area`, `farmland`."""
    if label.endswith(_AREAS):
        return _nouns.one(f"{label} area")
    if label == "parking":
        return "a parking lot"
    return label if label.endswith("s") and label != "grass" else _nouns.one(label)


def _shown(name: str, count: int, rng: np.random.Generator) -> str:
    if not _nouns.is_counted(name):
        return pick(rng, _SOME_COVER).format(cover=_wordings.area(name))
    return pick(rng, _phrases.CAPTION_OPENINGS).format(things=_nouns.counted(count, name))


def _scene(facts: Facts, beside: Beside, rng: np.random.Generator) -> Iterator[Statement]:
    for label in facts.sample.targets.labels[:1]:
        wording = pick(rng, _phrases.MAP_SETTING)
        others = [name for name in beside.scenes if name != label]
        wrong = (Wrong(wording.format(setting=setting(name)), "swapped_object", 3) for name in _some(rng, others, 2))
        yield Statement(wording.format(setting=setting(label)), pick(rng, _wordings.SCENE_CLASS), tuple(wrong))


def _counted(facts: Facts, beside: Beside, rng: np.random.Generator) -> Iterator[Statement]:
    for name, number in facts.counts.items():
        if not 1 <= number <= MOST_COUNTED or not _nouns.is_counted(name):
            continue
        wording = pick(rng, _phrases.CAPTION_OPENINGS)
        wrong = [
            Wrong(wording.format(things=_nouns.counted(other, name)), "wrong_count", severity)
            for other, severity in wrong_numbers(number, beside.counts(name), rng)
        ]
        swaps = [other for other in absent_in(facts, beside) if _nouns.is_counted(other)]
        wrong += [
            Wrong(wording.format(things=_nouns.counted(number, other)), "swapped_object", 2)
            for other in _some(rng, swaps, 2)
        ]
        asked = pick(rng, _phrases.COUNT).format(plural=_nouns.plural(name))
        yield Statement(wording.format(things=_nouns.counted(number, name)), asked, tuple(wrong))


def _covers(facts: Facts, beside: Beside, rng: np.random.Generator) -> Iterator[Statement]:
    absent = [name for name in absent_in(facts, beside) if not _nouns.is_counted(name)]
    for cover, share in sorted(facts.shares.items(), key=lambda one: -one[1]):
        if share >= _MOSTLY:
            wording = pick(rng, _phrases.COVER_MOSTLY)
            less = [name for name, other in facts.shares.items() if _SEEN <= other < _LITTLE]
            swaps = [(name, 1) for name in less] + [(name, 2) for name in _some(rng, absent, 2)]
            wrong = tuple(
                Wrong(wording.format(first=_wordings.area(name), rest=""), "swapped_object", severity)
                for name, severity in swaps
            )
            said = wording.format(first=_wordings.area(cover), rest="")
            yield Statement(said, pick(rng, _phrases.COVER_DOMINANT), wrong)
        elif share >= _SEEN and not _nouns.is_counted(cover):
            wording = pick(rng, _SOME_COVER)
            wrong = tuple(Wrong(wording.format(cover=name), "swapped_object", 2) for name in _some(rng, absent, 1))
            yield Statement(wording.format(cover=cover), "", wrong)


def _places(facts: Facts, rng: np.random.Generator) -> Iterator[Statement]:
    for name, boxes in _in_per_cent(facts).items():
        ordered = sorted(boxes, key=_area, reverse=True)
        if len(boxes) == 1:
            wording, asked = pick(rng, _phrases.ONE_PLACE), pick(rng, _wordings.WHERE_ONE).format(name=name)
        elif _area(ordered[0]) >= _LARGER * _area(ordered[1]):
            wording, asked = pick(rng, _LARGEST), pick(rng, _wordings.WHERE_ONE).format(name=f"largest {name}")
        else:
            yield from _halves(name, boxes, rng)
            continue
        x, y = _centre(ordered[0])
        if min(abs(value - border) for value in (x, y) for border in (100 / 3, 200 / 3)) < _CLEAR:
            continue
        region = region_of(ordered[0])
        wrong = []
        for number in rng.permutation(len(REGIONS)).tolist():
            steps = _steps(REGIONS.index(region), number)
            if steps:
                said = wording.format(name=name, region=REGIONS[number])
                wrong.append(Wrong(said, "wrong_relation", min(3, steps)))
        yield Statement(wording.format(name=name, region=region), asked, tuple(wrong))


def _halves(name: str, boxes: Sequence[Box], rng: np.random.Generator) -> Iterator[Statement]:
    """Say that all of a kind lie in one half, where they do."""
    wording = pick(rng, _phrases.ALL_IN_HALF)
    for axis, halves in enumerate((("left", "right"), ("upper", "lower"))):
        centres = [_centre(box)[axis] for box in boxes]
        if max(centres) < 50 - _CLEAR or min(centres) > 50 + _CLEAR:
            said, false = halves if max(centres) < 50 else halves[::-1]
            texts = [wording.format(plural=_nouns.plural(name), half=half) for half in (said, false)]
            yield Statement(texts[0], "", (Wrong(texts[1], "wrong_relation", 3),))


def _relations(facts: Facts, rng: np.random.Generator) -> Iterator[Statement]:
    alone = [(name, _centre(boxes[0])) for name, boxes in _in_per_cent(facts).items() if len(boxes) == 1]
    for number, (first, (x, y)) in enumerate(alone):
        for second, (other_x, other_y) in alone[number + 1 :]:
            across, down = x - other_x, y - other_y
            if max(abs(across), abs(down)) < _APART:
                continue
            sides = ("right", "left") if abs(across) >= abs(down) else ("below", "above")
            side = sides[int((across if abs(across) >= abs(down) else down) < 0)]
            names = (first, second)
            if rng.random() < 0.5:
                side, names = _SIDES[side], (second, first)
            said, false = (_BESIDE[one].format(first=names[0], second=names[1]) for one in (side, _SIDES[side]))
            yield Statement(said, f"Where does the {names[0]} lie, as seen from the {names[1]}?",
                            (Wrong(false, "wrong_relation", 3),))  # fmt: skip


def _heights(facts: Facts, beside: Beside, rng: np.random.Generator) -> Iterator[Statement]:
    for name, highest in facts.highest_m.items():
        if highest < _LEAST_M:
            continue
        wording, asked = pick(rng, _HEIGHT), pick(rng, _HEIGHT_ASKED).format(name=name)
        wrong = tuple(
            Wrong(wording.format(name=name, metres=other), "wrong_height", severity)
            for other, severity in wrong_numbers(highest, beside.heights_m(name), rng)
            if abs(other - highest) >= _LEAST_M
        )
        yield Statement(wording.format(name=name, metres=highest), asked, wrong)


def _in_per_cent(facts: Facts) -> dict[str, list[Box]]:
    """The boxes of things that are counted and all have a box."""
    if facts.size_px is None:
        return {}
    return {
        name: [convert(facts.in_pixels(box), "per100", size_px=facts.size_px) for _, box in found]
        for name, found in facts.boxes.items()
        if facts.counts.get(name) == len(found)
    }


def _some(rng: np.random.Generator, names: Sequence[str], most: int) -> list[str]:
    """Draw up to `most` different names, the frequent ones oftener."""
    return list(dict.fromkeys(names[i] for i in rng.permutation(len(names))))[:most]


def _steps(one: int, other: int) -> int:
    """How many ninths lie between two of them."""
    return abs(one // 3 - other // 3) + abs(one % 3 - other % 3)


def _area(box: Box) -> float:
    return (box.xyxy[2] - box.xyxy[0]) * (box.xyxy[3] - box.xyxy[1])


def _centre(box: Box) -> tuple[float, float]:
    return (box.xyxy[0] + box.xyxy[2]) / 2, (box.xyxy[1] + box.xyxy[3]) / 2
