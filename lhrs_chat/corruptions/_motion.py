"""Where the parts of a picture go when it is rotated, scaled or shifted: its pixels, and what is known about them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import PIL.Image

from lhrs_chat.corruptions import _values
from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.geo.frames import clip, convert, convert_mask
from lhrs_chat.schema import Box, Mask
from lhrs_chat.text.directions import rewrite_directions

Affine = tuple[float, float, float, float, float, float]
UPRIGHT_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Motion:
    """How positions of a picture move. All sizes are (width, height).

    Args:
        size_px: the picture as it was.
        moved_size_px: the picture as it became.
        affine: (a, b, c, d, e, f), a position (x, y) in pixels goes to (ax + by + c, dx + ey + f).
        quarter_turns: turns by 90 degrees, counter-clockwise, that the words about directions take part in.
        mirrored: left and right change places, before the turns.
    """

    size_px: tuple[int, int]
    moved_size_px: tuple[int, int]
    affine: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    quarter_turns: int = 0
    mirrored: bool = False

    @staticmethod
    def none(size_px: tuple[int, int]) -> Motion:
        """Everything stays where it is."""
        return Motion(size_px, size_px)

    @staticmethod
    def about_centre(size_px: tuple[int, int], degrees: float = 0.0, scale: float = 1.0) -> Motion:
        """Rotate counter-clockwise and scale about the centre; the picture keeps its size."""
        cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
        x, y = size_px[0] / 2, size_px[1] / 2
        return Motion(size_px, size_px, (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y))

    @property
    def back(self) -> Affine:
        """The affine from the picture as it became to the picture as it was."""
        a, b, c, d, e, f = self.affine
        det = a * e - b * d
        return e / det, -b / det, (b * f - c * e) / det, -d / det, a / det, (c * d - a * f) / det

    def xy(self, points: np.ndarray) -> np.ndarray:
        """Move `points`: (N, 2), x and y in pixels."""
        a, b, c, d, e, f = self.affine
        x, y = points[:, 0], points[:, 1]
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    def box(self, box: Box) -> Box | None:
        """Move a box; it is cut at the edges of the picture, and None where nothing of it is left inside.

        A box that does not stand upright afterwards becomes an oriented one; its `xyxy` is the envelope.

        Args:
            box: in the frame `pixel`, `unit`, `per100` or `per1000`, and comes back in it.

        Raises:
            GeoError: the box has another frame.
        """
        still = convert(box, "pixel", size_px=self.size_px)
        x1, y1, x2, y2 = still.xyxy
        corners = still.points if still.points is not None else ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
        points = tuple((float(x), float(y)) for x, y in self.xy(np.array(corners)))
        moved = Box.oriented(points, "pixel", box.label, box.score)
        if still.points is None and self._keeps_upright:
            moved = replace(moved, points=None)
        try:
            moved = clip(moved, self.moved_size_px)
        except GeoError:  # the frame is `pixel`, so that it lies outside
            return None
        return convert(moved, box.frame, size_px=self.moved_size_px)

    def mask(self, mask: Mask) -> Mask:
        """Move a mask: run lengths of this picture, or polygons in an image frame; polygons are not cut at edges.

        Raises:
            DataError: the run lengths are of a picture of another size.
            GeoError: the mask has another frame.
        """
        if mask.polygons is None:
            inside = mask.to_array()
            if inside.shape != self.size_px[::-1]:
                raise DataError("the mask is of another picture", found=inside.shape, allowed=self.size_px[::-1])
            return Mask.from_array(_sampled(inside, self), mask.label, mask.score)
        still = convert_mask(mask, "pixel", size_px=self.size_px)
        rings = tuple(tuple((float(x), float(y)) for x, y in self.xy(np.array(ring))) for ring in still.polygons or ())
        return convert_mask(replace(still, polygons=rings), mask.frame, size_px=self.moved_size_px)

    def text(self, text: str) -> str:
        """Turn the words about directions with the picture, where it is mirrored or makes whole quarter turns."""
        return rewrite_directions(text, self.quarter_turns, mirrored=self.mirrored)

    @property
    def _keeps_upright(self) -> bool:
        a, b, _, d, e, _ = self.affine
        return max(abs(b), abs(d)) < UPRIGHT_TOLERANCE or max(abs(a), abs(e)) < UPRIGHT_TOLERANCE


def warp(pixels: np.ndarray, motion: Motion, border: Literal["mirror", "empty"]) -> np.ndarray:
    """Move `pixels`: (C, H, W), bilinear; masked and not finite pixels move along.

    Args:
        pixels: integers or floats, masked or not, of the size `motion.size_px`.
        motion: where to.
        border: what comes in from outside: the picture mirrored at its edge, or nothing.
    """
    data, valid = _values.split(pixels)
    filled, nothing = _values.fill(data, valid), _values.empty(data, valid)
    margin = _margin(motion) if border == "mirror" else 0
    moved = np.stack([_sampled(band, motion, margin) for band in filled])
    made = _values.cast(moved, data.dtype)
    measured = np.ones(made.shape, bool) if valid.all() else np.stack([_sampled(v, motion, margin) for v in valid])
    covered = _covered(motion) if border == "empty" else np.ones(made.shape[1:], bool)
    made = np.where(covered, made, nothing)
    if np.ma.isMaskedArray(pixels):
        return np.ma.MaskedArray(made, ~(measured & covered), fill_value=pixels.fill_value)
    if not measured.all():
        made[~measured & covered] = np.nan
    return made


def _sampled(plane: np.ndarray, motion: Motion, margin: int = 0) -> np.ndarray:
    """Look up `plane`: (H, W), float32 (bilinear) or bool (nearest), for each pixel of the moved picture; 0 outside."""
    padded = np.pad(plane, margin, mode="symmetric") if margin else plane
    a, b, c, d, e, f = motion.back
    soft = plane.dtype != bool
    image = PIL.Image.fromarray(padded if soft else padded.astype(np.uint8))
    moved = image.transform(
        motion.moved_size_px,
        PIL.Image.Transform.AFFINE,
        (a, b, c + margin, d, e, f + margin),
        resample=PIL.Image.Resampling.BILINEAR if soft else PIL.Image.Resampling.NEAREST,
    )
    return np.asarray(moved, dtype=plane.dtype)


def _origins(motion: Motion, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b, c, d, e, f = motion.back
    return a * xs + b * ys + c, d * xs + e * ys + f


def _covered(motion: Motion) -> np.ndarray:
    """Tell which pixels of the moved picture come from inside the old one: (H, W), bool."""
    width, height = motion.moved_size_px
    x, y = _origins(motion, np.arange(width)[None, :] + 0.5, np.arange(height)[:, None] + 0.5)
    return (x >= 0) & (x < motion.size_px[0]) & (y >= 0) & (y < motion.size_px[1])


def _margin(motion: Motion) -> int:
    """How many pixels beyond the edges of the old picture the moved one looks at."""
    width, height = motion.moved_size_px
    x, y = _origins(motion, np.array([0, width, 0, width]), np.array([0, 0, height, height]))
    beyond = max(-x.min(), -y.min(), x.max() - motion.size_px[0], y.max() - motion.size_px[1], 0.0)
    return math.ceil(float(beyond)) + 1
