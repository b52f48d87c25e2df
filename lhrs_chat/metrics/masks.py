"""Overlap of masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lhrs_chat.errors import DataError


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return intersection over union of two masks (H, W), bool; 1 where both are empty.

    Raises:
        DataError: the shapes differ.
    """
    shared, union = _areas(one, other)
    return shared / union if union else 1.0


def giou(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """Return the mean IoU over images, each counting alike (gIoU of the referring segmentation papers).

    Args:
        found: N masks (H, W), bool.
        wanted: N true masks; an empty pair counts as 1.

    Raises:
        DataError: lengths or shapes differ, or there is nothing.
    """
    return float(np.mean([iou(a, b) for a, b in _pairs(found, wanted)]))


def ciou(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """Return the summed intersection over the summed union (cIoU, also oIoU): large objects count more.

    Arguments and errors as in `giou`.
    """
    areas = np.array([_areas(a, b) for a, b in _pairs(found, wanted)], dtype=float).sum(axis=0)
    return float(areas[0] / areas[1]) if areas[1] else 1.0


def class_iou(found: np.ndarray, wanted: np.ndarray, classes: int, ignore: int | None = None) -> np.ndarray:
    """Return the IoU of each class of two label maps, shape (classes,); NaN for a class in neither.

    Args:
        found: (H, W), int, class numbers from 0.
        wanted: (H, W), int.
        classes: how many there are.
        ignore: pixels with this number in `wanted` do not count.

    Raises:
        DataError: the shapes differ, or a number is no class.
    """
    if found.shape != wanted.shape:
        raise DataError("masks are compared in one size", found=f"{found.shape} and {wanted.shape}")
    keep = np.ones(wanted.shape, dtype=bool) if ignore is None else wanted != ignore
    a, b = found[keep].astype(np.int64), wanted[keep].astype(np.int64)
    if a.size and (min(a.min(), b.min()) < 0 or max(a.max(), b.max()) >= classes):
        raise DataError(
            "a class number is out of range", found=f"{a.min()} to {a.max()}", allowed=f"0 to {classes - 1}"
        )
    table = np.bincount(b * classes + a, minlength=classes * classes).reshape(classes, classes)
    shared = np.diag(table).astype(float)
    union = table.sum(axis=0) + table.sum(axis=1) - shared
    values: np.ndarray = np.divide(shared, union, out=np.full(classes, np.nan), where=union > 0)
    return values


def miou(found: np.ndarray, wanted: np.ndarray, classes: int, ignore: int | None = None) -> float:
    """Return the mean of `class_iou` over the classes that occur.

    Raises:
        DataError: as `class_iou`, or no class occurs.
    """
    values = class_iou(found, wanted, classes, ignore)
    if np.isnan(values).all():
        raise DataError("there is nothing to average", found="no pixel of any class")
    return float(np.nanmean(values))


def _areas(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    a, b = np.asarray(one, dtype=bool), np.asarray(other, dtype=bool)
    if a.shape != b.shape:
        raise DataError("masks are compared in one size", found=f"{a.shape} and {b.shape}")
    return int((a & b).sum()), int((a | b).sum())


def _pairs(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    if len(found) != len(wanted) or not wanted:
        raise DataError("each mask has its truth", found=f"{len(found)} and {len(wanted)}")
    return list(zip(found, wanted, strict=True))
