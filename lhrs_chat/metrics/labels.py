"""Right and wrong labels and counts. An answer that could not be read is None and counts as wrong everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lhrs_chat.errors import DataError


def accuracy(found: Sequence[str | None], wanted: Sequence[str]) -> float:
    """Return the share of labels that are right.

    Args:
        found: N labels; None where there was no readable answer.
        wanted: N true labels.

    Raises:
        DataError: lengths differ, or there is nothing.
    """
    _check(found, wanted)
    return float(np.mean([a == b for a, b in zip(found, wanted, strict=True)]))


def per_class(found: Sequence[str | None], wanted: Sequence[str]) -> dict[str, float]:
    """Return the recall of each true label, in alphabetical order; arguments and errors as in `accuracy`."""
    _check(found, wanted)
    rows: dict[str, list[bool]] = {}
    for a, b in zip(found, wanted, strict=True):
        rows.setdefault(b, []).append(a == b)
    return {name: float(np.mean(rows[name])) for name in sorted(rows)}


def balanced_accuracy(found: Sequence[str | None], wanted: Sequence[str]) -> float:
    """Return the mean of `per_class`."""
    return float(np.mean(list(per_class(found, wanted).values())))


def macro_f1(found: Sequence[str | None], wanted: Sequence[str]) -> float:
    """Return the mean F1 over all labels that are true or found somewhere; arguments and errors as in `accuracy`."""
    _check(found, wanted)
    names = sorted({*wanted, *(name for name in found if name is not None)})
    scores = []
    for name in names:
        right = sum(a == b == name for a, b in zip(found, wanted, strict=True))
        total = sum(a == name for a in found) + sum(b == name for b in wanted)
        scores.append(2.0 * right / total)
    return float(np.mean(scores))


def confusion(found: Sequence[str | None], wanted: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Return counts, shape (L, L + 1): rows are true labels, columns found ones, the last column unread answers.

    Raises:
        DataError: lengths differ, there is nothing, or a label is not among `labels`.
    """
    _check(found, wanted)
    index = {name: i for i, name in enumerate(labels)}
    strange = sorted({name for name in (*wanted, *found) if name is not None and name not in index})
    if strange:
        raise DataError("a label is not among the known ones", found=", ".join(strange), allowed=", ".join(labels))
    table = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    for a, b in zip(found, wanted, strict=True):
        table[index[b], len(labels) if a is None else index[a]] += 1
    return table


@dataclass(frozen=True)
class CountError:
    """How far numbers are off, in their unit, over those that could be read; `unread` is the share that could not."""

    exact: float  # share of all, unread ones wrong
    mae: float
    rmse: float
    bias: float
    relative: float  # mean of |error| / |truth| over the truths that are not 0
    unread: float


def count_error(found: Sequence[float | None], wanted: Sequence[float]) -> CountError:
    """Compare numbers with the truth; the errors are NaN where none could be read.

    Args:
        found: N numbers; None where there was no readable answer.
        wanted: N true numbers.

    Raises:
        DataError: lengths differ, or there is nothing.
    """
    _check(found, wanted)
    rows = np.array([(a, b) for a, b in zip(found, wanted, strict=True) if a is not None], dtype=float)
    if rows.size == 0:
        return CountError(0.0, math.nan, math.nan, math.nan, math.nan, 1.0)
    off, truth = rows[:, 0] - rows[:, 1], rows[:, 1]
    some = truth != 0
    return CountError(
        exact=float((off == 0).sum() / len(wanted)),
        mae=float(np.abs(off).mean()),
        rmse=float(np.sqrt((off**2).mean())),
        bias=float(off.mean()),
        relative=float(np.abs(off[some] / truth[some]).mean()) if some.any() else math.nan,
        unread=1.0 - len(rows) / len(wanted),
    )


def _check(found: Sequence[object], wanted: Sequence[object]) -> None:
    if len(found) != len(wanted) or len(wanted) == 0:
        raise DataError("each answer has its truth", found=f"{len(found)} and {len(wanted)}")
