"""What every source of published files does: find the set, go through its rows, put the broken ones aside."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.formats.rows import SUFFIXES, Pictures, reason
from lhrs_chat.geo.frames import clip
from lhrs_chat.schema import Box, Image, Sample

from . import SourceOptions, _chips

T = TypeVar("T")
RGB = ("red", "green", "blue")
_SPLITS = {
    **dict.fromkeys(("train", "training", "tier"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "hold"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def root(name: str, folder: Path | None, get: str) -> Path:
    """The folder of a set.

    Raises:
        DataError: none was given, or it is not there; the error says where to `get` the set.
    """
    if folder is None or not folder.is_dir():
        raise DataError(
            f"the source {name} needs the folder of the set",
            found="no folder" if folder is None else str(folder),
            next_step=f"get it: {get}",
        )
    return folder


def incomplete(name: str, folder: Path, lacks: str, get: str) -> DataError:
    """The error of a folder that does not hold the set."""
    return DataError(f"this is no folder of {name}", found=f"no {lacks} in {folder}", next_step=f"get it: {get}")


def rows(entries: Iterable[tuple[str, T]], make: Callable[[T], Sample], options: SourceOptions) -> Iterator[Sample]:
    """Make a row of each entry, of the wanted split and at most `options.count`.

    Args:
        entries: the place of a row, for people, and what it is made from.
        make: makes the row. An entry that it refuses with an `LhrsError` goes to `options.reject`.
        options: what to take.
    """

    def made() -> Iterator[Sample]:
        for where, entry in entries:
            try:
                sample = make(entry)
            except LhrsError as error:
                options.reject(where, reason(error, where))
            else:
                yield sample

    return _chips.take(made(), options)


def spoken(label: str) -> str:
    """A class name as one says it: "small-vehicle" and "Small_Vehicle" become "small vehicle".

    Words in capitals that hold a digit, as in A220 or ARJ21, keep them.
    """
    words = re.sub(r"[\s_-]+", " ", label).strip().split(" ")
    return " ".join(word if re.search(r"\d", word) and word[:1].isupper() else word.lower() for word in words)


def split_of(path: Path, within: Path) -> str:
    """The split that the folders of a file name, the inner one first, the set's own last; train where none does."""
    for part in reversed(path.relative_to(within).parts[:-1]):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return _SPLITS.get(within.name.lower(), "train")


def listed(path: Path) -> list[str]:
    """The names in a file of one name a line, blank lines left out; a suffix of the name is cut off."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Path(line.strip()).stem for line in lines if line.strip()]


class PictureFiles:
    """The picture files of a set by stem; they are found wherever they lie, the nearest to a label file first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                self._by_stem[path.stem].append(path)
        self._sizes = Pictures((folder,))

    def find(self, stem: str, near: Path) -> Path:
        """The picture that belongs to the label file `near`.

        Raises:
            DataError: there is none, or two lie equally near.
        """
        found = self._by_stem.get(stem, [])
        if not found:
            raise DataError(f"the picture {stem} is missing", found=f"not in {self._folder}")
        nearness = [len(os.path.commonpath([path, near])) for path in found]
        nearest = [path for path, shared in zip(found, nearness, strict=True) if shared == max(nearness)]
        if len(nearest) > 1:
            names = ", ".join(str(path.relative_to(self._folder)) for path in nearest)
            raise DataError(f"two pictures could be {stem}", found=names, allowed="one beside its labels")
        return nearest[0]

    def image(self, path: Path, gsd_m: float | None = None, sensor: str | None = None) -> Image:
        """A picture with the size in its header.

        Raises:
            DataError: it is no picture.
        """
        size = self._sizes.size_px(path, path.name)
        return Image(path=str(path), size_px=size, bands=RGB, gsd_m=gsd_m, sensor=sensor)

    def relative(self, path: Path) -> str:
        """The place of a file in the set, for `meta["image_file"]`."""
        return path.relative_to(self._folder).as_posix()


def inside(boxes: Sequence[Box], size_px: tuple[int, int] | None) -> tuple[Box, ...]:
    """Boxes in pixels, cut at the edges of a picture of this width and height.

    Raises:
        GeoError: one lies outside.
    """
    return tuple(boxes) if size_px is None else tuple(clip(box, size_px) for box in boxes)
