"""What an answer rests on: regions and numbers read from the model's words, and covers measured in the pixels."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace

from lhrs_chat.errors import GeoError
from lhrs_chat.geo import frames, indices, measure
from lhrs_chat.geo.frames import Placement
from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Box, Mask, Number
from lhrs_chat.text import answers, grounding

log = logging.getLogger(__name__)

MEASURED_MAX_PX = 2048  # longer side of the decimated read that covers are measured on
COVER_WORDS: dict[str, tuple[str, ...]] = {
    "water": (
        *("water", "lake", "river", "sea", "ocean", "pond", "reservoir", "lagoon", "bay", "canal"),
        *("flood", "flooding", "flooded", "inundation", "inundated"),
    ),
    "vegetation": (
        *("vegetation", "vegetated", "forest", "woodland", "wood", "tree", "greenery", "grass", "grassland", "crop"),
        *("meadow", "canopy", "shrub"),
    ),
}
_WHERE = re.compile(
    r"\b(?:where(?:'s|\s+(?:is|are|do\s+you\s+see|can\s+(?:i|you)\s+(?:see|find)))|locate|find|point\s+(?:to|at|out)"
    r"|detect|outline|show(?:\s+me)?|mark|highlight|(?:bounding\s+)?box(?:es)?\s+(?:of|for|around)"
    r"|(?:coordinates|position|location)\s+of)\s+(?P<thing>.+)",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(r"\b(?:how\s+many|number\s+of|count)\s+(?:the\s+|all\s+)*(?P<thing>.+)", re.IGNORECASE)
_SHARE = re.compile(
    r"\b(?:how\s+much|how\s+large|how\s+big|what\s+(?:percentage|percent|share|fraction|proportion|part|area)"
    r"|(?:percentage|percent|share|fraction|proportion|area|extent)\s+of|covered\s+(?:by|with))\b",
    re.IGNORECASE,
)
_PRESENCE = re.compile(
    r"\b(?:is|are|do|does|can)\b.*?\b(?:there|any|you\s+see|contains?|shows?)\b(?P<thing>.+)", re.IGNORECASE
)
_NOT_A_COVER = re.compile(r"\bwater\s*(?:tower|tank|treatment|park)|\btree\s+count", re.IGNORECASE)
_BESIDE = re.compile(r"\b(?:near|along|beside|next\s+to|over|across|between|around)\b", re.IGNORECASE)
_AT = re.compile(r"\b(?:near|along|beside|next|over|across|between|around|on|in|at|by|of|with)\b", re.IGNORECASE)
_AMOUNT = re.compile(
    r"\b(?:how\s+(?:many|much|high|tall|long|wide|big|large|far|deep)|number\s+of|count|percent(?:age)?|share|fraction"
    r"|proportion|area|height|length|width|distance|size|extent)\b",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"\s+(?:in|on|within|of|from|inside)\s+(?:the|this|that|these|an?|both)?\s*(?:\w+\s+){0,2}"
    r"(?:image|images|scene|scenes|picture|pictures|photo|photograph|tile|raster|view|map|it)s?\b.*$"
    r"|\s+(?:are|is|do|can|does)\s+(?:there|visible|shown|seen|present|located|you|we|i)\b.*$"
    r"|\s+(?:located|visible|shown|please|here)\b.*$",
    re.IGNORECASE,
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_ARTICLE = re.compile(r"^(?:the|an?|any|all|some|every|each|me|of)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Cover:
    """A cover measured in the pixels: numbers, the region (None where there is none), a sentence that says how."""

    numbers: tuple[Number, ...]
    mask: Mask | None
    sentence: str


def about(question: str, count: int) -> int:
    """Return which of `count` images a question means: the one it names ('image 2', 'first image'), else the last."""
    named = re.search(r"\b(?:image|picture|scene)\s+(\d+)\b", question, re.IGNORECASE)
    if named is not None and 1 <= int(named[1]) <= count:
        return int(named[1]) - 1
    for number, word in enumerate(_ORDINALS[:count]):
        if re.search(rf"\b{word}\s+(?:image|picture|scene|one|date)\b", question, re.IGNORECASE):
            return number
    return count - 1


def asked_thing(question: str) -> str:
    """Return what a question asks for: 'Where is the lake?' -> 'lake', 'How many ships are there?' -> 'ships'."""
    found = _WHERE.search(question) or _HOW_MANY.search(question) or _PRESENCE.search(question)
    if found is None:
        return ""
    thing = re.split(r"[?.!,;:\n]", found["thing"], maxsplit=1)[0].strip()
    thing = _TAIL.sub("", thing).strip(" '\"")
    while (shorter := _ARTICLE.sub("", thing)) != thing:
        thing = shorter
    return thing[:60]


def asked_cover(question: str) -> str | None:
    """Return the cover whose share, place or presence a question asks for: `water`, `vegetation` or None."""
    if _SHARE.search(question):
        about = _BESIDE.split(question, maxsplit=1)[0]
    elif found := _WHERE.search(question) or _PRESENCE.search(question):
        about = _AT.split(found["thing"], maxsplit=1)[0]
    else:
        return None
    words = {word.removesuffix("s") for word in re.findall(r"[a-z]+", _NOT_A_COVER.sub("", about).lower())}
    return next((cover for cover, known in COVER_WORDS.items() if words.intersection(known)), None)


def asks_amount(question: str) -> bool:
    """Tell whether a question asks for a quantity, so that a number in the answer is its answer."""
    return _AMOUNT.search(question) is not None


def said_boxes(
    text: str, dialect: str, question: str, size_px: tuple[int, int], sent_px: tuple[int, int], placement: Placement
) -> tuple[Box, ...]:
    """Read the boxes of a model's answer and put them into pixels of the original image.

    A box that crosses an edge is clipped; one that lies wholly outside is dropped and logged.

    Args:
        text: the model's words.
        dialect: how the model writes boxes, a name of `grounding.DIALECTS`.
        question: what was asked; its object becomes the label where the dialect has none.
        size_px: width and height of the original image.
        sent_px: width and height of the picture that was handed to the backend.
        placement: what the backend did to that picture.
    """
    thing = asked_thing(question)
    kept = []
    found = grounding.parse(text, dialect, size_px)
    if not found and grounding.strip(text, dialect) != text.strip():
        log.warning("the model wrote a box that cannot be one, so it was left out: %s", text.strip())
    for said in found:
        in_picture = frames.convert(said, "unit", size_px=sent_px, placement=placement)
        box = frames.convert(in_picture, "pixel", size_px=size_px)
        try:
            inside = frames.clip(box, size_px)
        except GeoError as error:
            log.warning("a box of the model was dropped: %s", error)
            continue
        kept.append(_rounded(replace(inside, label=box.label or thing)))
    return tuple(kept)


def said_numbers(text: str, dialect: str, question: str) -> tuple[Number, ...]:
    """Read the amount out of a model's answer, where the question asks for one."""
    if not asks_amount(question):
        return ()
    number = answers.number(grounding.strip(text, dialect))
    if number is None:
        return ()
    return (replace(number, evidence="model", label=number.label or asked_thing(question)),)


def measure_cover(raster: Raster, cover: str) -> Cover | None:
    """Measure a cover by its spectral index; None where the raster lacks the bands.

    Run lengths of a large raster's mask are over a decimated view of it, at most `MEASURED_MAX_PX` a side.

    Args:
        raster: the scene.
        cover: `water` or `vegetation`.
    """
    found = indices.cover_mask(raster, cover, MEASURED_MAX_PX)
    if found is None:
        return None
    mask, rule = found
    valid = raster.valid(max_size_px=MEASURED_MAX_PX)
    share = 100.0 * float((mask & valid).sum()) / max(int(valid.sum()), 1)
    numbers = [Number(share, "%", "computed", cover)]
    said = _percent(share)
    if raster.image.georef is not None:
        area_m2 = measure.area_m2(mask & valid, raster.image.georef, size_px=raster.size_px)
        numbers.append(Number(area_m2, "m2", "computed", cover))
        said += f" = {area_text(area_m2)}"
    region = Mask.from_array(mask & valid, cover) if share > 0 else None
    return Cover(tuple(numbers), region, f"Measured {cover} by {rule}: {said}.")


def area_text(area_m2: float) -> str:
    """Write an area in the unit that reads best."""
    for unit, size_m2 in (("km2", 1e6), ("ha", 1e4)):
        if area_m2 >= size_m2:
            return f"{area_m2 / size_m2:.{1 if area_m2 < 100 * size_m2 else 0}f} {unit}"
    return f"{area_m2:.0f} m2"


def _percent(share: float) -> str:
    return "under 0.1 %" if 0 < share < 0.05 else f"{share:.1f} %"


def _rounded(box: Box) -> Box:
    """Cut the noise of conversions off: a thousandth of a pixel is finer than any model speaks."""
    x1, y1, x2, y2 = (round(value, 3) for value in box.xyxy)
    points = None if box.points is None else tuple((round(x, 3), round(y, 3)) for x, y in box.points)
    return replace(box, xyxy=(x1, y1, x2, y2), points=points)
