"""Missing scan lines, like those of Landsat 7 after its scan line corrector failed: parallel stripes without data.

Levels (REOBench): how many stripes fit on the diagonal of the picture, and their width in pixels. The angle is random
as published; the place of the first stripe is random too (ours: in the published pictures it is a corner).
"""

from __future__ import annotations

import math

import numpy as np

from lhrs_chat.corruptions import REOBENCH, Appearance, Corruption


def change(values: np.ndarray, level: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Take stripes out of `values`: (C, H, W)."""
    stripes, width_px = level
    height, width = values.shape[1:]
    angle, start = rng.uniform(0, math.pi), rng.uniform(0, 1)
    spacing_px = math.hypot(height, width) / stripes
    across = np.arange(width)[None, :] * math.cos(angle) + np.arange(height)[:, None] * math.sin(angle)
    missing = (across / spacing_px + start) % 1 < width_px / spacing_px
    return np.where(missing, np.float32(np.nan), values)


CORRUPTION = Corruption(
    summary="stripes without data; levels: number of stripes and their width in pixels",
    source=REOBENCH,
    levels=((2, 3), (3, 4), (4, 5), (5, 6), (6, 7)),
    effect=Appearance(change),
)
