"""Drawing boxes and masks over a picture, readable on any ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lhrs_chat.errors import DataError
from lhrs_chat.geo.frames import convert
from lhrs_chat.geo.shapes import polygons
from lhrs_chat.schema import Box, Mask

# Colours that stay apart for most colour-blind readers: Okabe and Ito 2008, without black.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
OWN: dict[str, tuple[int, int, int]] = {"water": COLOURS[1], "vegetation": COLOURS[2]}  # as on any map
_DARK, _LIGHT = (0, 0, 0), (255, 255, 255)


def draw(
    rgb: np.ndarray,
    boxes: Sequence[Box] = (),
    masks: Sequence[Mask] = (),
    *,
    size_px: tuple[int, int] | None = None,
) -> Image.Image:
    """Draw boxes with their labels and half transparent masks; one colour a label, blue for water.

    Args:
        rgb: (H, W, 3), uint8, the image or a decimated view of it.
        boxes: in the frame `pixel` of the image, or a relative one.
        masks: likewise.
        size_px: width and height of the image when `rgb` is a decimated view.

    Raises:
        DataError: `rgb` is not (H, W, 3) uint8.
        GeoError: a box or mask is in a frame that the picture does not have.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise DataError("a picture to draw on is (H, W, 3) uint8", found=(rgb.shape, rgb.dtype))
    height, width = rgb.shape[:2]
    original = size_px or (width, height)
    labels = list(dict.fromkeys([mask.label for mask in masks] + [box.label for box in boxes]))
    own = {label: OWN[label] for label in labels if label in OWN}
    free = [colour for colour in COLOURS if colour not in own.values()]
    others = [label for label in labels if label not in own]
    colours = own | {label: free[i % len(free)] for i, label in enumerate(others)}
    picture = Image.fromarray(rgb)
    scale = np.array([width / original[0], height / original[1]])
    for mask in masks:
        _tint(picture, mask, original, scale, colours[mask.label])
    pen = ImageDraw.Draw(picture)
    line = max(2, round(max(width, height) / 400))
    font = ImageFont.load_default(size=max(11, round(max(width, height) / 45)))
    for box in boxes:
        shape = convert(box, "pixel", size_px=original)
        x1, y1, x2, y2 = shape.xyxy
        corners = shape.points or ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
        outline = [(float(x * scale[0]), float(y * scale[1])) for x, y in corners]
        closed = [*outline, outline[0], outline[1]]
        pen.line(closed, fill=_DARK, width=line + 2, joint="curve")
        pen.line(closed, fill=colours[box.label], width=line, joint="curve")
    for box in boxes:  # after all outlines, so that no line runs through a label
        x1, y1, _, _ = convert(box, "pixel", size_px=original).xyxy
        _write(pen, box, (float(x1 * scale[0]), float(y1 * scale[1])), colours[box.label], font, (width, height))
    return picture


def _tint(
    picture: Image.Image, mask: Mask, size_px: tuple[int, int], scale: np.ndarray, colour: tuple[int, int, int]
) -> None:
    cover = Image.new("L", picture.size, 0)
    if mask.rle is not None:
        stored = Image.fromarray(mask.to_array().astype(np.uint8) * 128)
        cover = stored.resize(picture.size, Image.Resampling.NEAREST)
    else:
        pen = ImageDraw.Draw(cover)
        for part in polygons(mask, "pixel", size_px=size_px):
            for ring, value in ((part.exterior, 128), *((hole, 0) for hole in part.interiors)):
                pen.polygon([(float(x * scale[0]), float(y * scale[1])) for x, y in ring.coords], fill=value)
    picture.paste(Image.new("RGB", picture.size, colour), mask=cover)


def _write(
    pen: ImageDraw.ImageDraw,
    box: Box,
    corner: tuple[float, float],
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size_px: tuple[int, int],
) -> None:
    """Write label and score on a filled plate above the box, moved so that it stays inside the picture."""
    text = " ".join(part for part in (box.label, "" if box.score is None else f"{box.score:.2f}") if part)
    if not text:
        return
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    wide, high = right - left + 6, bottom - top + 6
    x = min(max(0.0, corner[0]), max(0.0, size_px[0] - wide))
    y = corner[1] - high if corner[1] >= high else corner[1]
    y = min(max(0.0, y), max(0.0, size_px[1] - high))
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    pen.rectangle((x, y, x + wide, y + high), fill=colour, outline=_DARK)
    pen.text((x + 3 - left, y + 3 - top), text, fill=_DARK if luminance > 110 else _LIGHT, font=font)
