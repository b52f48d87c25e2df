"""Mapped objects (OpenStreetMap) -> captions, region descriptions, sizes, directions, distances and dialogues.

A map is made by volunteers and never tells all: what it shows is said, what it does not show is not denied, and
nothing is counted. Sizes and distances are measured on the ground, directions in the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely

from lhrs_chat.evidence import area_text
from lhrs_chat.geo.frames import convert_xy
from lhrs_chat.geo.measure import area_m2, length_m
from lhrs_chat.geo.shapes import polygons
from lhrs_chat.schema import Box, Georef, Mask, Number, Sample, Targets

from . import Builder, _expressions, _nouns, _phrases
from ._expressions import Thing
from ._facts import Facts, pick
from ._rows import Rows, Words

LEAST_SIDE_PX = 12.0  # of what is asked for by itself
LARGEST = 0.6  # of the picture; a larger box points at nothing
LEAST_FILLED = 0.35  # of its box
SETTING = 0.5  # of the picture: so much of one use of the land is what the picture is of
_SETTINGS = frozenset(
    ("residential area", "commercial area", "industrial area", "farmland", "forest", "meadow", "airport", "water")
)
_MOST_NAMED = 6
_CLEAR_DEG = 15.0  # from the middle of one of the eight directions
_DIRECTIONS = ("right", "upper right", "above", "upper left", "left", "lower left", "below", "lower right")
_SURFACES = {
    "asphalt": "asphalt",
    "clay": "clay",
    "cobblestone": "cobblestones",
    "concrete": "concrete",
    "grass": "grass",
    "gravel": "gravel",
    "paving_stones": "paving stones",
    "sand": "sand",
    "sett": "sett stones",
}
_ROOFS = {"flat": "a flat roof", "gabled": "a gabled roof", "hipped": "a hipped roof", "dome": "a dome"}


@dataclass(frozen=True)
class Place:
    """One mapped object, as it is seen in the picture."""

    thing: Thing
    mask: Mask
    tags: Mapping[str, str]
    whole: bool
    is_area: bool
    area_px: float

    @property
    def name(self) -> str:
        """What one calls it."""
        return self.thing.name


class _Map:
    """The mapped objects of a row of facts."""

    def __init__(self, sample: Sample, size_px: tuple[int, int], georef: Georef) -> None:
        self.sample = sample
        self.size_px = size_px
        self.georef = georef
        self.rows = Rows(sample, "vgi")

    @cached_property
    def places(self) -> list[Place]:
        """All objects, the largest first."""
        found = []
        notes = self.sample.meta["osm"]
        for number, (mask, note) in enumerate(zip(self.sample.targets.masks, notes, strict=True)):
            shape = shapely.union_all(polygons(mask, size_px=self.size_px))
            thing = Thing.of(number, mask.label, Box(shape.bounds, "pixel", mask.label), self.size_px)
            is_area = note["geometry"] in ("Polygon", "MultiPolygon")
            found.append(Place(thing, mask, note["tags"], bool(note["whole"]), is_area, float(shape.area)))
        return sorted(found, key=lambda place: -place.area_px)

    @cached_property
    def names(self) -> dict[str, float]:
        """Share of the picture that the objects of each name take up together, the largest first."""
        total = self.size_px[0] * self.size_px[1]
        shares: dict[str, float] = {}
        for place in self.places:
            shares[place.name] = shares.get(place.name, 0.0) + place.area_px / total
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    @cached_property
    def marked(self) -> list[Place]:
        """Areas that a box points at well."""
        total = self.size_px[0] * self.size_px[1]
        found = []
        for place in self.places:
            x1, y1, x2, y2 = place.thing.box.xyxy
            boxed = (x2 - x1) * (y2 - y1)
            is_clear = min(x2 - x1, y2 - y1) >= LEAST_SIDE_PX and boxed <= LARGEST * total
            if place.is_area and is_clear and place.area_px >= LEAST_FILLED * boxed:
                found.append(place)
        return found

    def drawn(self, rng: np.random.Generator, most: int, *, whole: bool = False) -> list[Place]:
        """Draw marked areas, different names first."""
        able = [place for place in self.marked if place.whole or not whole]
        mixed = [able[int(i)] for i in rng.permutation(len(able))]
        first = list({place.name: place for place in reversed(mixed)}.values())
        return [*first, *(place for place in mixed if place not in first)][:most]


def build(sample: Sample, rng: np.random.Generator) -> Iterator[Sample]:
    """Yield the rows of one scene."""
    size_px, image = Facts(sample).size_px, sample.images[0]
    if "osm" not in sample.meta or size_px is None or image.georef is None:
        return
    seen = _Map(sample, size_px, image.georef)
    yield _caption(seen, rng)
    yield _detail(seen, rng)
    for place in seen.drawn(rng, 2):
        before, after = pick(rng, _phrases.REGION)
        text = _described(place)
        targets = Targets(labels=(place.name,), boxes=(place.thing.box,), captions=(text,))
        yield seen.rows.make("region_caption", [((before, place.thing.box, after), text)], targets)
    for place in seen.drawn(rng, 1, whole=True):
        turn, number = _size(seen, place, rng)
        targets = Targets(labels=(place.name,), boxes=(place.thing.box,), numbers=(number,))
        yield seen.rows.make("area", [turn], targets)
    yield from _between(seen, rng)
    yield from _dialogue(seen, rng)


# ---------------------------------------------------------------- captions


def _things(seen: _Map, names: Sequence[str]) -> list[str]:
    said = []
    for name in names:
        number = sum(place.name == name for place in seen.places)
        said.append(_nouns.one(name) if number == 1 else _nouns.plural(name))
    return said


def _caption(seen: _Map, rng: np.random.Generator) -> Sample:
    text = _overview(seen, rng, 4)
    targets = Targets(captions=(text,), labels=tuple(seen.names))
    return seen.rows.make("caption", [(pick(rng, _phrases.CAPTION), text)], targets)


def _overview(seen: _Map, rng: np.random.Generator, most: int) -> str:
    """Tell the setting and what takes up most of it."""
    setting = next((name for name, share in seen.names.items() if name in _SETTINGS and share >= SETTING), None)
    names = [name for name in seen.names if name != setting][:most]
    if setting is None:
        return _nouns.sentence(pick(rng, _phrases.MAP_ONLY).format(things=_nouns.listed(_things(seen, names))))
    sentences = [pick(rng, _phrases.MAP_SETTING).format(setting=_nouns.one(setting))]
    if names:
        sentences.append(pick(rng, _phrases.MAP_THINGS).format(things=_nouns.listed(_things(seen, names))))
    return " ".join(map(_nouns.sentence, sentences))


def _detail(seen: _Map, rng: np.random.Generator) -> Sample:
    sentences = [_overview(seen, rng, _MOST_NAMED)]
    told: set[str] = set()
    for place in seen.marked:
        region = _expressions.region_of(place.thing)
        if place.name in told or len(told) == 4 or not _expressions.within(region, place.thing, False):
            continue
        told.add(place.name)
        thing = _nouns.one(place.name) + _attributes(place)
        if place.whole:
            thing += f" (about {_area_words(_area_m2(seen, place))})"
        sentences.append(_nouns.sentence(pick(rng, _phrases.MAP_PLACE).format(thing=thing, region=region)))
    text = " ".join(sentences)
    targets = Targets(captions=(text,), labels=tuple(seen.names))
    return seen.rows.make("caption", [(pick(rng, _phrases.DETAIL), text)], targets, meta={"detailed": True})


def _attributes(place: Place) -> str:
    """What else the map tells that can be seen."""
    said = []
    levels = place.tags.get("building:levels", "")
    if levels.isdigit() and 1 < int(levels) < 100:
        said.append(f"with {_nouns.counted(int(levels), 'storey')}")
    if place.tags.get("roof:shape") in _ROOFS:
        said.append(f"{'and' if said else 'with'} {_ROOFS[place.tags['roof:shape']]}")
    if place.tags.get("surface") in _SURFACES and place.name != _SURFACES[place.tags["surface"]]:
        said.append(f"surfaced with {_SURFACES[place.tags['surface']]}")
    return "".join(f" {words}" for words in said)


def _described(place: Place) -> str:
    region = _expressions.region_of(place.thing)
    where = f", in the {region} of the picture" if _expressions.within(region, place.thing, False) else ""
    return _nouns.sentence(f"{_nouns.one(place.name)}{_attributes(place)}{where}")


# ---------------------------------------------------------------- measures


def _area_m2(seen: _Map, place: Place) -> float:
    return area_m2(place.mask, seen.georef, size_px=seen.size_px)


def _area_words(square_metres: float) -> str:
    """Two digits are enough."""
    return area_text(_two_digits(square_metres))


def _two_digits(value: float) -> float:
    return round(value, 1 - math.floor(math.log10(value))) if value > 0 else 0.0


def _size(seen: _Map, place: Place, rng: np.random.Generator) -> tuple[tuple[Words, Words], Number]:
    before, after = pick(rng, _phrases.MAP_SIZE)
    value = _area_m2(seen, place)
    return ((before, place.thing.box, after), f"About {_area_words(value)}."), Number(
        value, "m2", "computed", place.name
    )


def _between(seen: _Map, rng: np.random.Generator) -> Iterator[Sample]:
    """Ask for the direction and the distance between two places."""
    pair = [place for place in seen.drawn(rng, 2) if place.whole]
    if len(pair) < 2:
        return
    boxes = (pair[0].thing.box, pair[1].thing.box)
    names = (pair[0].name, pair[1].name)
    direction = direction_of(*boxes)
    if direction is not None:
        words = pick(rng, _phrases.MAP_DIRECTION)
        targets = Targets(choices=tuple(map(_towards, _DIRECTIONS)), labels=names, boxes=boxes)
        yield seen.rows.make("vqa", [(_about_two(words, names, boxes), _towards(direction))], targets)
    metres = _distance_m(seen, *boxes)
    words = pick(rng, _phrases.MAP_DISTANCE)
    targets = Targets(labels=names, boxes=boxes, numbers=(Number(metres, "m", "computed", "distance"),))
    answer = f"About {_two_digits(metres):g} m."
    yield seen.rows.make("vqa", [(_about_two(words, names, boxes), answer)], targets)


def _towards(direction: str) -> str:
    return _nouns.sentence(direction if direction in ("above", "below") else f"to the {direction}")


def _about_two(words: tuple[str, str, str], names: tuple[str, str], boxes: tuple[Box, Box]) -> list[str | Box]:
    """Fill a question about two places; the regions follow the names in the order of the words."""
    before, between, after = (piece.format(first=names[0], second=names[1]) for piece in words)
    first, second = boxes if "{first}" in words[0] else boxes[::-1]
    return [before, first, between, second, after]


def direction_of(one: Box, other: Box) -> str | None:
    """In which direction of the picture `other` lies from `one`; None where it is between two directions or near."""
    x, y = _centre(other)[0] - _centre(one)[0], _centre(one)[1] - _centre(other)[1]
    sides = [box.xyxy[i + 2] - box.xyxy[i] for box in (one, other) for i in (0, 1)]
    if math.hypot(x, y) < max(sides) / 2:
        return None
    eighths = math.degrees(math.atan2(y, x)) % 360 / 45
    if abs(eighths - round(eighths)) * 45 > _CLEAR_DEG:
        return None
    return _DIRECTIONS[round(eighths) % 8]


def _centre(box: Box) -> tuple[float, float]:
    x1, y1, x2, y2 = box.xyxy
    return (x1 + x2) / 2, (y1 + y2) / 2


def _distance_m(seen: _Map, one: Box, other: Box) -> float:
    ends = convert_xy([_centre(one), _centre(other)], "pixel", "map", size_px=seen.size_px, georef=seen.georef)
    return length_m(ends, seen.georef)


# ---------------------------------------------------------------- dialogue


def _dialogue(seen: _Map, rng: np.random.Generator) -> Iterator[Sample]:
    """From the whole to one place: what is here, what is there, how large it is."""
    for place in seen.drawn(rng, 1, whole=True):
        before, after = pick(rng, _phrases.REGION)
        size, number = _size(seen, place, rng)
        turns: list[tuple[Words, Words]] = [
            (pick(rng, _phrases.CAPTION), _overview(seen, rng, _MOST_NAMED)),
            ((before, place.thing.box, after), _described(place)),
            ("How large is it?", size[1]),
        ]
        targets = Targets(labels=tuple(seen.names), boxes=(place.thing.box,), numbers=(number,))
        yield seen.rows.make("dialogue", turns, targets)


BUILDER = Builder("mapped objects of the source osm", build)
