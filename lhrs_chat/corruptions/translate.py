"""The picture is shifted along both axes; what comes in at the edges is its mirror image.

Levels (REOBench): the shift in pixels, the same in x and y; the signs are random.
"""

from __future__ import annotations

import numpy as np

from lhrs_chat.corruptions import REOBENCH, Corruption, Geometry, Motion


def move(size_px: tuple[int, int], shift_px: int, rng: np.random.Generator) -> Motion:
    """Shift a picture of `size_px`, width and height."""
    x, y = (float(shift_px * sign) for sign in rng.choice([-1, 1], size=2))
    return Motion(size_px, size_px, (1.0, 0.0, x, 0.0, 1.0, y))


CORRUPTION = Corruption(
    summary="shift along both axes; levels: pixels",
    source=REOBENCH,
    levels=(15, 20, 25, 30, 35),
    effect=Geometry(move, border="mirror"),
)
