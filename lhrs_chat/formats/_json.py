"""JSON files read piece by piece: the values of a list come out one after the other while the file is still read.

A byte that is not UTF-8 spoils the text it stands in, not the file: it becomes half a character, which no row may hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from lhrs_chat.errors import DataError

CHUNK = 1 << 20
_DECODER = json.JSONDecoder()
_BLANKS = " \t\n\r"
_OF_NUMBERS = "0123456789.eE+-"


def read(path: Path) -> object:
    """Read a whole file.

    Raises:
        DataError: it is missing or no JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} cannot be read", found=path) from error
    return _loads(text, path.name)


def lines(path: Path) -> Iterator[tuple[int, object]]:
    """Yield number and value of each line that is not blank; the value is the error where a line is no JSON.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as text:
            for number, line in enumerate(text, start=1):
                if line.strip():
                    yield number, _line(line, f"line {number} of {path.name}")
    except OSError as error:
        raise DataError(f"{path.name} cannot be read", found=path) from error


def items(path: Path, name: str) -> Iterator[tuple[int | str, object]]:
    """Yield place and value of each item of the outermost list or object, or of its field `name`.

    Where the file is cut or damaged, the last value is the error.

    Raises:
        DataError: the file cannot be read, or holds neither a list nor an object there.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as text:
            yield from _items(_Scanner(text, path.name), name)
    except OSError as error:
        raise DataError(f"{path.name} cannot be read", found=path) from error


def _line(line: str, where: str) -> object:
    try:
        return _loads(line, where)
    except DataError as error:
        return error


def _loads(text: str, where: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON", found=f"{error}: {text[:60]!a}") from error
    return value


class _Scanner:
    """What is read of a file and not yet used."""

    def __init__(self, text: TextIO, name: str) -> None:
        self.text = text
        self.name = name
        self.buffer = ""
        self.place = 0
        self.used = 0  # characters of the file before the buffer

    def more(self) -> bool:
        """Read on, as much again as waits unused; tell whether there was anything."""
        chunk = self.text.read(max(CHUNK, len(self.buffer) - self.place))
        self.used += self.place
        self.buffer, self.place = self.buffer[self.place :] + chunk, 0
        return bool(chunk)

    def peek(self) -> str:
        """The next character that is not blank; '' at the end."""
        while True:
            while self.place < len(self.buffer) and self.buffer[self.place] in _BLANKS:
                self.place += 1
            if self.place < len(self.buffer):
                return self.buffer[self.place]
            if not self.more():
                return ""

    def take(self, wanted: str) -> None:
        """Go past one character."""
        found = self.peek()
        if found != wanted:
            raise self.error(f"{wanted!r} is missing")
        self.place += 1

    def value(self) -> object:
        """Read one value."""
        self.peek()
        while True:
            start = self.place
            try:
                value, end = _DECODER.raw_decode(self.buffer, start)
            except (ValueError, RecursionError) as error:
                if isinstance(error, RecursionError) or not self.more():
                    raise self.error(str(error)) from error
                continue
            if isinstance(value, int | float) and not self.buffer[end : end + 3].lstrip(_OF_NUMBERS) and self.more():
                continue  # the number may go on
            self.place += end - start
            return value

    def error(self, what: str) -> DataError:
        """The error of the place that is reached."""
        around = self.buffer[self.place : self.place + 60]
        return DataError(
            f"{self.name} is no JSON from character {self.used + self.place} on", found=f"{what}: {around!a}"
        )


def _items(scanner: _Scanner, name: str) -> Iterator[tuple[int | str, object]]:
    if name:
        _find(scanner, name)
    opening = scanner.peek()
    if opening not in ("[", "{"):
        if opening in ("", "]", "}"):
            raise scanner.error("a list is missing")
        found = scanner.value()
        where = f"{name} of {scanner.name}" if name else scanner.name
        raise DataError(f"{where} is no list", found=ascii(found)[:80], allowed="[...]")
    place = 0
    try:
        for key in _members(scanner, opening):
            yield (place if key is None else key), scanner.value()
            place += 1
        if not name and scanner.peek():
            raise scanner.error("something stands behind the end")
    except DataError as error:
        yield place, error


def _find(scanner: _Scanner, name: str) -> None:
    """Go to the value of a field of the outermost object."""
    if scanner.peek() != "{":
        raise DataError(f"{scanner.name} is no object", found=repr(scanner.peek()), allowed="{...}")
    for key in _members(scanner, "{"):
        if key == name:
            return
        scanner.value()
    raise DataError(f"{scanner.name} has no field {name!r}", found="nothing", allowed=f'{{"{name}": [...]}}')


def _members(scanner: _Scanner, opening: str) -> Iterator[str | None]:
    """Stop before the value of each member of a list or object; yield its key, None in a list."""
    closing = "]" if opening == "[" else "}"
    scanner.take(opening)
    if scanner.peek() == closing:
        scanner.take(closing)
        return
    while True:
        key = None
        if opening == "{":
            found = scanner.value()
            if not isinstance(found, str):
                raise scanner.error("a name is missing")
            scanner.take(":")
            key = found
        yield key
        if scanner.peek() == closing:
            scanner.take(closing)
            return
        scanner.take(",")
