"""The same ground seen by a coarser sensor: a mean over larger pixels, shown in the old pixel grid.

Levels (ours): how much coarser the ground sampling distance is. The picture keeps its size; it is interpolated between
the large pixels as a viewer would do.
"""

from __future__ import annotations

import numpy as np
import PIL.Image

from lhrs_chat.corruptions import OURS, Appearance, Corruption


def change(values: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Make `values`: (C, H, W) coarser."""
    height, width = values.shape[1:]
    coarse = (max(1, round(width / factor)), max(1, round(height / factor)))
    bands = []
    for band in values:
        small = PIL.Image.fromarray(band).resize(coarse, PIL.Image.Resampling.BOX)
        bands.append(np.asarray(small.resize((width, height), PIL.Image.Resampling.BILINEAR)))
    return np.stack(bands)


CORRUPTION = Corruption(
    summary="a coarser ground sampling distance; levels: factor",
    source=OURS,
    levels=(1.5, 2.0, 3.0, 5.0, 8.0),
    effect=Appearance(change),
)
