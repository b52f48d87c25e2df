"""Masks in answers: how they are asked for, how a true one is read, how the two are compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.metrics import masks as mask_metrics
from lhrs_chat.schema import Mask
from lhrs_chat.text import answers, run_lengths

from . import Question

WORDS = ' Write the mask as COCO run lengths: {"size": [height, width], "counts": [...]}.'


def true_mask(value: object, size_px: tuple[int, int], where: str) -> Mask:
    """Read the true mask of a row.

    Raises:
        DataError: it is none, or its size is not that of the picture.
    """
    try:
        mask = run_lengths.from_coco(value)
    except DataError as error:
        raise DataError(f"{where}: {error.what}", found=error.found, allowed=error.allowed) from error
    if mask.shape_px != size_px[::-1]:
        raise DataError(f"{where}: the mask has another size", found=mask.shape_px, allowed=size_px[::-1])
    return mask


def pair(text: str, wanted: Mask) -> tuple[np.ndarray, np.ndarray]:
    """The masks of an answer joined, and the true one, (H, W); those of another size do not count."""
    said = [mask for mask in answers.masks(text) if mask.shape_px == wanted.shape_px]
    true = wanted.to_array()
    return np.logical_or.reduce([mask.to_array() for mask in said]) if said else np.zeros_like(true), true


def iou(text: str, wanted: Mask) -> float:
    """IoU with the true mask: the masks of an answer are joined; without one of its size it is 0."""
    said = any(mask.shape_px == wanted.shape_px for mask in answers.masks(text))
    return mask_metrics.iou(*pair(text, wanted)) if said else 0.0


def each(questions: Sequence[Question], texts: Sequence[str]) -> list[dict[str, float]]:
    """IoU of the mask of each answer; their mean is the gIoU of referring segmentation."""
    return [{"mask_iou": iou(text, q.targets.masks[0])} for q, text in zip(questions, texts, strict=True)]
