"""RSVQA: template questions from OpenStreetMap, in files of questions, answers and images that point at each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Number, Targets

from . import Parsed, Protocol, Question, Reply
from ._reading import Pictures, Row, checked, read_json
from ._scoring import closed, parse_closed, score_accuracy

PRESENCE, COMPARISON, RURAL, COUNT, AREA = "presence", "comp", "rural_urban", "count", "area"
CLOSED = {PRESENCE: ("yes", "no"), COMPARISON: ("yes", "no"), RURAL: ("rural", "urban")}
NUMERIC = (COUNT, AREA)
UNITS = {COUNT: "", AREA: "m2"}
SUFFIX = " Answer with one word or one number."
RANGES = (0.0, 10.0, 100.0, 1000.0)
TOKENS = 16


@dataclass(frozen=True)
class Split:
    """One split: its name, and how its three files begin (`LR_split_test`)."""

    subset: str
    prefix: str


def load(
    folder: Path, splits: Sequence[Split], images: Sequence[str], tasks: Sequence[str], licence: str
) -> list[Question]:
    """The active questions of the splits that lie in the folder.

    Args:
        folder: holds `PREFIX_questions.json`, `PREFIX_answers.json` and `PREFIX_images.json`.
        splits: those that are looked for.
        images: folders of the pictures, below `folder`.
        tasks: the question types that may occur.
        licence: terms of the pictures.

    Raises:
        DataError: a row is broken, an answer belongs to no question, a picture is missing.
    """
    pictures = Pictures([folder / name for name in images])
    questions = []
    for split in splits:
        if (folder / f"{split.prefix}_questions.json").is_file():
            questions += _load_split(folder, split, pictures, tasks, licence)
    return checked(questions, folder)


def _load_split(folder: Path, split: Split, pictures: Pictures, tasks: Sequence[str], licence: str) -> list[Question]:
    questions = []
    for number, row, shown, said in linked(folder, split.prefix):
        image = shown.word("id")
        path = pictures.path(f"{image}.tif", row.where)
        task = row.one_of("type", tasks)
        questions.append(
            Question(
                id=f"{split.prefix}#{number}",
                task=task,
                text=row.text("question") + SUFFIX,
                images=(path,),
                size_px=pictures.size_px(path, row.where),
                subset=split.subset,
                scene_id=f"{split.prefix}/{image}",
                licence=licence,
                targets=targets(task, said, "answer"),
                max_new_tokens=TOKENS,
            )
        )
    return questions


def linked(folder: Path, prefix: str) -> Iterator[tuple[str, Row, Row, Row]]:
    """Yield number and row of each active question of a split, with the rows of its picture and of its first answer.

    Raises:
        DataError: a question points at no active picture or answer, or a number stands there twice.
    """
    said = _active(folder / f"{prefix}_answers.json", "answers")
    shown = _active(folder / f"{prefix}_images.json", "images")
    for number, row in _active(folder / f"{prefix}_questions.json", "questions").items():
        image, ids = row.word("img_id"), row.values.get("answers_ids")
        if image not in shown:
            raise DataError(f"{row.where}: no active image has this number", found=image)
        if not isinstance(ids, list) or not ids or str(ids[0]) not in said:
            raise row.bad("answers_ids", "a list with the number of an active answer")
        yield number, row, shown[image], said[str(ids[0])]


def _active(path: Path, name: str) -> dict[str, Row]:
    """The rows of a file by their number, without those that are switched off."""
    rows: dict[str, Row] = {}
    for row in read_json(path).rows(name):
        if row.values.get("active") is True:
            number = row.word("id")
            if number in rows:
                raise DataError(f"{row.where}: this number stands in {path.name} twice", found=number)
            rows[number] = row
    return rows


def targets(task: str, row: Row, name: str) -> Targets:
    """What is true, from an answer as it is published: `yes`, `rural`, `12`, `350m2`.

    Raises:
        DataError: the answer is not one of this type.
    """
    answer = row.word(name).lower()
    if task in CLOSED:
        if answer not in CLOSED[task]:
            raise row.bad(name, ", ".join(CLOSED[task]))
        return closed(answer, CLOSED[task])
    match = re.fullmatch(r"(\d+)(?:m2)?", answer)
    if match is None:
        raise row.bad(name, "a whole number, m2 after it for an area")
    return Targets(answer=answer, numbers=(Number(float(match[1]), UNITS[task]),))


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """Accuracy; for numbers also whether they fall in the same range as the true one: 0, to 10, 100, 1000, more."""
    found = score_accuracy(question, parsed)
    if question.targets.numbers:
        near = isinstance(parsed, float) and _range(parsed) == _range(question.targets.numbers[0].value)
        found["same_range"] = float(near)
    return found


def _range(value: float) -> int:
    return sum(value > limit for limit in RANGES)


# ---------------------------------------------------------------- the scorer of LHRS-Bot

_NUMBERS = dict(
    zip(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
        map(str, range(11)),
        strict=True,
    )
)
_NUMBERS["none"] = "0"
_MARKS = (*';/[]"{}()=+', "\\", *"_-><@`,?!")


def plain(text: str) -> str:
    """Text as the VQA challenge compares it: lower case, no punctuation, no articles, digits for number words.

    Its table of contractions is left out: no answer of RSVQA holds one, so it cannot change a score.
    """
    words = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    words = words.replace("\n", " ").replace("\t", " ").strip()
    left = words
    for mark in _MARKS:
        beside_space = f"{mark} " in words or f" {mark}" in words
        left = left.replace(mark, "" if beside_space else " ")
    left = re.sub(r"\.(?!\d)", "", left, count=32)
    found = (_NUMBERS.get(word, word) for word in left.split())
    return " ".join(word for word in found if word not in ("a", "an", "the"))


def parse_plain(question: Question, reply: Reply) -> str:
    """The whole answer, made plain."""
    return plain(reply.text)


def score_inside(question: Question, parsed: Parsed) -> dict[str, float]:
    """Right where the plain answer is a part of the true one; counts and areas are left out."""
    if question.task in NUMERIC:
        return {}
    return {"accuracy": float(str(parsed) in (question.targets.answer or "")), "parsed": 1.0}


def parse_before_comma(question: Question, reply: Reply) -> str:
    """What stands before the first full stop and comma, without spaces, in lower case."""
    return reply.text.replace(" ", "").split(".")[0].split(",")[0].strip().lower()


def protocols(name: str, tasks: Sequence[str]) -> dict[str, Protocol]:
    """The protocols of one of the two sets."""
    main = {task: "same_range" if task == AREA else "accuracy" for task in tasks}
    official: Mapping[str, str] = {task: "accuracy" for task in tasks if task not in NUMERIC}

    def published(kind: str, parse: Callable[[Question, Reply], Parsed], quirks: tuple[str, ...]) -> Protocol:
        return Protocol(id=f"{name}-{kind}-1", parse=parse, score=score_inside, main=official, quirks=quirks)

    counts = "Counts and areas are not scored."
    return {
        "strict": Protocol(id=f"{name}-strict-1", parse=parse_closed, score=score, main=main),
        "official": published(
            "official",
            parse_plain,
            (
                counts,
                "This is the scorer of LHRS-Bot: an answer that is a part of the true one is right, so that an empty "
                "answer always is.",
                "The word `none` is read as 0.",
            ),
        ),
        "scorers": published(
            "scorers",
            parse_before_comma,
            (
                counts,
                "This is the scorer of ScoreRS: what stands before the first full stop and comma is right where it is "
                "a part of the true answer, so that an empty answer always is.",
            ),
        ),
    }
