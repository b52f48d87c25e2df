"""The pictures of a row, decoded once for all filters that look at them, and for all rows about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from lhrs_chat.errors import LhrsError
from lhrs_chat.geo.indices import reflectance
from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Image, Sample

SIDE_PX = 512
"""Pictures are judged at this size at most."""
PHOTOGRAPHS = frozenset({"optical", "before", "after"})
LOOKS = PHOTOGRAPHS | {"sar"}
SPECTRUM = ("blue", "green", "red", "nir", "swir1")
KEPT = 8
"""Pictures that are remembered, with what was measured in them: rows about one picture mostly follow each other."""


@dataclass(frozen=True, eq=False)
class Look:
    """A picture, at `SIDE_PX` at most.

    Args:
        pixels: as it is shown, (H, W, 3) uint8.
        valid: where it holds values, (H, W) bool.
        size_px: its own width and height.
        spectrum: reflectance of the bands of `SPECTRUM`, (5, H, W), and where one is missing, (H, W) bool; None where
            the sensor is not calibrated or has not all of them.
    """

    pixels: np.ndarray
    valid: np.ndarray
    size_px: tuple[int, int]
    spectrum: tuple[np.ndarray, np.ndarray] | None


def images(sample: Sample, roles: frozenset[str] | None = None) -> Iterator[tuple[str, Image]]:
    """Yield the images of a row with the words for them; those in other roles, and height rasters, are left out."""
    given = [*sample.meta.get("image_roles", ())]
    given += ["optical"] * (len(sample.images) - len(given))  # an image without a role is looked at too
    for number, image in enumerate(sample.images):
        role = given[number]
        if roles is None or (role in roles and image.sensor != "height"):
            yield ("the image" if len(sample.images) == 1 else f"image {number} ({role})"), image


def look(image: Image) -> Look | None:
    """Decode an image; None where it cannot be read, which is for the filter `broken_image` to say."""
    try:
        if image.path is None:
            return _decoded(image)
        return _kept(image.path, image.sensor, Path(image.path).stat().st_mtime_ns)
    except (LhrsError, OSError):
        return None


@lru_cache(maxsize=KEPT)
def _kept(path: str, sensor: str | None, changed_ns: int) -> Look:
    return _decoded(Image(path=path, sensor=sensor))


def _decoded(image: Image) -> Look:
    with Raster.open(image) as raster:
        found = reflectance(raster, SPECTRUM, SIDE_PX) if raster.profile.scale != 1 else None
        spectrum = None if found is None or found[1].all() else found[:2]
        return Look(raster.rgb(max_size_px=SIDE_PX), raster.valid(max_size_px=SIDE_PX), raster.size_px, spectrum)


def looks(sample: Sample, roles: frozenset[str] = LOOKS) -> Iterator[tuple[str, Look]]:
    """Yield the pictures of a row that can be read."""
    for name, image in images(sample, roles):
        found = look(image)
        if found is not None:
            yield name, found


def grey(pixels: np.ndarray) -> np.ndarray:
    """The brightness of `pixels`: (H, W, 3) uint8; (H, W) float32, by ITU-R BT.601."""
    made: np.ndarray = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return made
