"""RSVQA: template questions from OpenStreetMap, in files of questions, answers and images that point at each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhrs_chat.formats import rsvqa
from lhrs_chat.formats.rows import Pictures
from lhrs_chat.formats.rsvqa import AREA, COUNT

from . import Parsed, Protocol, Question, Reply
from ._reading import checked
from ._scoring import parse_closed, score_accuracy

NUMERIC = (COUNT, AREA)
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
    for asked in rsvqa.linked(folder, split.prefix):
        image = asked.image.word("id")
        path = pictures.path(f"{image}.tif", asked.where)
        task = asked.row.one_of("type", tasks)
        questions.append(
            Question(
                id=f"{split.prefix}#{asked.number}",
                task=task,
                text=asked.row.text("question") + SUFFIX,
                images=(path,),
                size_px=pictures.size_px(path, asked.where),
                subset=split.subset,
                scene_id=f"{split.prefix}/{image}",
                licence=licence,
                targets=rsvqa.truth(task, asked.answer, asked.where),
                max_new_tokens=TOKENS,
            )
        )
    return questions


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """Accuracy; for numbers also whether they fall in the same range as the true one: 0, to 10, 100, 1000, more.

    The range is what RSVQA asks of an area, so that it is the accuracy there, and the number itself is `exact`.
    """
    found = score_accuracy(question, parsed)
    if question.targets.numbers:
        near = isinstance(parsed, float) and _range(parsed) == _range(question.targets.numbers[0].value)
        if question.task == AREA:
            return {"accuracy": float(near), "exact": found["accuracy"], "parsed": found["parsed"]}
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


def protocols(name: str, tasks: Sequence[str], strict: str) -> dict[str, Protocol]:
    """The protocols of one of the two sets, `strict` being the id of the strict one."""
    official: Mapping[str, str] = {task: "accuracy" for task in tasks if task not in NUMERIC}

    def published(kind: str, parse: Callable[[Question, Reply], Parsed], quirks: tuple[str, ...]) -> Protocol:
        return Protocol(id=f"{name}-{kind}-1", parse=parse, score=score_inside, main=official, quirks=quirks)

    counts = "Counts and areas are not scored."
    return {
        "strict": Protocol(id=strict, parse=parse_closed, score=score, main=dict.fromkeys(tasks, "accuracy")),
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
