"""Pairs of pictures of one place, before and after, with label pictures of what changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import SUFFIXES
from lhrs_chat.schema import Image

from ._published import PictureFiles


class Pair(NamedTuple):
    """One place: its name, the folder of the split, the two pictures, and the label pictures that the set has."""

    name: str
    before: Path
    after: Path
    labels: tuple[Path, ...]


def find(root: Path, before: str, after: str, labels: tuple[tuple[str, ...], ...]) -> Iterator[tuple[str, Pair]]:
    """Go through the pairs of every folder that holds the folders `before` and `after`.

    Args:
        root: the folder of the set.
        before: name of the folder of first pictures.
        after: name of the folder of second pictures.
        labels: for each label picture, the names that its folder may have.
    """
    for first in sorted(path for path in root.rglob(before) if path.is_dir()):
        folder = first.parent
        for picture in sorted(path for path in first.iterdir() if path.suffix.lower() in SUFFIXES):
            held = tuple(
                next((folder / name / picture.name for name in names if (folder / name).is_dir()), folder / names[0])
                for names in labels
            )
            where = picture.relative_to(root)
            yield str(where), Pair(where.with_suffix("").as_posix(), picture, folder / after / picture.name, held)


def images(pair: Pair, pictures: PictureFiles, gsd_m: float | None = None) -> tuple[Image, Image]:
    """The two pictures of a pair.

    Raises:
        DataError: one is no picture, or they differ in size.
    """
    before, after = (pictures.image(path, gsd_m=gsd_m) for path in (pair.before, pair.after))
    if before.size_px != after.size_px:
        raise DataError("the pictures of a pair differ in size", found=[before.size_px, after.size_px])
    return before, after


def pixels(path: Path, mode: str, size_px: tuple[int, int] | None = None) -> np.ndarray:
    """Read a label picture as (H, W) or (H, W, 3) uint8.

    Args:
        path: the file.
        mode: "L" for grey or class numbers, "RGB" for colours.
        size_px: width and height that it must have.

    Raises:
        DataError: it is missing, no picture, or of another size.
    """
    try:
        with PIL.Image.open(path) as opened:
            found = np.asarray(opened if opened.mode in ("P", "1") and mode == "L" else opened.convert(mode))
    except (OSError, PIL.Image.DecompressionBombError) as error:
        raise DataError("a picture cannot be read", found=str(error)) from error
    if size_px is not None and found.shape[:2] != size_px[::-1]:
        raise DataError(
            f"{path.name}: the pictures of a pair differ in size", found=found.shape[1::-1], allowed=size_px
        )
    return found
