"""Masks in answers: how they are asked for, how a true one is read, how the two are compared."""

from __future__ import annotations

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.metrics import masks as mask_metrics
from lhrs_chat.schema import Mask
from lhrs_chat.text import answers, run_lengths

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


def iou(text: str, wanted: Mask) -> float:
    """IoU with the true mask: the masks of an answer are joined; those of another size do not count."""
    said = [mask for mask in answers.masks(text) if mask.shape_px == wanted.shape_px]
    if not said:
        return 0.0
    return mask_metrics.iou(np.logical_or.reduce([mask.to_array() for mask in said]), wanted.to_array())
