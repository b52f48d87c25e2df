"""Pictures of any number type as values between dark (0) and bright (1), and back.

What is dark and bright: 0 and 255 for 8-bit pictures; otherwise the 2nd and the 98th percentile of each band, the usual
stretch for display, so that damage to raw data looks like the same damage to the picture that is shown.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lhrs_chat.errors import DataError

PERCENTILES = (2.0, 98.0)
SAMPLED_PX = 1 << 16


def check(pixels: np.ndarray) -> None:
    """Raise DataError where `pixels` is not a picture (C, H, W) of integers or floats."""
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise DataError("a picture is (C, H, W)", found=pixels.shape, allowed="three sides, none of them empty")
    if pixels.dtype.kind not in "uif":
        raise DataError("a picture has integers or floats", found=pixels.dtype, allowed="uint8, uint16, float32 ...")


def split(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of `pixels`: (C, H, W), and which of them are measured: (C, H, W), bool."""
    data = np.ma.getdata(pixels)
    valid = ~np.ma.getmaskarray(pixels) if np.ma.isMaskedArray(pixels) else np.ones(data.shape, bool)
    if data.dtype.kind == "f":
        valid &= np.isfinite(data)
    return data, valid


def fill(data: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return `data`: (C, H, W) as float32, with the mean of the band where it is not `valid`: (C, H, W)."""
    filled = data.astype(np.float32)
    for band, measured in zip(filled, valid, strict=True):
        if not measured.all():
            band[~measured] = band[measured].mean() if measured.any() else 0.0
    return filled


def empty(data: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return what stands for 'nothing measured' in each band of `data`: (C, H, W), as (C, 1, 1) of its type."""
    if data.dtype.kind == "u":
        return np.zeros((len(data), 1, 1), data.dtype)
    lowest = [band[measured].min() if measured.any() else 0 for band, measured in zip(data, valid, strict=True)]
    return np.array(lowest, data.dtype).reshape(-1, 1, 1)


def cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Turn `values`: any shape, float32, into `dtype`; integers are rounded and kept in their range."""
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values.astype(np.float64)), limits.min, limits.max).astype(dtype)


def change(pixels: np.ndarray, changing: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return a copy of `pixels`: (C, H, W), whose measured values went through `changing`.

    Args:
        pixels: integers or floats, masked or not.
        changing: takes float32 values (C, H, W), 0 dark and 1 bright, and returns such values, NaN where nothing is
            measured any more. What is not measured comes in as the mean of its band and keeps its value.

    Raises:
        DataError: this is no picture.
    """
    check(pixels)
    data, valid = split(pixels)
    filled = fill(data, valid)
    low, span = _range(filled, valid, data.dtype)
    before = (filled - low) / span
    after = changing(before)
    lost = np.isnan(after)
    bottom = np.minimum(before.min(axis=(1, 2), keepdims=True), 0)
    top = np.maximum(before.max(axis=(1, 2), keepdims=True), 1)
    kept = np.clip(np.where(lost, 0, after), bottom, top)
    made = np.where(lost, empty(data, valid), cast(low + kept * span, data.dtype))
    made = np.where(valid & (after != before), made, data)
    if not np.ma.isMaskedArray(pixels):
        return made
    return np.ma.MaskedArray(made, np.ma.getmaskarray(pixels) | lost.all(axis=0), fill_value=pixels.fill_value)


def _range(filled: np.ndarray, valid: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return the dark value and the distance to the bright one, each (C, 1, 1); a flat band has the distance 1."""
    if dtype == np.uint8:
        low, high = np.zeros(len(filled)), np.full(len(filled), 255.0)
    else:
        low, high = np.zeros((2, len(filled)))
        for i, (band, measured) in enumerate(zip(filled, valid, strict=True)):
            values = band[measured]
            if values.size:
                low[i], high[i] = np.percentile(values[:: max(1, values.size // SAMPLED_PX)], PERCENTILES)
    span = np.where(high > low, high - low, 1.0)
    return low.astype(np.float32).reshape(-1, 1, 1), span.astype(np.float32).reshape(-1, 1, 1)
