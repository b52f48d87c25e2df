"""Overlap of boxes. Sides are differences of coordinates: no `+ 1`, which would let disjoint small boxes overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from shapely.geometry import Polygon
from shapely.geometry import box as rectangle

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.schema import Box


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Return intersection over union of two upright boxes (x1, y1, x2, y2), 0 where both are empty."""
    return float(iou_matrix([one], [other])[0, 0])


def iou_matrix(
    ones: Sequence[Sequence[float]] | np.ndarray, others: Sequence[Sequence[float]] | np.ndarray
) -> np.ndarray:
    """Return the IoU of every pair of upright boxes, shape (N, M).

    Args:
        ones: (N, 4), x1, y1, x2, y2.
        others: (M, 4), in the same frame.

    Raises:
        DataError: a box is inverted, or not four finite numbers.
    """
    a, b = _rows(ones)[:, None], _rows(others)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.clip(sides, 0.0, None).prod(axis=-1)
    union = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - shared
    overlaps: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps


def generalized_iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the generalized IoU of two upright boxes (x1, y1, x2, y2), from -1 to 1.

    The IoU minus the share of the enclosing box that neither covers (Rezatofighi et al., 2019, algorithm 1). It is not
    the gIoU of referring segmentation, which is `masks.giou`. Boxes that enclose no area give 0.

    Raises:
        DataError: a box is inverted, or not four finite numbers.
    """
    both = _rows([one, other])
    around = float((both[:, 2:].max(axis=0) - both[:, :2].min(axis=0)).prod())
    if around <= 0:
        return 0.0
    shared = iou(one, other)
    union = float((both[:, 2:] - both[:, :2]).prod(axis=1).sum()) / (1.0 + shared)
    return shared - (around - union) / around


def oriented_iou(one: Box, other: Box) -> float:
    """Return the IoU of two boxes, turned or upright, as polygons.

    Raises:
        GeoError: the boxes are in different frames.
    """
    if one.frame != other.frame:
        raise GeoError("boxes are compared in one frame", found=f"{one.frame} and {other.frame}")
    a, b = _polygon(one), _polygon(other)
    union = a.union(b).area
    return float(a.intersection(b).area / union) if union > 0 else 0.0


def acc_at(values: Sequence[float] | np.ndarray, threshold: float = 0.5) -> float:
    """Return the share of IoU values that reach the threshold (>=). A missing box is an IoU of 0, never left out.

    Raises:
        DataError: there are no values.
    """
    found = np.asarray(values, dtype=float)
    if found.size == 0:
        raise DataError("there is nothing to average", found="no values")
    return float((found >= threshold).mean())


def match(
    found: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]], threshold: float = 0.5
) -> list[tuple[int, int, float]]:
    """Pair found with wanted boxes, best IoU first, each used once, none below the threshold.

    Returns:
        (index in `found`, index in `wanted`, IoU) of each pair.
    """
    overlaps = iou_matrix(found, wanted)
    pairs = []
    while overlaps.size:
        i, j = (int(k) for k in np.unravel_index(int(overlaps.argmax()), overlaps.shape))
        value = float(overlaps[i, j])
        if value < threshold or value <= 0.0:
            break
        pairs.append((i, j, value))
        overlaps[i, :] = -1.0
        overlaps[:, j] = -1.0
    return pairs


def f1(found: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]], threshold: float = 0.5) -> float:
    """Return 2 TP / (found + wanted) at a threshold; 1 where nothing was to be found and nothing was."""
    total = len(found) + len(wanted)
    return 1.0 if total == 0 else 2.0 * len(match(found, wanted, threshold)) / total


def _rows(boxes: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    rows = np.asarray(boxes, dtype=float)
    if rows.size == 0:
        return np.zeros((0, 4))
    if rows.ndim != 2 or rows.shape[1] != 4 or not np.isfinite(rows).all():
        raise DataError("boxes are rows of four finite numbers", found=rows.shape, allowed="(N, 4)")
    if (rows[:, :2] > rows[:, 2:]).any():
        bad = rows[(rows[:, :2] > rows[:, 2:]).any(axis=1)][0]
        raise DataError("a box has x1 <= x2 and y1 <= y2", found=bad.tolist())
    return rows


def _polygon(box: Box) -> Polygon:
    if box.points is None:
        return rectangle(*box.xyxy)
    shape = Polygon(box.points)
    return shape if shape.is_valid else shape.convex_hull
