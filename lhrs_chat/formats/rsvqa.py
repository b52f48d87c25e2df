"""RSVQA (Lobry et al. 2020): questions, answers and images in three JSON files that point at each other by number.

`PREFIX_questions.json`, `PREFIX_answers.json` and `PREFIX_images.json` each hold a list of rows with `id` and `active`;
a question names its picture (`img_id`) and its answers (`answers_ids`). CDVQA is published in the same layout. Rows are
switched off by `active: false`: each split's files hold the numbers of all splits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from sys import intern

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Reject, Row, each, stream
from lhrs_chat.schema import Number, Targets

PRESENCE, COMPARISON, RURAL, COUNT, AREA = "presence", "comp", "rural_urban", "count", "area"
CLOSED = {PRESENCE: ("yes", "no"), COMPARISON: ("yes", "no"), RURAL: ("rural", "urban")}
UNITS = {COUNT: "", AREA: "m2"}


@dataclass(frozen=True)
class Asked:
    """One active question.

    Args:
        number: of the question.
        row: its row.
        image: the row of its picture.
        answer: its first answer, as published.
    """

    number: str
    row: Row
    image: Row
    answer: str

    @property
    def where(self) -> str:
        """Its place, for errors."""
        return self.row.where


def linked(folder: Path, prefix: str, reject: Reject | None = None) -> Iterator[Asked]:
    """Yield the active questions of a split. Of the answers no more than number and text is kept in memory.

    Args:
        folder: holds the three files.
        prefix: how their names begin, such as `LR_split_train`.
        reject: told of broken rows.

    Raises:
        DataError: a file is missing; without `reject` also where a row is broken, a question points at no active
            picture or answer, or a number stands there twice.
    """
    said = {
        number: intern(answer)
        for number, answer in each(
            (row for _, row in _active(folder / f"{prefix}_answers.json", "answers", reject)),
            lambda row: (row.word("id"), row.word("answer")),
            reject,
        )
    }
    shown = dict(_active(folder / f"{prefix}_images.json", "images", reject))

    def link(row: Row) -> Asked:
        image, ids = row.word("img_id"), row.values.get("answers_ids")
        if image not in shown:
            raise DataError(f"{row.where}: no active image has this number", found=image)
        if not isinstance(ids, list) or not ids or str(ids[0]) not in said:
            raise row.bad("answers_ids", "a list with the number of an active answer")
        return Asked(row.word("id"), row, shown[image], said[str(ids[0])])

    questions = (row for _, row in _active(folder / f"{prefix}_questions.json", "questions", reject))
    yield from each(questions, link, reject)


def _active(path: Path, name: str, reject: Reject | None) -> Iterator[tuple[str, Row]]:
    """Number and row of the rows of a file that are not switched off."""
    seen: set[str] = set()

    def number_of(row: Row) -> tuple[str, Row]:
        number = row.word("id")
        if number in seen:
            raise DataError(f"{row.where}: this number stands in {path.name} twice", found=number)
        seen.add(number)
        return number, row

    yield from each((row for row in stream(path, name, reject) if row.values.get("active") is True), number_of, reject)


def truth(kind: str, answer: str, where: str) -> Targets:
    """What is true, from an answer as it is published: `yes`, `rural`, `12`, `350m2`.

    Args:
        kind: the type of the question.
        answer: as published.
        where: its place, for the error.

    Raises:
        DataError: the answer is not one of this type.
    """
    said = answer.lower()
    if kind in CLOSED:
        if said not in CLOSED[kind]:
            raise DataError(f"{where}: bad field 'answer'", found=answer, allowed=", ".join(CLOSED[kind]))
        return Targets(answer=said, choices=CLOSED[kind])
    match = re.fullmatch(r"([0-9]{1,15})(?:m2)?", said)
    if match is None:
        raise DataError(
            f"{where}: bad field 'answer'", found=answer[:80], allowed="a whole number, m2 after it for an area"
        )
    return Targets(answer=said, numbers=(Number(float(match[1]), UNITS[kind]),))
