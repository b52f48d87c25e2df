"""The one place where coordinates change frame.

Frames: `pixel` of the original image (x right, y down, edges at whole numbers), `unit` 0-1, `per100`, `per1000` of
the original image, `model` pixels of the picture that was sent, `map` coordinates of the CRS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from shapely.geometry import Polygon
from shapely.geometry import box as rectangle

from lhrs_chat.errors import GeoError
from lhrs_chat.schema import FRAMES, XYXY, Box, Frame, Georef, Mask, Point

RELATIVE: dict[str, float] = {"unit": 1.0, "per100": 100.0, "per1000": 1000.0}


@dataclass(frozen=True)
class Placement:
    """What was done to an image before a model saw it: crop, resize, pad. All sizes are (width, height).

    Args:
        original_px: size of the whole image.
        crop: the part that was sent, (x0, y0, x1, y1) in original pixels.
        resized_px: size of that part after resizing.
        pad: pixels added at the left and at the top after resizing.
        sent_px: size of the picture the model got.
    """

    original_px: tuple[int, int]
    crop: tuple[float, float, float, float]
    resized_px: tuple[int, int]
    pad: tuple[int, int]
    sent_px: tuple[int, int]

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.crop
        if min(*self.original_px, *self.resized_px, *self.sent_px, x1 - x0, y1 - y0) <= 0:
            raise GeoError("a placement has an empty side", found=self)

    @staticmethod
    def whole(size_px: tuple[int, int], sent_px: tuple[int, int] | None = None) -> Placement:
        """The whole image, resized to `sent_px` without padding."""
        sent = size_px if sent_px is None else sent_px
        return Placement(size_px, (0, 0, *size_px), sent, (0, 0), sent)

    @property
    def scale(self) -> tuple[float, float]:
        """Sent pixels per original pixel, in x and in y."""
        x0, y0, x1, y1 = self.crop
        return self.resized_px[0] / (x1 - x0), self.resized_px[1] / (y1 - y0)

    def to_model(self, shape: Box | Point) -> Box | Point:
        """Move a box or point of any image frame into the picture that was sent."""
        if isinstance(shape, Box):
            return convert(shape, "model", size_px=self.original_px, placement=self)
        return convert_point(shape, "model", size_px=self.original_px, placement=self)

    def to_pixel(self, shape: Box | Point) -> Box | Point:
        """Move a box or point from the picture that was sent back to the original image."""
        if isinstance(shape, Box):
            return convert(shape, "pixel", size_px=self.original_px, placement=self)
        return convert_point(shape, "pixel", size_px=self.original_px, placement=self)


def _affine(
    frame: str, size_px: tuple[int, int], placement: Placement | None, georef: Georef | None
) -> tuple[float, float, float, float, float, float]:
    """The affine (a, b, c, d, e, f) that takes `pixel` to `frame`."""
    width, height = size_px
    if width <= 0 or height <= 0:
        raise GeoError("an image has a positive size", found=size_px)
    if frame == "pixel":
        return (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    if frame in RELATIVE:
        return (RELATIVE[frame] / width, 0.0, 0.0, 0.0, RELATIVE[frame] / height, 0.0)
    if frame == "model":
        if placement is None:
            raise GeoError("the frame `model` needs the placement of the sent picture", found="none")
        if tuple(placement.original_px) != tuple(size_px):
            raise GeoError("the placement is of another image", found=placement.original_px, allowed=size_px)
        sx, sy = placement.scale
        left, top = placement.pad
        return (sx, 0.0, left - sx * placement.crop[0], 0.0, sy, top - sy * placement.crop[1])
    if frame == "map":
        if georef is None:
            raise GeoError(
                "this image has no georeference, so it has no map coordinates",
                found="no CRS and affine",
                next_step="ask for pixel coordinates, or give a georeferenced raster (GeoTIFF, world file with CRS)",
            )
        return georef.transform
    raise GeoError("unknown coordinate frame", found=frame, allowed=", ".join(FRAMES))


def convert_xy(
    xy: Sequence[tuple[float, float]] | np.ndarray,
    source: Frame,
    to: Frame,
    *,
    size_px: tuple[int, int],
    placement: Placement | None = None,
    georef: Georef | None = None,
) -> np.ndarray:
    """Convert positions between frames.

    Args:
        xy: (N, 2), x and y in the frame `source`.
        source: the frame they are in.
        to: the frame they shall be in.
        size_px: width and height of the original image.
        placement: needed from and to `model`.
        georef: needed from and to `map`.

    Returns:
        (N, 2), float64.

    Raises:
        GeoError: the frame is unknown, or what it needs is missing.
    """
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    a, b, c, d, e, f = _affine(source, size_px, placement, georef)
    forward = _affine(to, size_px, placement, georef)
    if source == to:
        return points.copy()
    determinant = a * e - b * d
    if determinant == 0 or not np.isfinite(determinant):
        raise GeoError("the affine of the image cannot be inverted", found=(a, b, c, d, e, f))
    x, y = points[:, 0] - c, points[:, 1] - f
    px, py = (e * x - b * y) / determinant, (a * y - d * x) / determinant
    a, b, c, d, e, f = forward
    return np.stack([a * px + b * py + c, d * px + e * py + f], axis=1)


def _is_rotated(georef: Georef | None) -> bool:
    return georef is not None and (georef.transform[1] != 0 or georef.transform[3] != 0)


def convert(
    box: Box,
    to: Frame,
    *,
    size_px: tuple[int, int],
    placement: Placement | None = None,
    georef: Georef | None = None,
) -> Box:
    """Convert a box, upright or oriented; label and score stay.

    An upright box that crosses a rotated affine gets its four corners as `points`, and `xyxy` becomes their
    envelope, so that nothing is lost on the way back. In the frame `map`, y1 is the southern edge of a north-up image.

    Args:
        box: the box, in the frame it carries.
        to: the frame it shall be in.
        size_px: width and height of the original image.
        placement: needed from and to `model`.
        georef: needed from and to `map`.

    Raises:
        GeoError: the frame is unknown, or what it needs is missing.
    """
    x1, y1, x2, y2 = box.xyxy
    corners = box.points if box.points is not None else ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    moved = convert_xy(corners, box.frame, to, size_px=size_px, placement=placement, georef=georef)
    if box.frame == to:
        return box
    points = tuple((float(x), float(y)) for x, y in moved)
    keep = box.points is not None or ("map" in (box.frame, to) and _is_rotated(georef))
    made = Box.oriented(points, to, box.label, box.score)
    return made if keep else replace(made, points=None)


def convert_point(
    point: Point,
    to: Frame,
    *,
    size_px: tuple[int, int],
    placement: Placement | None = None,
    georef: Georef | None = None,
) -> Point:
    """Convert one position; see `convert`."""
    moved = convert_xy([(point.x, point.y)], point.frame, to, size_px=size_px, placement=placement, georef=georef)
    return Point(float(moved[0, 0]), float(moved[0, 1]), to, point.label)


def convert_mask(
    mask: Mask,
    to: Frame,
    *,
    size_px: tuple[int, int],
    placement: Placement | None = None,
    georef: Georef | None = None,
) -> Mask:
    """Convert a polygon mask; see `convert`.

    Raises:
        GeoError: the mask is stored as run lengths, which only exist in the frame `pixel`.
    """
    if mask.polygons is None:
        if to == "pixel":
            return mask
        raise GeoError(
            "run lengths exist only in pixels",
            found=to,
            allowed="pixel",
            next_step="make polygons with vector.polygons",
        )
    rings = tuple(
        tuple(
            (float(x), float(y))
            for x, y in convert_xy(ring, mask.frame, to, size_px=size_px, placement=placement, georef=georef)
        )
        for ring in mask.polygons
    )
    return replace(mask, polygons=rings, frame=to)


def clip(box: Box, size_px: tuple[int, int]) -> Box:
    """Cut a box at the edges of the image.

    An oriented box that crosses an edge becomes the envelope of what is left of it.

    Args:
        box: in the frame `pixel`, `unit`, `per100` or `per1000`.
        size_px: width and height of the original image.

    Raises:
        GeoError: the box lies wholly outside, or its frame has no image edges.
    """
    if box.frame == "pixel":
        limit = (float(size_px[0]), float(size_px[1]))
    elif box.frame in RELATIVE:
        limit = (RELATIVE[box.frame], RELATIVE[box.frame])
    else:
        raise GeoError("a box is clipped in an image frame", found=box.frame, allowed="pixel, unit, per100, per1000")
    xyxy = box.xyxy
    inside = xyxy[0] >= 0 and xyxy[1] >= 0 and xyxy[2] <= limit[0] and xyxy[3] <= limit[1]
    if inside:
        return box
    if box.points is not None:
        left_over = Polygon(box.points).intersection(rectangle(0.0, 0.0, *limit))
        if left_over.area <= 0:
            raise _outside(box, limit)
        bounds = left_over.bounds
        return Box((bounds[0], bounds[1], bounds[2], bounds[3]), box.frame, box.label, box.score)
    cut = [min(max(value, 0.0), limit[i % 2]) for i, value in enumerate(xyxy)]
    for low, high in ((0, 2), (1, 3)):
        beyond = xyxy[high] < 0 or xyxy[low] > limit[low]
        only_touches = cut[low] == cut[high] and xyxy[low] < xyxy[high]
        if beyond or only_touches:
            raise _outside(box, limit)
    clipped: XYXY = (cut[0], cut[1], cut[2], cut[3])
    return replace(box, xyxy=clipped)


def _outside(box: Box, limit: tuple[float, float]) -> GeoError:
    return GeoError(
        "the box lies outside the image",
        found=f"{tuple(round(v, 3) for v in box.xyxy)} in frame {box.frame}",
        allowed=f"0 to {limit[0]:g} in x, 0 to {limit[1]:g} in y",
    )
