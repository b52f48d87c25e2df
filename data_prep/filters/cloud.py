"""Optical images that show clouds and little else."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lhrs_chat.schema import Sample

from . import Filter, FilterOptions
from ._pictures import KEPT, PHOTOGRAPHS, Look, grey, looks

_BRIGHT = 200.0  # grey value of 255
_LEAST_WHITE = 0.85  # smallest of red, green and blue against the largest
_SMOOTH = 6.0  # standard deviation of the brightness around a pixel
_AROUND_PX = 7


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge the share of cloud: by the spectrum where the bands allow it, else by what is white without texture."""
    for name, look in looks(sample, PHOTOGRAPHS):
        share, how = _share(look)
        if share > options.most_cloud:
            return f"{name} is {share:.0%} cloud ({how}), more than {options.most_cloud:.0%}"
    return None


@lru_cache(maxsize=KEPT)
def _share(look: Look) -> tuple[float, str]:
    """Share of cloud, and how it was told."""
    if look.spectrum is None:
        return float(np.mean(white_and_smooth(look.pixels))), "white and without texture, told from colours alone"
    values, missing = look.spectrum
    return float(np.mean(clouds(values)[~missing])), "by the spectral test"


def clouds(values: np.ndarray) -> np.ndarray:
    """Potential cloud pixels of Fmask (Zhu and Woodcock 2012), without those tests that need a thermal band.

    Args:
        values: (5, H, W), reflectance of the bands of `SPECTRUM`.

    Returns:
        (H, W) bool. Bright bare soil and white roofs can pass too.
    """
    blue, green, red, nir, swir = values
    ndvi, ndsi = _ratio(nir - red, nir + red), _ratio(green - swir, green + swir)
    mean = (blue + green + red) / 3
    whiteness = _ratio(np.abs(blue - mean) + np.abs(green - mean) + np.abs(red - mean), mean)
    haze = blue - 0.5 * red - 0.08
    basic = (swir > 0.03) & (ndsi < 0.8) & (ndvi < 0.8)
    return np.asarray(basic & (whiteness < 0.7) & (haze > 0) & (_ratio(nir, swir) > 0.75))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(above, below, out=np.zeros_like(below), where=below > 0))


def white_and_smooth(pixels: np.ndarray) -> np.ndarray:
    """Where `pixels`, (H, W, 3) uint8, are bright, white and even: (H, W) bool. Snow and large roofs pass too."""
    bright = grey(pixels)
    highest = pixels.max(axis=2).astype(np.float32)
    found = (bright > _BRIGHT) & (pixels.min(axis=2) >= _LEAST_WHITE * highest)
    if not found.any():
        return np.asarray(found)
    mean = _mean_around(bright)
    spread = np.sqrt(np.maximum(_mean_around(bright * bright) - mean * mean, 0))
    return np.asarray(found & (spread < _SMOOTH))


def _mean_around(values: np.ndarray) -> np.ndarray:
    """Mean of the square around every pixel of (H, W) float32, by sums over rows and columns."""
    half = _AROUND_PX // 2
    sums = np.pad(values.astype(np.float64), half, mode="edge").cumsum(axis=0).cumsum(axis=1)
    sums = np.pad(sums, ((1, 0), (1, 0)))
    size = _AROUND_PX
    total: np.ndarray = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return total / size**2


FILTER = Filter(check)
