"""Means with their errors. Questions on one image are not independent, so errors are clustered by image."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from lhrs_chat.errors import DataError

_CHUNK = 1_000_000  # drawn numbers held at once


class Mean(NamedTuple):
    """A mean and its standard error; the error is NaN for a single cluster."""

    mean: float
    stderr: float


class Interval(NamedTuple):
    """A mean between two percentiles; they are NaN for a single cluster."""

    mean: float
    low: float
    high: float


class Paired(NamedTuple):
    """A mean difference between two percentiles, and how often chance alone would give as much or more."""

    difference: float
    low: float
    high: float
    p_value: float


class Comparison(NamedTuple):
    """Two models of several: as `Paired`, and the p-value after Holm's correction for all pairs."""

    one: str
    other: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float


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

    The pairs cluster bootstrap (Cameron, Gelbach and Miller, 2008, section III) with the percentile interval (Efron and
    Tibshirani, 1993, chapter 13), widened for few clusters (Hesterberg, 2015). Of one cluster it is NaN.

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
    return _interval(found, _draw(found, index, count, seed, draws), level, count)


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
    that it is never 0. It is never below 2 ** (1 - G) either, what G clusters can prove by their signs alone.

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
    below, above = int((means <= 0).sum()), int((means >= 0).sum())
    p_value = min(1.0, max(2.0 * (min(below, above) + 1) / (draws + 1), 2.0 ** (1 - count)))
    return Paired(*_interval(found, means, level, count), p_value)


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
    ways = tail = 1
    for k in range(min(first, second)):
        ways = ways * (total - k) // (k + 1)
        tail += ways
    return min(1.0, float(2 * tail / 2**total))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the p-values adjusted for their number, shape (K,): the chance of any false alarm among them stays kept.

    The k-th smallest of K is multiplied by K - k + 1, and none ends below a smaller one (Holm, 1979).

    Raises:
        DataError: a value is not between 0 and 1.
    """
    found = np.asarray(p_values, dtype=float)
    if not ((found >= 0) & (found <= 1)).all():
        raise DataError("a p-value lies between 0 and 1", found=found[~((found >= 0) & (found <= 1))][0])
    order = np.argsort(found)
    steps = np.maximum.accumulate(found[order] * np.arange(found.size, 0, -1))
    adjusted = np.empty_like(found)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def compare(
    scores: Mapping[str, Sequence[float] | np.ndarray],
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    *,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> list[Comparison]:
    """Compare every two of several models with `paired_bootstrap`, the p-values corrected with `holm`.

    The intervals are those of each pair alone.

    Args:
        scores: N scores of each model, question by question.
        clusters: N names; left out, each question is its own cluster.
        seed: of the draws; every pair sees the same ones.
        draws: how many; a p-value is never below 2 / (draws + 1), and many pairs need more of them.
        level: share of the draws inside an interval.

    Raises:
        DataError: as `bootstrap`.
    """
    pairs = list(combinations(scores, 2))
    found = [
        paired_bootstrap(scores[one], scores[other], clusters, seed=seed, draws=draws, level=level)
        for one, other in pairs
    ]
    adjusted = holm([paired.p_value for paired in found])
    return [
        Comparison(*names, *paired, p_holm=float(p)) for names, paired, p in zip(pairs, found, adjusted, strict=True)
    ]


def detectable_difference(stderr: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true difference that a two-sided test at `alpha` finds with the given power.

    (z(1 - alpha / 2) + z(power)) times the standard error (Bloom, 1995), in the unit of that error. With the clustered
    error of paired differences, `mean_stderr(ones - others, clusters).stderr`, it holds for that pair of models; with
    sqrt(2) times the error of one score, for two models that err independently.

    Args:
        stderr: standard error of the difference.
        alpha: chance of a false alarm.
        power: chance to find a difference that is there.

    Raises:
        DataError: the error is not a number of at least 0, or a share is not between 0 and 1.
    """
    if not (math.isfinite(stderr) and stderr >= 0):
        raise DataError("a standard error is a number of at least 0", found=stderr)
    for share in (alpha, power):
        if not 0.0 < share < 1.0:
            raise DataError("alpha and power lie between 0 and 1", found=share)
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * stderr


def student_t(share: float, freedom: int) -> float:
    """Return the quantile of Student's t, by its expansion around the normal one (Abramowitz and Stegun, 26.7.5).

    For shares up to 0.975 it is too small by 11 % of 1 degree of freedom, by 0.8 % of 2 and by 0.02 % of 5.
    """
    z = NormalDist().inv_cdf(share)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / freedom**k for k, term in enumerate(terms))


def _tails(level: float, count: int) -> list[float]:
    """Percentiles of the draws that hold the mean at this level, wider for few clusters (Hesterberg, 2015, section 4).

    Draws of `count` clusters spread too little by sqrt((count - 1) / count), and as if their spread were known.
    """
    reach = student_t(0.5 + level / 2, count - 1) * math.sqrt(count / (count - 1))
    tail = 100.0 * NormalDist().cdf(-reach)
    return [tail, 100.0 - tail]


def _interval(found: np.ndarray, means: np.ndarray, level: float, count: int) -> Interval:
    if not 0.0 < level < 1.0:
        raise DataError("a level lies between 0 and 1", found=level)
    mean = float(found.mean())
    if count < 2:
        return Interval(mean, math.nan, math.nan)
    low, high = np.percentile(means, _tails(level, count))
    return Interval(mean, float(low), float(high))


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
