"""Bands that did not arrive: some bands hold nothing.

Levels (ours): the share of bands that are lost, rounded up; one band is always left, and which ones go is random.
Of three bands the first two severities take one, and the others two.
"""

from __future__ import annotations

import math

import numpy as np

from lhrs_chat.corruptions import OURS, Appearance, Corruption
from lhrs_chat.errors import DataError


def change(values: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Empty some bands of `values`: (C, H, W).

    Raises:
        DataError: there is one band only.
    """
    bands = len(values)
    if bands < 2:
        raise DataError("a picture of one band has none to lose", found=bands, allowed="2 or more bands")
    lost = rng.permutation(bands)[: min(math.ceil(share * bands), bands - 1)]
    left = values.copy()
    left[lost] = np.nan
    return left


CORRUPTION = Corruption(
    summary="some bands are empty; levels: share of bands",
    source=OURS,
    levels=(0.1, 0.2, 0.4, 0.6, 0.8),
    effect=Appearance(change),
)
