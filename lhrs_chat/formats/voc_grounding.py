"""DIOR-RSVG (Zhan et al. 2023): referring expressions in Pascal VOC files, and lists of numbers that make the splits.

`Annotations/*.xml` hold a picture (`filename`) and its objects (`name`, `bndbox`, `description`); `train.txt`,
`val.txt` and `test.txt` hold numbers of objects, counted over all XML files in the order of their names.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.formats.rows import Reject, each
from lhrs_chat.schema import Box

SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Referred:
    """One object: its number, the file of its picture, its expression, its box (pixel; class as label), its place."""

    number: int
    file: str
    expression: str
    box: Box
    where: str


@dataclass(frozen=True)
class _Entry:
    number: int
    file: str
    item: ElementTree.Element
    where: str


def referred(folder: Path, split: str, reject: Reject | None = None) -> Iterator[Referred]:
    """Yield the objects of one split.

    Args:
        folder: holds `Annotations/*.xml` and `SPLIT.txt`.
        split: name of the list.
        reject: told of broken objects. A broken file stops the reading all the same: its objects would shift the
            numbers of all that follow.

    Raises:
        DataError: an XML file or the list is broken, a number is no object; without `reject` also for a broken object.
    """
    wanted = _numbers(folder / f"{split}.txt")
    entries = (entry for entry in _entries(folder / "Annotations") if entry.number in wanted)

    def noted() -> Iterator[_Entry]:
        for entry in entries:
            wanted.discard(entry.number)
            yield entry

    yield from each(noted(), _referred, reject)
    if wanted:
        raise DataError(f"{split}.txt names objects that no XML file holds", found=sorted(wanted)[:5])


def _numbers(path: Path) -> set[int]:
    found: set[int] = set()
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} cannot be read", found=path) from error
    for place, line in enumerate(lines, start=1):
        if not line.isdecimal() or len(line) > 12:
            raise DataError(f"line {place} of {path.name} is no number of an object", found=line[:80])
        if int(line) in found:
            raise DataError(f"line {place} of {path.name}: two questions have one id", found=line)
        found.add(int(line))
    return found


def _entries(folder: Path) -> Iterator[_Entry]:
    """Every object in the order of file names."""
    number = 0
    for path in sorted(folder.glob("*.xml")):
        try:
            root = ElementTree.parse(path).getroot()
        except (ElementTree.ParseError, OSError, ValueError) as error:
            raise DataError(f"{path.name} is no XML", found=str(error)) from error
        name = _text(root, "filename", path.name)
        for place, item in enumerate(root.findall("object")):
            yield _Entry(number, name, item, f"object {place} of {path.name}")
            number += 1


def _referred(entry: _Entry) -> Referred:
    expression = _text(entry.item, "description", entry.where)
    return Referred(entry.number, entry.file, expression, _box(entry), entry.where)


def _text(item: ElementTree.Element, name: str, where: str) -> str:
    text = item.findtext(name)
    if text is None or not text.strip():
        raise DataError(f"{where}: bad field {name!r}", found=text, allowed="a text")
    return text.strip()


def _box(entry: _Entry) -> Box:
    try:
        x1, y1, x2, y2 = (float(entry.item.findtext(f"bndbox/{side}") or "") for side in SIDES)
        return Box((x1, y1, x2, y2), "pixel", (entry.item.findtext("name") or "").strip())
    except (ValueError, GeoError) as error:
        raise DataError(
            f"{entry.where}: bad field 'bndbox'", found=str(error), allowed="xmin, ymin, xmax, ymax"
        ) from error
