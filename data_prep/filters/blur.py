"""Images without any fine detail."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import PIL.Image

from lhrs_chat.schema import Sample

from . import Filter, FilterOptions
from ._pictures import KEPT, PHOTOGRAPHS, Look, grey, looks

SIDE_PX = 256
"""The longer side at which detail is measured; a smaller image is measured as it is."""


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge the sharpness of every optical image."""
    for name, look in looks(sample, PHOTOGRAPHS):
        found = _sharpness(look)
        if found < options.least_sharpness:
            return f"{name} is blurred: sharpness {found:.2g}, less than {options.least_sharpness:g}"
    return None


@lru_cache(maxsize=KEPT)
def _sharpness(look: Look) -> float:
    return sharpness(look.pixels)


def sharpness(pixels: np.ndarray) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000) of `pixels`: (H, W, 3) uint8.

    It is divided by the variance of the brightness, so that low contrast is not taken for blur.
    """
    picture = PIL.Image.fromarray(pixels)
    picture.thumbnail((SIDE_PX, SIDE_PX), PIL.Image.Resampling.BOX)
    values = grey(np.asarray(picture))
    spread = float(values.var())
    if min(values.shape) < 3 or spread == 0:
        return 0.0
    inner = values[1:-1, 1:-1]
    laplacian = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:] - 4 * inner
    return float(laplacian.var()) / spread


FILTER = Filter(check)
