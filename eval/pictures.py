"""The pixels of questions: read once while they are needed again soon, within a fixed memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .records import image_sha256

if TYPE_CHECKING:
    from .conditions import Condition

MAX_BYTES = 256 << 20


class Picture(NamedTuple):
    """Pixels (H, W, 3), uint8, and their hash: of the file, or of the pixels where a condition altered them."""

    pixels: np.ndarray
    sha256: str


class Pictures:
    """Pictures by file and condition; those used longest ago are forgotten."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._left = max_bytes
        self._known: OrderedDict[tuple[Path, str, int], Picture] = OrderedDict()

    def get(self, path: Path, condition: Condition, drawn: int) -> Picture:
        """The picture as a condition shows it; `drawn` is the number that decides what is random in it.

        Raises:
            RasterError: the file cannot be read.
        """
        key = (path, "", 0) if condition.alter is None else (path, condition.name, drawn)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        found = _read(path, condition, drawn)
        self._known[key] = found
        self._left -= found.pixels.nbytes
        while self._left < 0 and len(self._known) > 1:
            _, old = self._known.popitem(last=False)
            self._left += old.pixels.nbytes
        return found


def _read(path: Path, condition: Condition, drawn: int) -> Picture:
    from lhrs_chat.geo.raster import Raster

    with Raster.open(path) as raster:
        pixels = raster.rgb()
    if condition.alter is None:
        return Picture(pixels, image_sha256(path))
    pixels = np.ascontiguousarray(condition.alter(pixels, drawn))
    return Picture(pixels, hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest())
