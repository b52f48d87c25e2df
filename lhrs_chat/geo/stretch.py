"""How stored values become 8 bits for the eye: one stretch per scene, the same for every tile of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Scale = Literal["as stored", "power to dB", "amplitude to dB"]
PERCENTILES: dict[str, tuple[float, float]] = {"percentile": (2.0, 98.0), "db": (2.0, 98.0), "range": (0.5, 99.5)}
_FLAT = 127


@dataclass(frozen=True)
class Composite:
    """Which bands are shown and how.

    Args:
        bands: indices of the bands read, 0-based: one (grey), two (radar: first, second, first over second) or three.
        scale: what is done to the values before the stretch.
        low: lower limit of each shown channel; None = 8-bit values are shown as they are.
        high: upper limit of each shown channel.
        text: one sentence for the provenance of an answer.
    """

    bands: tuple[int, ...]
    scale: Scale
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None
    text: str


def is_decibel(values: np.ma.MaskedArray) -> bool:
    """Whether radar values are already in dB: power and amplitude have no negatives, dB values mostly are negative."""
    valid = values.compressed()
    return bool(valid.size) and bool(np.median(valid) < 0 or np.percentile(valid, 1) < -1)


def channels(values: np.ma.MaskedArray, scale: Scale) -> np.ma.MaskedArray:
    """Bring read bands to the channels that are shown.

    Args:
        values: (C, H, W), the bands of the composite.
        scale: see `Composite`.

    Returns:
        (C, H, W), or (3, H, W) for two bands: the third is their ratio, a difference in dB.
    """
    data = np.ma.getdata(values).astype(np.float32)
    mask = np.ma.getmaskarray(values)
    if scale != "as stored":
        mask = mask | (data <= 0)
        factor = np.float32(10 if scale == "power to dB" else 20)
        data = factor * np.log10(np.where(mask, np.float32(1), data))
    if data.shape[0] == 2:
        data = np.concatenate([data, data[:1] - data[1:]])
        mask = np.concatenate([mask, mask[:1] | mask[1:]])
    return np.ma.MaskedArray(data, mask)


def limits(shown: np.ma.MaskedArray, percentiles: tuple[float, float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Lower and upper limit of each channel of `shown`: (C, H, W), over its valid pixels."""
    low, high = [], []
    for channel in shown:
        valid = channel.compressed()
        pair = np.percentile(valid, percentiles) if valid.size else (0.0, 0.0)
        low.append(float(pair[0]))
        high.append(float(pair[1]))
    return tuple(low), tuple(high)


def to_uint8(shown: np.ma.MaskedArray, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    """Stretch linearly between the limits; a channel without contrast becomes middle grey, masked values 0.

    Args:
        shown: (C, H, W).
        low: C lower limits.
        high: C upper limits.

    Returns:
        (C, H, W), uint8.
    """
    out = np.zeros(shown.shape, dtype=np.uint8)
    for i, channel in enumerate(shown):
        if high[i] > low[i]:
            scaled = (channel.filled(low[i]).astype(np.float32) - low[i]) * (255.0 / (high[i] - low[i]))
            out[i] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        else:
            out[i] = _FLAT
        out[i][np.ma.getmaskarray(channel)] = 0
    return out
