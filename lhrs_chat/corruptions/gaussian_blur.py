"""Optics out of focus, or turbulent air: a Gaussian blur.

Levels (REOBench): the side of the kernel in pixels. Its deviation follows from it by the rule of OpenCV's
`getGaussianKernel`, 0.3 ((side - 1) / 2 - 1) + 0.8, that is 0.8 to 2.0 pixels.
"""

from __future__ import annotations

import numpy as np

from lhrs_chat.corruptions import REOBENCH, Appearance, Corruption
from lhrs_chat.corruptions._kernels import convolve


def change(values: np.ndarray, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """Blur `values`: (C, H, W)."""
    reach = (side_px - 1) / 2
    deviation_px = 0.3 * (reach - 1) + 0.8
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation_px) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    return convolve(convolve(values, kernel, axis=1), kernel, axis=2)


CORRUPTION = Corruption(
    summary="Gaussian blur; levels: side of the kernel in pixels",
    source=REOBENCH,
    levels=(3, 5, 7, 9, 11),
    effect=Appearance(change),
)
