"""RSVG (Sun et al. 2022): expressions and boxes as tuples (file, [x1, y1, x2, y2], expression, ...) in a torch file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.formats.rows import Reject, each
from lhrs_chat.formats.voc_grounding import Referred
from lhrs_chat.schema import Box


@dataclass(frozen=True)
class _Entry:
    place: int
    row: object
    where: str


def referred(rows: Iterable[object], file: str, reject: Reject | None = None) -> Iterator[Referred]:
    """Yield the expressions of a file whose rows were loaded; the number of each is its place.

    Args:
        rows: what the file holds.
        file: its name, for errors.
        reject: told of broken rows.

    Raises:
        DataError: a row is broken, and there is no `reject`.
    """
    entries = (_Entry(place, row, f"row {place} of {file}") for place, row in enumerate(rows))
    yield from each(entries, _referred, reject)


def _referred(entry: _Entry) -> Referred:
    row, where = entry.row, entry.where
    if not isinstance(row, list | tuple) or len(row) < 3 or not isinstance(row[0], str) or not isinstance(row[2], str):
        raise DataError(
            f"{where} is broken", found=ascii(row)[:120], allowed="(name, [x1, y1, x2, y2], expression, ...)"
        )
    try:
        x1, y1, x2, y2 = (float(value) for value in row[1])
        return Referred(entry.place, row[0], row[2], Box((x1, y1, x2, y2), "pixel"), where)
    except (TypeError, ValueError, OverflowError, GeoError) as error:
        raise DataError(f"{where}: bad field 'box'", found=ascii(row[1])[:80], allowed="[x1, y1, x2, y2]") from error
