"""Dead and saturated detector elements: single values that are wholly dark or wholly bright, half of each.

Levels (REOBench): the share of values that are hit. Bands are hit independently of each other.
"""

from __future__ import annotations

import numpy as np

from lhrs_chat.corruptions import REOBENCH, Appearance, Corruption


def change(values: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Replace single values of `values`: (C, H, W)."""
    drawn = rng.random(values.shape, np.float32)
    salt = rng.random(values.shape, np.float32) < 0.5
    return np.where(drawn < share, salt.astype(np.float32), values)


CORRUPTION = Corruption(
    summary="single values wholly dark or bright; levels: share of values",
    source=REOBENCH,
    levels=(0.005, 0.01, 0.02, 0.03, 0.05),
    effect=Appearance(change),
)
