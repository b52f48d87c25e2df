"""Haze: light scattered by the air lies over the ground like a white veil, the same everywhere.

Levels (REOBench): how dense the veil is. The transmission model of Koschmieder with constant transmission
1 - density and white air light. All bands get the same veil, though real haze is thinner at longer wavelengths: which
bands there are is not known here.
"""

from __future__ import annotations

import numpy as np

from lhrs_chat.corruptions import REOBENCH, Appearance, Corruption


def change(values: np.ndarray, density: float, rng: np.random.Generator) -> np.ndarray:
    """Lay a veil over `values`: (C, H, W)."""
    return values * np.float32(1 - density) + np.float32(density)


CORRUPTION = Corruption(
    summary="a white veil; levels: its density",
    source=REOBENCH,
    levels=(0.2, 0.3, 0.4, 0.5, 0.6),
    effect=Appearance(change),
)
