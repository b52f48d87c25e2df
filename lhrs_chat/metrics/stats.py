"""Means with their errors. Questions on one image are not independent, so errors are clustered by image."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from lhrs_chat.errors import DataError

_CHUNK = 1_000_000  # drawn numbers held at once


class Mean(NamedTuple):
    """A mean and its standard error; the error is NaN for a single cluster."""

    mean: float
    stderr: float


class Interval(NamedTuple):
    """A mean between two percentiles."""

    mean: float
    low: float
    high: float


class Paired(NamedTuple):
    """A mean difference between two percentiles, and how often chance alone would give as much or more."""

    difference: float
    low: float
    high: float
    p_value: float


def mean_stderr(values: Sequence[float] | np.ndarray, clusters: Sequence[Hashable] | np.ndarray | None = None) -> Mean:
    """Return the mean of all values and its standard error, clustered.

    With G clusters whose residuals sum to s_g, the variance of the mean of N values is G / (G - 1) * sum(s_g^2) / N^2
    (Liang and Zeger, 1986); with one value a cluster that is the usual standard error.

    Args:
        values: N numbers.
        clusters: N names, of the image for instance; left out, each value is its own cluster.

    Raises:
        DataError: lengths differ, there is nothing, or a value is not finite.
    """
    found, index, count = _clustered(values, clusters)
    mean = float(found.mean())
    if count < 2:
        return Mean(mean, math.nan)
    sums = np.bincount(index, weights=found - mean, minlength=count)
    variance = count / (count - 1) * float((sums**2).sum()) / found.size**2
    return Mean(mean, math.sqrt(variance))


def bootstrap(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    *,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Return the mean and its percentile interval, whole clusters drawn with replacement.

    Args:
        values: N numbers.
        clusters: N names; left out, each value is its own cluster.
        seed: of the draws.
        draws: how many.
        level: share of the draws inside the interval.

    Raises:
        DataError: lengths differ, there is nothing, a value is not finite, or the level is not between 0 and 1.
    """
    found, index, count = _clustered(values, clusters)
    low, high = np.percentile(_draw(found, index, count, seed, draws), _tails(level))
    return Interval(float(found.mean()), float(low), float(high))


def paired_bootstrap(
    ones: Sequence[float] | np.ndarray,
    others: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    *,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> Paired:
    """Compare two scores of the same questions: mean of `ones - others`, clusters drawn together.

    The p-value is two-sided: twice the smaller share of draws on one side of zero, with one draw added to each side so
    that it is never 0.

    Args:
        ones: N scores of one model.
        others: N scores of the other, question by question.
        clusters: N names; left out, each question is its own cluster.
        seed: of the draws.
        draws: how many.
        level: share of the draws inside the interval.

    Raises:
        DataError: as `bootstrap`.
    """
    if len(ones) != len(others):
        raise DataError("paired scores come in pairs", found=f"{len(ones)} and {len(others)}")
    gaps = np.asarray(ones, dtype=float) - np.asarray(others, dtype=float)
    found, index, count = _clustered(gaps, clusters)
    means = _draw(found, index, count, seed, draws)
    low, high = np.percentile(means, _tails(level))
    below, above = int((means <= 0).sum()), int((means >= 0).sum())
    p_value = min(1.0, 2.0 * (min(below, above) + 1) / (draws + 1))
    return Paired(float(found.mean()), float(low), float(high), p_value)


def mcnemar(ones: Sequence[bool] | np.ndarray, others: Sequence[bool] | np.ndarray) -> float:
    """Return the exact two-sided p-value that two models are right equally often, from the questions they differ on.

    With b questions only one and c only the other got right, twice the binomial tail of min(b, c) out of b + c at one
    half (McNemar, 1947). It takes the questions as independent.

    Raises:
        DataError: lengths differ.
    """
    if len(ones) != len(others):
        raise DataError("paired answers come in pairs", found=f"{len(ones)} and {len(others)}")
    a, b = np.asarray(ones, dtype=bool), np.asarray(others, dtype=bool)
    first, second = int((a & ~b).sum()), int((~a & b).sum())
    total = first + second
    tail = sum(math.comb(total, k) for k in range(min(first, second) + 1))
    return min(1.0, float(2 * tail / 2**total))


def _tails(level: float) -> list[float]:
    if not 0.0 < level < 1.0:
        raise DataError("a level lies between 0 and 1", found=level)
    return [50.0 * (1.0 - level), 50.0 * (1.0 + level)]


def _clustered(
    values: Sequence[float] | np.ndarray, clusters: Sequence[Hashable] | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Values, the number of the cluster of each, and how many clusters there are."""
    found = np.asarray(values, dtype=float)
    names: Sequence[Hashable] | np.ndarray = range(found.size) if clusters is None else clusters
    if found.ndim != 1 or found.size == 0 or len(names) != found.size:
        raise DataError("each value has its cluster", found=f"{found.size} values, {len(names)} clusters")
    if not np.isfinite(found).all():
        raise DataError("a value is not a finite number", found=found[~np.isfinite(found)][0])
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    return found, index, len(numbers)


def _draw(found: np.ndarray, index: np.ndarray, count: int, seed: int, draws: int) -> np.ndarray:
    """Means of `draws` samples of whole clusters."""
    if draws < 1:
        raise DataError("a bootstrap needs draws", found=draws)
    rng = np.random.default_rng(seed)
    sums = np.bincount(index, weights=found, minlength=count)
    sizes = np.bincount(index, minlength=count)
    means = []
    for start in range(0, draws, max(1, _CHUNK // count)):
        picked = rng.integers(0, count, (min(max(1, _CHUNK // count), draws - start), count))
        means.append(sums[picked].sum(axis=1) / sizes[picked].sum(axis=1))
    return np.concatenate(means)
