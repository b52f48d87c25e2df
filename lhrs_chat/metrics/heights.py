"""Heights and other lengths against the truth, in metres whatever unit an answer came in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.metrics.labels import CountError, count_error
from lhrs_chat.schema import Number

METRES = {"m": 1.0, "km": 1000.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048}
"""Metres in one of each unit; the foot is the international one."""


def metres(number: Number | None, bare: str = "m") -> float | None:
    """Return a length in metres; None where there is no number or its unit is none of length.

    Args:
        number: what was read.
        bare: unit of a number that came without one, as the question asked for it.

    Raises:
        DataError: `bare` is no unit of length.
    """
    if bare not in METRES:
        raise DataError("a bare number needs a unit of length", found=bare, allowed=", ".join(METRES))
    unit = METRES.get(number.unit or bare) if number is not None else None
    return None if number is None or unit is None else number.value * unit


def height_error(found: Sequence[Number | None], wanted: Sequence[Number], bare: str = "m") -> CountError:
    """Compare lengths with the truth: MAE, RMSE and bias in metres, the relative error as a share.

    Args:
        found: N lengths; None where there was no readable answer. One of another kind (%) counts as unread.
        wanted: N true lengths.
        bare: unit of the numbers without one.

    Raises:
        DataError: the lists differ in length, there is nothing, or a truth is no length.
    """
    truths = [metres(number, bare) for number in wanted]
    strange = [number.unit for number, truth in zip(wanted, truths, strict=True) if truth is None]
    if strange:
        raise DataError("a true height has a unit of length", found=strange[0], allowed=", ".join(METRES))
    return count_error([metres(number, bare) for number in found], [truth for truth in truths if truth is not None])


def within(
    found: Sequence[float | None] | np.ndarray,
    wanted: Sequence[float] | np.ndarray,
    *,
    absolute: float = 0.0,
    relative: float = 0.0,
) -> np.ndarray:
    """Say which numbers are near enough, shape (N,), bool: off by at most `absolute` or `relative` times the truth.

    The mean is the accuracy at that tolerance. The bound itself is near enough.

    Args:
        found: N numbers; None or NaN, which is never near, where there was no readable answer.
        wanted: N true numbers in the same unit.
        absolute: tolerance in that unit.
        relative: tolerance as a share of the size of the truth.

    Raises:
        DataError: the shapes differ, or a tolerance is negative.
    """
    if min(absolute, relative) < 0:
        raise DataError("a tolerance is at least 0", found=min(absolute, relative))
    got, truth = _arrays(found, wanted)
    off = np.abs(got - truth)
    near: np.ndarray = (off <= absolute) | (off <= relative * np.abs(truth))
    return near


def delta(
    found: Sequence[float | None] | np.ndarray, wanted: Sequence[float] | np.ndarray, threshold: float = 1.25
) -> np.ndarray:
    """Say where max(found / true, true / found) is below the threshold, shape of the input, bool.

    The mean is delta-1; with 1.25^2 and 1.25^3 it is delta-2 and delta-3 (Eigen, Puhrsch and Fergus, 2014, section
    4.3). A ratio needs two heights above 0: pixels whose truth is 0 or less are to be left out before, and a found
    height of 0 or less, NaN or None is wrong.

    Args:
        found: any shape, heights.
        wanted: the same shape and unit.
        threshold: above 1.

    Raises:
        DataError: the shapes differ, a truth is not above 0, or the threshold is not above 1.
    """
    if not threshold > 1:
        raise DataError("a ratio is compared with a number above 1", found=threshold)
    got, truth = _arrays(found, wanted)
    if not (truth > 0).all():
        raise DataError("a ratio needs true heights above 0", found=truth[~(truth > 0)][0], next_step="leave them out")
    positive = got > 0
    ratio = np.divide(got, truth, out=np.full(got.shape, np.inf), where=positive)
    worse = np.maximum(ratio, np.divide(truth, got, out=np.full(got.shape, np.inf), where=positive))
    close: np.ndarray = worse < threshold
    return close


def _arrays(
    found: Sequence[float | None] | np.ndarray, wanted: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    got, truth = np.array(found, dtype=float), np.asarray(wanted, dtype=float)
    if got.shape != truth.shape:
        raise DataError("each height has its truth", found=f"{got.shape} and {truth.shape}")
    return got, truth
