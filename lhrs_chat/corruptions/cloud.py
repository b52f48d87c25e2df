"""Clouds with soft edges, and their shadows.

Levels: the share of the picture under cloud, counted at half opacity. The numbers are REOBench's, where they are
thresholds on noise that was stretched to its own extremes, so that the share differs from picture to picture; and it
has no shadows. Form, shadow and thickness are ours. All bands get the same cloud: wavelengths are not known here.
"""

from __future__ import annotations

import numpy as np

from lhrs_chat.corruptions import REOBENCH, Appearance, Corruption
from lhrs_chat.corruptions._kernels import fractal_noise

LARGEST_SHARE = 0.3
EDGE = 0.7  # noise deviations from no cloud to full cloud
SHADOW_EDGE = 1.8
SHADOW = 0.45  # what a shadow takes away of the light
SHADOW_SHIFT = 0.09  # of the shorter side
BRIGHT = 0.9
RELIEF = 0.07


def change(values: np.ndarray, cover: float, rng: np.random.Generator) -> np.ndarray:
    """Put clouds over `values`: (C, H, W)."""
    height, width = values.shape[1:]
    noise = fractal_noise(height, width, LARGEST_SHARE, rng)
    sun = rng.uniform(0, 2 * np.pi)
    shift = np.rint(SHADOW_SHIFT * min(height, width) * np.array([np.sin(sun), np.cos(sun)])).astype(int)
    above = noise - np.quantile(noise, 1 - cover)
    opacity = _smooth_step(above / EDGE + 0.5)
    shadow = np.roll(_smooth_step(above / SHADOW_EDGE + 0.5), shift, axis=(0, 1))
    white = BRIGHT + RELIEF * np.clip(above - EDGE, -1, 1)
    cloudy: np.ndarray = values * (1 - SHADOW * shadow) * (1 - opacity) + white * opacity
    return cloudy.astype(np.float32)


def _smooth_step(values: np.ndarray) -> np.ndarray:
    """Go from 0 to 1 without a kink."""
    inside: np.ndarray = np.clip(values, 0, 1)
    step: np.ndarray = inside * inside * (3 - 2 * inside)
    return step


CORRUPTION = Corruption(
    summary="clouds with shadows; levels: share of the picture under cloud",
    source=f"{REOBENCH}; there thresholds on noise, here exact shares; the form is ours",
    levels=(0.10, 0.15, 0.20, 0.25, 0.30),
    effect=Appearance(change),
)
