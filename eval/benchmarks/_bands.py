"""Sentinel-2 bands in a file each, as pictures of three bands that any model takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Pictures
from lhrs_chat.registry import cache_folder

from .. import records

GROUPS = (("B04", "B03", "B02"), ("B01", "B05", "B06"), ("B07", "B08", "B8A"), ("B09", "B11", "B12"))
"""True colour first, then the other bands in order, as EarthMind's evaluation groups them."""
LOW, HIGH = 2, 98


def compose(folder: Path, name: str, where: str) -> tuple[Path, ...]:
    """Write `NAME_B01.tif` ... as pictures into the cache, under the hash of their files; return these.

    Each band is stretched from its 2nd to its 98th percentile, and enlarged to the size of the true colour bands.

    Raises:
        DataError: a band is missing, or cannot be read.
    """
    paths = [[folder / f"{name}_{band}.tif" for band in group] for group in GROUPS]
    missing = [path.name for group in paths for path in group if not path.is_file()]
    if missing:
        raise DataError(f"{where}: bands are missing", found=f"no {', '.join(missing)} in {folder}")
    size_px = Pictures([folder]).size_px(paths[0][0], where)
    return tuple(_picture(group, size_px, where) for group in paths)


def _picture(paths: Sequence[Path], size_px: tuple[int, int], where: str) -> Path:
    key = hashlib.sha256(f"{LOW} {HIGH} {size_px}".encode())
    for path in paths:
        key.update(records.image_sha256(path).encode())
    made = cache_folder() / "benchmarks" / "pictures" / f"{key.hexdigest()}.png"
    if not made.is_file():
        bands = [_stretch(_read(path, size_px, where)) for path in paths]
        made.parent.mkdir(parents=True, exist_ok=True)
        half = made.with_name(f"{made.stem}.part.png")
        PIL.Image.fromarray(np.stack(bands, axis=-1)).save(half)
        half.replace(made)
    return made


def _read(path: Path, size_px: tuple[int, int], where: str) -> np.ndarray:
    try:
        with PIL.Image.open(path) as image:
            band = np.asarray(image, dtype=np.float32)
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: the band cannot be read", found=path) from error
    first = band[..., 0] if band.ndim == 3 else band
    return np.asarray(PIL.Image.fromarray(first).resize(size_px, PIL.Image.Resampling.BILINEAR))


def _stretch(band: np.ndarray) -> np.ndarray:
    low, high = np.percentile(band, (LOW, HIGH))
    if high - low < 1e-6:
        return np.zeros(band.shape, dtype=np.uint8)
    stretched: np.ndarray = (np.clip((band - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return stretched
