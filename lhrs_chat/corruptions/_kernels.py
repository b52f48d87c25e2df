"""Filters that several corruptions are made of."""

from __future__ import annotations

import numpy as np


def convolve(values: np.ndarray, kernel: np.ndarray, axis: int) -> np.ndarray:
    """Convolve `values`: (C, H, W) with `kernel`: (K,) along one axis; the picture is mirrored at its edges."""
    before = (len(kernel) - 1) // 2
    widths = [(0, 0)] * values.ndim
    widths[axis] = (before, len(kernel) - 1 - before)
    padded = np.moveaxis(np.pad(values, widths, mode="reflect"), axis, 0)
    size = values.shape[axis]
    total = np.zeros_like(padded[:size])
    for offset, weight in enumerate(kernel):
        total += weight * padded[offset : offset + size]
    return np.moveaxis(total, 0, axis)


def fractal_noise(height: int, width: int, largest_share: float, rng: np.random.Generator) -> np.ndarray:
    """Make noise (H, W) with mean 0 and deviation 1 that has structure at all sizes, as clouds have.

    The amplitude falls with the square of the frequency; opposite edges fit together.

    Args:
        height: H.
        width: W.
        largest_share: size of the largest structures, as a share of the shorter side.
        rng: where the randomness comes from.
    """
    short = min(height, width)
    y, x = np.fft.fftfreq(height) * short, np.fft.rfftfreq(width) * short
    frequency2 = y[:, None] ** 2 + x[None, :] ** 2
    amplitude = (largest_share**-2 + frequency2) ** -1.0
    amplitude[0, 0] = 0.0
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) * amplitude, s=(height, width))
    return field / max(float(field.std()), 1e-12)
