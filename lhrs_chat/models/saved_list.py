"""Lists that torch saved as a file: annotations are published so, too."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from lhrs_chat.errors import DataError


def load(path: Path) -> list[object]:
    """The list in a file that torch saved; nothing but plain values is unpacked.

    Raises:
        DataError: the file cannot be read or holds something else.
    """
    try:
        rows = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{path.name} cannot be read", found=str(error)[:200]) from error
    if not isinstance(rows, list):
        raise DataError(f"{path.name} is no list", found=type(rows).__name__)
    return rows
