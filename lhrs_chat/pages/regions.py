"""Pictures, boxes and masks for a page: data URIs, and places as shares of the picture."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import PIL.Image

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.frames import Placement, convert, convert_mask
from lhrs_chat.schema import Box, Georef, Mask

PICTURE_PX = 480
"""The longer side of a picture on a page is at most so long."""
_QUALITY = 82
_OPACITY = 0.45


def jpeg(pixels: np.ndarray) -> str:
    """A picture as a data URI.

    Args:
        pixels: (H, W, 3), uint8.
    """
    picture = PIL.Image.fromarray(pixels)
    picture.thumbnail((PICTURE_PX, PICTURE_PX))
    return _uri(picture, "JPEG", quality=_QUALITY)


def corners(
    box: Box, size_px: tuple[int, int], placement: Placement | None = None, georef: Georef | None = None
) -> list[list[float]]:
    """The corners of a box as shares of the picture; none where its frame has no place in it."""
    try:
        moved = convert(box, "unit", size_px=size_px, placement=placement, georef=georef)
    except GeoError:
        return []
    x1, y1, x2, y2 = moved.xyxy
    points = moved.points if moved.points is not None else ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    return [[round(x, 4), round(y, 4)] for x, y in points]


def region(
    mask: Mask, size_px: tuple[int, int], colour: tuple[int, int, int], georef: Georef | None = None
) -> dict[str, Any]:
    """A mask as `rings`, shares of the picture, or as `uri`, a small transparent picture; empty without a place."""
    try:
        if mask.polygons is not None:
            moved = convert_mask(mask, "unit", size_px=size_px, georef=georef)
            return {"rings": [[[round(x, 4), round(y, 4)] for x, y in ring] for ring in moved.polygons or ()]}
    except GeoError:
        return {}
    inside = PIL.Image.fromarray((mask.to_array() * 255).astype(np.uint8))
    inside.thumbnail((PICTURE_PX, PICTURE_PX))
    tinted = PIL.Image.new("RGBA", inside.size, (*colour, 0))
    tinted.putalpha(inside.point(lambda value: value * _OPACITY))
    return {"uri": _uri(tinted, "PNG")}


def _uri(picture: PIL.Image.Image, form: str, **options: int) -> str:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return f"data:image/{form.lower()};base64," + base64.b64encode(out.getvalue()).decode("ascii")
