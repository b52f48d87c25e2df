"""Reading published files: every bad row is named with its file and place, and none is left out in silence.

Files are read as a stream, so that a list of a million rows needs no more memory than one of them. A reader takes a
`Reject`: with one, a broken row is told to it and the reading goes on; without, the first broken row is an error.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import PIL.Image

from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.formats import _json

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
Reject = Callable[[str, str], None]
"""Called with the place (`row 3 of qa.json`) and the reason of a row that is left out."""

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON may hold them, UTF-8 cannot

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One object of a published file.

    Args:
        values: its fields.
        where: its place, for errors: `row 3 of qa.json`.
        place: the number or name in it, where the row is one of a file.
    """

    values: Mapping[str, Any]
    where: str
    place: int | str = ""

    def bad(self, name: str, allowed: object) -> DataError:
        """The error of a field that does not hold what it should."""
        found = ascii(self.values.get(name))[:120] if name in self.values else "nothing"
        return DataError(f"{self.where}: bad field {name!r}", found=found, allowed=allowed)

    def text(self, name: str) -> str:
        """A field that is a text and not blank."""
        value = self.values.get(name)
        if not _is_text(value):
            raise self.bad(name, "a text")
        return str(value).strip()

    def word(self, name: str) -> str:
        """A field that is a text or a whole number, as text: file names and ids are written both ways."""
        value = self.values.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(name)

    def number(self, name: str) -> float:
        """A field that is a finite number."""
        value = self.values.get(name)
        if not is_number(value):
            raise self.bad(name, "a number")
        return float(value)  # type: ignore[arg-type]

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """A field that is a list of `count` finite numbers."""
        value = self.values.get(name)
        if not isinstance(value, list) or len(value) != count or not all(is_number(v) for v in value):
            raise self.bad(name, f"a list of {count} numbers")
        return tuple(float(v) for v in value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A field that is a list of texts, one or more."""
        value = self.values.get(name)
        if not isinstance(value, list) or not value or not all(_is_text(v) for v in value):
            raise self.bad(name, "a list of texts")
        return tuple(v.strip() for v in value)

    def one_of(self, name: str, allowed: Iterable[str]) -> str:
        """A field that holds one of several names."""
        value = self.text(name)
        known = list(allowed)
        if value not in known:
            raise self.bad(name, ", ".join(known))
        return value

    def anything(self, name: str) -> Any:
        """A field of any kind that can be written as JSON again: its numbers are finite, its texts whole."""
        try:
            written = json.dumps(self.values.get(name), ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError) as error:
            raise self.bad(name, "finite numbers") from error
        if _HALF_CHARACTER.search(written):
            raise self.bad(name, "texts of whole characters")
        return self.values.get(name)

    def row(self, name: str) -> Row:
        """A field that is an object."""
        return as_row(self.values.get(name), f"{self.where}, {name}")

    def rows(self, name: str, reject: Reject | None = None) -> list[Row]:
        """A field that is a list of objects, or an object of them; `reject` is told of those that are none."""
        value, where = self.values.get(name), f"{name} of {self.where}"
        if not isinstance(value, list | dict):
            raise DataError(f"{where} is no list", found=ascii(value)[:80], allowed="[...]")
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        items = [_Item(item, f"row {place!r} of {where}") for place, item in pairs]
        return list(each(items, lambda item: as_row(item.value, item.where), reject))


@dataclass(frozen=True)
class _Item:
    value: object
    where: str


def is_number(value: object) -> bool:
    """Whether a value is a finite number, and neither true nor false."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**1000


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not _HALF_CHARACTER.search(value)


def as_row(value: object, where: str, place: int | str = "") -> Row:
    """A value that is an object.

    Raises:
        DataError: it is none.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where} is no object", found=ascii(value)[:80], allowed="{...}")
    return Row(value, where, place)


def read_json(path: Path) -> Row:
    """Read a JSON file whose outermost value is an object.

    Raises:
        DataError: the file is missing, is no JSON, or holds something else.
    """
    return as_row(_json.read(path), path.name)


def read_list(path: Path) -> list[Row]:
    """Read all rows of a file at once; see `stream`.

    Raises:
        DataError: the file is missing, or a row is broken; the error names it.
    """
    return list(stream(path))


def stream(path: Path, name: str = "", reject: Reject | None = None) -> Iterator[Row]:
    """Yield the rows of a file: JSON that is a list (or an object) of objects, or one object a line (`.jsonl`).

    Args:
        path: the file.
        name: the field of the outermost object that holds the rows; none where the outermost value holds them.
        reject: told of rows that are no objects, of lines that are no JSON, and of the place where a file is cut.

    Raises:
        DataError: the file is missing or holds no rows; without `reject` also for a broken row.
    """
    by_line = path.suffix.lower() == ".jsonl"
    for place, value in _json.lines(path) if by_line else _json.items(path, name):
        where = f"{'line' if by_line else 'row'} {place!r} of {f'{name} of ' if name else ''}{path.name}"
        try:
            if isinstance(value, DataError):
                raise value
            row = as_row(value, where, place)
        except DataError as error:
            if reject is None:
                raise
            reject(where, reason(error, where))
            continue
        yield row


def opening(path: Path) -> str:
    """The first character of a file that is not blank: `[` for a list, `{` for an object, '' for an empty file.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as text:
            return next((line.strip()[0] for line in text if line.strip()), "")
    except OSError as error:
        raise DataError(f"{path.name} cannot be read", found=path) from error


class Placed(Protocol):
    """Anything that knows its place in a file."""

    @property
    def where(self) -> str:
        """Its place, for errors."""


P = TypeVar("P", bound=Placed)


def each(rows: Iterable[P], make: Callable[[P], T], reject: Reject | None = None) -> Iterator[T]:
    """What `make` makes of every row.

    Raises:
        DataError: `make` raised it, and there is no `reject` to be told of the row.
    """
    for row in rows:
        try:
            made = make(row)
        except DataError as error:
            if reject is None:
                raise
            reject(row.where, reason(error, row.where))
            continue
        yield made


def reason(error: LhrsError, where: str) -> str:
    """An error in one line, without the place that it begins with where that is `where`."""
    text = "; ".join(line.strip() for line in str(error).splitlines())
    return text.removeprefix(where).lstrip(": ") or text


@dataclass
class Pictures:
    """The picture files of one data set: where they lie, and their sizes; each is looked up and opened once.

    Args:
        folders: where they may lie, the first that holds the file counts.
    """

    folders: Sequence[Path]
    _paths: dict[str, Path] = field(default_factory=dict)
    _sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def path(self, name: str, where: str) -> Path:
        """The file of a picture.

        Raises:
            DataError: none of the folders holds it.
        """
        if name not in self._paths:
            found = next((folder / name for folder in self.folders if _is_file(folder / name)), None)
            if found is None:
                listed = ", ".join(str(folder) for folder in self.folders)
                raise DataError(f"{where}: the picture {name[:200]} is missing", found=f"not in {listed}")
            self._paths[name] = found
        return self._paths[name]

    def size_px(self, path: Path, where: str) -> tuple[int, int]:
        """Width and height.

        Raises:
            DataError: the file is no picture.
        """
        if path not in self._sizes:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
                    with PIL.Image.open(path) as image:
                        self._sizes[path] = image.size
            except (OSError, PIL.Image.DecompressionBombError) as error:
                raise DataError(f"{where}: the picture cannot be read", found=path) from error
        return self._sizes[path]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for the disk
        return False
