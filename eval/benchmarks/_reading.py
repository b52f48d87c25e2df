"""Reading published files: every bad row is named with its file and place, and none is left out in silence."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import PIL.Image

from lhrs_chat.errors import DataError

from . import Question, _hub

VARIABLE = "LHRS_CHAT_BENCHMARKS"
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")


def finder(name: str, needs: Sequence[str], get: str) -> Callable[[Path | None], Path]:
    """Make the `find` of a benchmark: the folder or hub data set the user gave, or `$LHRS_CHAT_BENCHMARKS/NAME`.

    Args:
        name: the benchmark.
        needs: files, as glob patterns; one of them must be there.
        get: where the published files lie.
    """

    def find(given: Path | None) -> Path:
        usual = os.environ.get(VARIABLE)
        if given is None and not usual:
            raise DataError(
                f"the files of {name} are not here",
                found="no --data",
                allowed=f"--data FOLDER, --data {_hub.FORM}, or {VARIABLE} = a folder that holds a folder {name}",
                next_step=f"get them: {get}",
            )
        folder = _hub.local(given) if given is not None else Path(usual or "") / name
        if not any(path for need in needs for path in folder.glob(need)):
            raise DataError(
                f"this is no folder of {name}",
                found=f"no {' or '.join(needs)} in {folder}",
                next_step=f"get the files: {get}",
            )
        return folder

    return find


@dataclass(frozen=True)
class Row:
    """One object of a published file.

    Args:
        values: its fields.
        where: its place, for errors: `row 3 of qa.json`.
    """

    values: Mapping[str, Any]
    where: str

    def bad(self, name: str, allowed: object) -> DataError:
        """The error of a field that does not hold what it should."""
        found = repr(self.values.get(name))[:120] if name in self.values else "nothing"
        return DataError(f"{self.where}: bad field {name!r}", found=found, allowed=allowed)

    def text(self, name: str) -> str:
        """A field that is a text and not blank."""
        value = self.values.get(name)
        if not isinstance(value, str) or not value.strip():
            raise self.bad(name, "a text")
        return value.strip()

    def word(self, name: str) -> str:
        """A field that is a text or a whole number, as text: file names and ids are written both ways."""
        value = self.values.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(name)

    def number(self, name: str) -> float:
        """A field that is a number."""
        value = self.values.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.bad(name, "a number")
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A field that is a list of texts, one or more."""
        value = self.values.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and v.strip() for v in value):
            raise self.bad(name, "a list of texts")
        return tuple(v.strip() for v in value)

    def one_of(self, name: str, allowed: Iterable[str]) -> str:
        """A field that holds one of several names."""
        value = self.text(name)
        known = list(allowed)
        if value not in known:
            raise self.bad(name, ", ".join(known))
        return value

    def row(self, name: str) -> Row:
        """A field that is an object."""
        return _as_row(self.values.get(name), f"{self.where}, {name}")

    def rows(self, name: str) -> list[Row]:
        """A field that is a list of objects, or an object of them."""
        return _as_rows(self.values.get(name), f"{name} of {self.where}")


def read_json(path: Path) -> Row:
    """Read a JSON file whose outermost value is an object.

    Raises:
        DataError: the file is missing, is no JSON, or holds something else.
    """
    return _as_row(_parse(path), path.name)


def read_list(path: Path) -> list[Row]:
    """Read a file of many rows: JSON that is a list (or an object) of objects, or one object a line (`.jsonl`).

    Raises:
        DataError: the file is missing, or a row is broken; the error names it.
    """
    if path.suffix != ".jsonl":
        return _as_rows(_parse(path), path.name)
    rows = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            where = f"line {number} of {path.name}"
            rows.append(_as_row(_loads(line, where), where))
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} cannot be read", found=path) from error


def _parse(path: Path) -> object:
    return _loads(_text(path), path.name)


def _loads(text: str, where: str) -> object:
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} is no JSON", found=f"{error}: {text[:60]!r}") from error
    return value


def _as_row(value: object, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where} is no object", found=repr(value)[:80], allowed="{...}")
    return Row(value, where)


def _as_rows(value: object, where: str) -> list[Row]:
    if isinstance(value, dict):
        return [_as_row(row, f"row {name!r} of {where}") for name, row in value.items()]
    if not isinstance(value, list):
        raise DataError(f"{where} is no list", found=repr(value)[:80], allowed="[...]")
    return [_as_row(row, f"row {place} of {where}") for place, row in enumerate(value)]


@dataclass
class Pictures:
    """The picture files of one data set: where they lie, and their sizes, each file opened once.

    Args:
        folders: where they may lie, the first that holds the file counts.
    """

    folders: Sequence[Path]
    _sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def path(self, name: str, where: str) -> Path:
        """The file of a picture.

        Raises:
            DataError: none of the folders holds it.
        """
        for folder in self.folders:
            if (folder / name).is_file():
                return folder / name
        listed = ", ".join(str(folder) for folder in self.folders)
        raise DataError(f"{where}: the picture {name} is missing", found=f"not in {listed}")

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


def checked(questions: list[Question], folder: Path) -> list[Question]:
    """The questions, once it is sure that there are some and that no id stands there twice.

    Raises:
        DataError: there is no question, or two have one id.
    """
    if not questions:
        raise DataError("there is no question in these files", found=folder)
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise DataError("two questions have one id", found=question.id)
        seen.add(question.id)
    return questions
