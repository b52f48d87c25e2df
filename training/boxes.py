"""Boxes of rows: held to their frame, and written the way the model is taught to write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from PIL import Image as PilImage

from lhrs_chat.errors import DataError
from lhrs_chat.geo.frames import RELATIVE, Placement, convert
from lhrs_chat.schema import Box, Image, Message, Part, Sample
from lhrs_chat.text import grounding

Layout = Callable[[tuple[int, int]], Placement | None]
"""How a model lays out a picture of this width and height, or None where that is not known."""

SLACK = 0.01  # of the picture's side; boxes that were rounded outwards may stick out that far


def check_boxes(sample: Sample) -> None:
    """Hold the boxes that are true of a row to their frame.

    Raises:
        DataError: one lies outside: it is in another frame than it says, or of another picture.
    """
    for box in sample.targets.boxes:
        limit = _limits(box, sample.images[0].size_px if len(sample.images) == 1 else None)
        if limit is not None:
            _hold(box, limit)


def spoken(sample: Sample, dialect: str, layout: Layout) -> tuple[Message, ...]:
    """Return the turns of a row with every region written in the model's own way.

    Args:
        sample: the row.
        dialect: how the model writes boxes.
        layout: of its pictures.

    Raises:
        DataError: a region lies outside its picture, or it is not known which picture it is of.
        GeoError: a region cannot be brought into the frame that the model counts in.
    """
    return tuple(
        replace(turn, content=tuple(_written(part, sample, dialect, layout) for part in turn.content))
        for turn in sample.messages
    )


def tagged(turns: tuple[Message, ...], tag: str | None) -> tuple[Message, ...]:
    """Put the tag of a task before the words of its questions, behind their pictures."""
    if tag is None:
        return turns
    return tuple(_tagged(turn, tag) if turn.role == "user" else turn for turn in turns)


def _tagged(turn: Message, tag: str) -> Message:
    pictures = tuple(part for part in turn.content if part.type == "image")
    words = tuple(part for part in turn.content if part.type != "image")
    return replace(turn, content=(*pictures, Part("text", text=f"{tag} "), *words))


def check_answers(turns: tuple[Message, ...], dialect: str) -> None:
    """Hold the boxes that answers spell out to the way in which the model is taught to write them.

    Raises:
        DataError: what looks like a box of the dialect is none: its numbers are out of the frame, or inverted.
    """
    way = grounding.get(dialect)
    for turn in turns:
        for match in way.markup.finditer(turn.text) if turn.role == "assistant" else ():
            if not way.read(match[0], 1.0):
                raise DataError(
                    f"an answer holds a box that is none in the dialect {dialect}",
                    found=match[0],
                    allowed=f"numbers of the frame {way.frame}, x1 < x2 and y1 < y2",
                    next_step="store boxes as parts of type region, with their frame",
                )


def _written(part: Part, sample: Sample, dialect: str, layout: Layout) -> Part:
    if part.type != "region" or part.region is None:
        return part
    picture = _picture(part, sample)
    size = size_px_of(picture)
    box = part.region
    limit = _limits(box, size)
    if limit is not None:
        _hold(box, limit)
    if box.frame == "map":
        box = convert(box, "pixel", size_px=size, georef=picture.georef)
        _hold(box, (float(size[0]), float(size[1])))
    return Part("text", text=grounding.write(box, dialect, size, layout(size)))


def _picture(part: Part, sample: Sample) -> Image:
    if part.image is not None and 0 <= part.image < len(sample.images):
        return sample.images[part.image]
    if part.image is None and len(sample.images) == 1:
        return sample.images[0]
    raise DataError(
        "a region says which picture it is of",
        found=f"image {part.image}, {len(sample.images)} pictures",
        allowed="the number of a picture of the row; none where there is one picture",
    )


def size_px_of(picture: Image) -> tuple[int, int]:
    """Return width and height of a picture, from its file where the row does not say."""
    if picture.size_px is not None:
        return picture.size_px
    try:
        with PilImage.open(picture.path or "") as opened:
            return opened.size
    except OSError as error:
        raise DataError("a picture of the training data cannot be read", found=f"{picture.path}: {error}") from error


def _limits(box: Box, size_px: tuple[int, int] | None) -> tuple[float, float] | None:
    """Return the largest x and y of the box's frame, or None where it is not known."""
    if box.frame in RELATIVE:
        return RELATIVE[box.frame], RELATIVE[box.frame]
    if box.frame == "pixel" and size_px is not None:
        return float(size_px[0]), float(size_px[1])
    return None


def _hold(box: Box, limit: tuple[float, float]) -> None:
    (x1, y1, x2, y2), (width, height) = box.xyxy, limit
    if x1 < -SLACK * width or y1 < -SLACK * height or x2 > (1 + SLACK) * width or y2 > (1 + SLACK) * height:
        raise DataError(
            "a box lies outside its picture",
            found=f"{box.label} {box.xyxy} in the frame {box.frame}".strip(),
            allowed=f"x from 0 to {width:g}, y from 0 to {height:g}",
            next_step="check in which frame the boxes were stored: pixel, unit, per100 or per1000",
        )
