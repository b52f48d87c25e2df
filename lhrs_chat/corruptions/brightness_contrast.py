"""Another exposure: contrast is taken away and brightness added.

Levels (REOBench): the factor for the values, and what is added. Severity 1 of the published table, factor 1 and
nothing added, leaves the picture as it is.
"""

from __future__ import annotations

import numpy as np

from lhrs_chat.corruptions import REOBENCH, Appearance, Corruption


def change(values: np.ndarray, level: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Flatten and brighten `values`: (C, H, W)."""
    contrast, brightness = level
    return values * np.float32(contrast) + np.float32(brightness)


CORRUPTION = Corruption(
    summary="less contrast, more brightness; levels: factor and addend; severity 1 changes nothing, as published",
    source=REOBENCH,
    levels=((1.0, 0.0), (0.8, 0.1), (0.6, 0.2), (0.4, 0.3), (0.2, 0.4)),
    effect=Appearance(change),
)
