"""XML label files: a missing or wrong element is named."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

from lhrs_chat.errors import DataError


def parse(path: Path) -> ElementTree.Element:
    """Read a file.

    Raises:
        DataError: it cannot be read or is no XML.
    """
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise DataError(f"{path.name} is no XML", found=str(error)) from error


def text(element: ElementTree.Element, name: str) -> str:
    """The text of a child.

    Raises:
        DataError: there is none.
    """
    found = element.findtext(name)
    if found is None or not found.strip():
        raise DataError(f"<{element.tag}> lacks <{name}>", found=[child.tag for child in element])
    return found.strip()


def number(element: ElementTree.Element, name: str) -> float:
    """The number in a child.

    Raises:
        DataError: there is none.
    """
    return as_number(text(element, name), name)


def as_number(word: str, name: str) -> float:
    """Read a number.

    Raises:
        DataError: it is none, or not finite.
    """
    try:
        value = float(word)
    except ValueError as error:
        raise DataError(f"<{name}> is no number", found=word[:60]) from error
    if not math.isfinite(value):
        raise DataError(f"<{name}> is not finite", found=word[:60])
    return value


def size_px(element: ElementTree.Element) -> tuple[int, int] | None:
    """Width and height of `<size>`, None where it is left out or zero."""
    size = element.find("size")
    if size is None:
        return None
    width, height = int(number(size, "width")), int(number(size, "height"))
    return (width, height) if width > 0 and height > 0 else None
