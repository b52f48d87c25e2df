"""JPEG compression. Three bands are compressed as a colour picture, any other number band by band.

Levels (REOBench): the JPEG quality. What compression does to the 8-bit picture is added to the values, so that data
with more bits keep their fine steps and their brightest and darkest values.
"""

from __future__ import annotations

import io

import numpy as np
import PIL.Image

from lhrs_chat.corruptions import REOBENCH, Appearance, Corruption


def change(values: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    """Compress `values`: (C, H, W)."""
    shown = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    if len(shown) == 3:
        after = _compress(np.moveaxis(shown, 0, -1), quality).transpose(2, 0, 1)
    else:
        after = np.stack([_compress(band, quality) for band in shown])
    changed: np.ndarray = values + (after.astype(np.float32) - shown) / 255
    return changed


def _compress(picture: np.ndarray, quality: int) -> np.ndarray:
    """Write and read `picture`: (H, W) or (H, W, 3), uint8."""
    stream = io.BytesIO()
    PIL.Image.fromarray(picture).save(stream, format="JPEG", quality=quality)
    return np.asarray(PIL.Image.open(stream))


CORRUPTION = Corruption(
    summary="JPEG compression; levels: quality",
    source=REOBENCH,
    levels=(30, 25, 20, 15, 10),
    effect=Appearance(change),
)
