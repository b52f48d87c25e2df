"""The picture is turned by whole right angles, and words about directions are turned with it.

Nothing is lost or made up, so that a model that knows where things are loses nothing. Levels (ours): the number of
quarter turns, counter-clockwise. There are three, and none is worse than another.
"""

from __future__ import annotations

import numpy as np

from lhrs_chat.corruptions import OURS, Corruption, Geometry, Motion


def move(size_px: tuple[int, int], turns: int, rng: np.random.Generator) -> Motion:
    """Turn a picture of `size_px`, width and height."""
    width, height = size_px
    if turns == 2:
        return Motion(size_px, size_px, (-1.0, 0.0, width, 0.0, -1.0, height), turns)
    affine = (0.0, 1.0, 0.0, -1.0, 0.0, width) if turns == 1 else (0.0, -1.0, height, 1.0, 0.0, 0.0)
    return Motion(size_px, (height, width), affine, turns)


CORRUPTION = Corruption(
    summary="quarter turns, with words about directions turned; levels: turns counter-clockwise",
    source=OURS,
    levels=(1, 2, 3),
    effect=Geometry(move, border="empty"),
)
