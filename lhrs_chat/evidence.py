"""What an answer rests on: regions and numbers read from the model's words, and covers measured in the pixels."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from lhrs_chat.errors import GeoError
from lhrs_chat.geo import frames, indices, measure
from lhrs_chat.geo.frames import Placement
from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Box, Mask, Number
from lhrs_chat.text import answers, grounding
from lhrs_chat.text.questions import AskedCover, asked_covers, asked_thing, asks_amount

log = logging.getLogger(__name__)

MEASURED_MAX_PX = 2048  # longer side of the decimated read that covers are measured on


@dataclass(frozen=True)
class Cover:
    """A cover measured in the pixels: numbers, the region (None where there is none), a sentence that says how."""

    numbers: tuple[Number, ...]
    mask: Mask | None
    sentence: str


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


def measured(question: str, raster: Raster) -> list[Cover]:
    """Measure the covers that a question asks for, where the raster has the bands for them."""
    found = [measure_cover(raster, asked) for asked in asked_covers(question)]
    return [cover for cover in found if cover is not None]


def measure_cover(raster: Raster, asked: AskedCover) -> Cover | None:
    """Measure a cover by its spectral index; None where the raster lacks the bands.

    Run lengths of a large raster's mask are over a decimated view of it, at most `MEASURED_MAX_PX` a side. The area
    is left out where the scene has no place on the ground.

    Args:
        raster: the scene.
        asked: what to measure.
    """
    found = indices.cover_mask(raster, asked.cover, MEASURED_MAX_PX)
    if found is None:
        return None
    mask, rule = found
    valid = raster.valid(max_size_px=MEASURED_MAX_PX)
    share = 100.0 * float((mask & valid).sum()) / max(int(valid.sum()), 1)
    numbers = [Number(share, "%", "computed", asked.cover)]
    said = f"{_percent(share)} of the scene"
    if raster.image.georef is not None:
        try:
            area_m2 = measure.area_m2(mask & valid, raster.image.georef, size_px=raster.size_px)
        except GeoError as error:
            log.warning("no area was computed: %s", error)
        else:
            numbers.append(Number(area_m2, "m2", "computed", asked.cover))
            said += f" = {area_text(area_m2)}"
    region = Mask.from_array(mask & valid, asked.cover) if share > 0 else None
    thing = f"{asked.cover} of any kind" if asked.is_kind else asked.cover
    return Cover(tuple(numbers), region, f"Measured {thing} by {rule}: {said}.")


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
