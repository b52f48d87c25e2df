"""Pictures on disk as the model's own image processor shows them to the encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image as PilImage

from lhrs_chat.errors import DataError
from lhrs_chat.models.processing import LhrsImageProcessor


def pixels_of(processor: LhrsImageProcessor, files: Sequence[str]) -> torch.Tensor:
    """Return the normalised pixels of `files`, (N, 3, H, W).

    Raises:
        DataError: one of them cannot be read; it is not replaced by a black picture.
    """
    return torch.stack([processor.one(opened(file)) for file in files])


def opened(file: str) -> PilImage.Image:
    """Return a picture file in three colours.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with PilImage.open(file) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise DataError("a picture of the training data cannot be read", found=f"{file}: {error}") from error
