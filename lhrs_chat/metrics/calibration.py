"""Does a model know what it knows: how far its confidence is from its accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lhrs_chat.errors import DataError


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence lies in (low, high], the first bin with its lower end; means are NaN when empty."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error, 0 to 1, and the bins of a reliability diagram."""

    error: float
    bins: tuple[Bin, ...]


def calibration(
    confidence: Sequence[float] | np.ndarray, right: Sequence[float] | np.ndarray, bins: int = 10
) -> Calibration:
    """Return the mean of |accuracy - confidence| over bins of equal width, each weighed by its number of answers.

    That is the expected calibration error of Guo et al. (2017), equation 3.

    Args:
        confidence: (N,), 0 to 1.
        right: (N,), 1 for a right and 0 for a wrong answer; a share between is taken as it is.
        bins: how many.

    Raises:
        DataError: lengths differ, there is nothing, a value is not between 0 and 1, or there is no bin.
    """
    sure, hit = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    if sure.ndim != 1 or sure.shape != hit.shape or sure.size == 0:
        raise DataError("each answer has its confidence", found=f"{hit.shape} and {sure.shape}")
    for values in (sure, hit):
        if not ((values >= 0) & (values <= 1)).all():
            raise DataError(
                "confidence and score lie between 0 and 1", found=values[~((values >= 0) & (values <= 1))][0]
            )
    if bins < 1:
        raise DataError("a calibration needs bins", found=bins)
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=values, minlength=bins) for values in (sure, hit)]
    means = [np.divide(total, count, out=np.full(bins, np.nan), where=count > 0) for total in sums]
    error = float(np.abs(sums[1] - sums[0]).sum() / sure.size)
    rows = zip(edges[:-1], edges[1:], count, *means, strict=True)
    return Calibration(error, tuple(Bin(float(a), float(b), int(n), float(c), float(d)) for a, b, n, c, d in rows))
