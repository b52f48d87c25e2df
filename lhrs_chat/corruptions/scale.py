"""The picture is made smaller and lies in the middle of an empty frame of the old size.

Levels (REOBench): the factor. The ground sampling distance becomes coarser by its inverse.
"""

from __future__ import annotations

import numpy as np

from lhrs_chat.corruptions import REOBENCH, Corruption, Geometry, Motion


def move(size_px: tuple[int, int], factor: float, rng: np.random.Generator) -> Motion:
    """Shrink a picture of `size_px`, width and height."""
    return Motion.about_centre(size_px, scale=factor)


CORRUPTION = Corruption(
    summary="smaller, in an empty frame; levels: factor",
    source=REOBENCH,
    levels=(0.9, 0.8, 0.7, 0.6, 0.5),
    effect=Geometry(move, border="empty"),
)
