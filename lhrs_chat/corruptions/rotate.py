"""The picture is rotated about its centre, counter-clockwise; the corners are filled with its mirror image.

Levels (REOBench): the angle in degrees. As published, words such as "left" stay as they are; `quarter_turn` turns them.
The mirrored corners may show a thing twice, which counts do not know.
"""

from __future__ import annotations

import numpy as np

from lhrs_chat.corruptions import REOBENCH, Corruption, Geometry, Motion


def move(size_px: tuple[int, int], degrees: float, rng: np.random.Generator) -> Motion:
    """Rotate a picture of `size_px`, width and height."""
    return Motion.about_centre(size_px, degrees=degrees)


CORRUPTION = Corruption(
    summary="rotation about the centre; levels: degrees counter-clockwise",
    source=REOBENCH,
    levels=(30.0, 45.0, 60.0, 75.0, 90.0),
    effect=Geometry(move, border="mirror"),
)
