"""The platform moves while the shutter is open: a mean over neighbours in a row.

Levels (REOBench): the length of the row in pixels.
"""

from __future__ import annotations

import numpy as np

from lhrs_chat.corruptions import REOBENCH, Appearance, Corruption
from lhrs_chat.corruptions._kernels import convolve


def change(values: np.ndarray, length_px: int, rng: np.random.Generator) -> np.ndarray:
    """Smear `values`: (C, H, W) from left to right."""
    return convolve(values, np.full(length_px, 1 / length_px, np.float32), axis=2)


CORRUPTION = Corruption(
    summary="horizontal motion blur; levels: length in pixels",
    source=REOBENCH,
    levels=(2, 4, 6, 8, 10),
    effect=Appearance(change),
)
