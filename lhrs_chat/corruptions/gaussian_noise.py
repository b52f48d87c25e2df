"""Noise of the sensor: a normal random number is added to every value of every band.

Levels (REOBench): the deviation, as a share of the range from dark to bright.
"""

from __future__ import annotations

import numpy as np

from lhrs_chat.corruptions import REOBENCH, Appearance, Corruption


def change(values: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Add noise to `values`: (C, H, W)."""
    noisy: np.ndarray = values + np.float32(deviation) * rng.standard_normal(values.shape, np.float32)
    return noisy


CORRUPTION = Corruption(
    summary="normal noise on every value; levels: deviation",
    source=REOBENCH,
    levels=(0.04, 0.05, 0.06, 0.07, 0.08),
    effect=Appearance(change),
)
