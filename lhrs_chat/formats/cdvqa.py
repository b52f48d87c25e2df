"""CDVQA (Yuan et al. 2022): questions about two dates of the SECOND data set, in RSVQA's layout, 19 fixed answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.formats import rsvqa
from lhrs_chat.formats.rows import Reject, each

YES_NO = ("yes", "no")
COVERS = ("NVG_surface", "buildings", "low_vegetation", "playgrounds", "trees", "water")
RANGES = ("0", *(f"{low}_to_{low + 10}" for low in range(0, 100, 10)))
CHANGE, INCREASE, DECREASE = "change_or_not", "increase_or_not", "decrease_or_not"
TYPES = {
    **dict.fromkeys((CHANGE, INCREASE, DECREASE), YES_NO),
    **dict.fromkeys(("smallest_change", "largest_change", "change_to_what"), COVERS),
    **dict.fromkeys(("change_ratio", "change_ratio_types"), RANGES),
}
BEFORE, AFTER = ("im1", "A"), ("im2", "B")
"""Folders of SECOND that hold the pictures of the first and of the second date."""


@dataclass(frozen=True)
class Asked:
    """One question: its number, type and text, the file name of both pictures, the answer as published."""

    number: str
    kind: str
    text: str
    file: str
    answer: str
    where: str


def questions(folder: Path, split: str, reject: Reject | None = None) -> Iterator[Asked]:
    """Yield the active questions of a split: `Train`, `Val`, `Test` or `Test2`.

    Raises:
        DataError: a file is missing; without `reject` also for a broken row.
    """
    yield from each(rsvqa.linked(folder, split, reject), _asked, reject)


def _asked(asked: rsvqa.Asked) -> Asked:
    kind = asked.row.one_of("type", TYPES)
    if asked.answer not in TYPES[kind]:
        raise DataError(f"{asked.where}: bad field 'answer'", found=asked.answer[:80], allowed=", ".join(TYPES[kind]))
    return Asked(
        asked.number, kind, asked.row.text("question"), asked.image.text("file_name"), asked.answer, asked.where
    )
