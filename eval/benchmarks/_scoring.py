"""Parsing and scoring that several benchmarks share. All of it is strict: blank or unreadable is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lhrs_chat.schema import Targets
from lhrs_chat.text import answers

from . import Parsed, Question, Reply

YES_NO = ("yes", "no")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def reply_of(question: Question, text: str) -> Reply:
    """A reply where only the text counts: metrics of a whole set get no more than that."""
    return Reply(text, "brackets100", question.size_px)


def parse_choice(question: Question, reply: Reply) -> str | None:
    """The option that was chosen, as it stands in the question."""
    return answers.choice(reply.text, question.targets.choices)


def parse_closed(question: Question, reply: Reply) -> Parsed:
    """An answer of a fixed set: yes or no, a number where one is true, else a name."""
    targets = question.targets
    if targets.choices == YES_NO:
        said = answers.yes_no(reply.text)
        return None if said is None else YES_NO[0 if said else 1]
    if targets.numbers:
        number = answers.number(reply.text)
        return number.value if number is not None and number.unit in ("", targets.numbers[0].unit) else None
    return answers.label(reply.text, targets.choices)


def score_accuracy(question: Question, parsed: Parsed) -> dict[str, float]:
    """Right or wrong; `parsed` says whether the answer could be read."""
    right = parsed is not None and parsed == truth(question)
    return {"accuracy": float(right), "parsed": float(parsed is not None)}


def truth(question: Question) -> str | float | None:
    """The true answer: the number where there is one, else the text."""
    return question.targets.numbers[0].value if question.targets.numbers else question.targets.answer


def lettered(texts: Sequence[str]) -> tuple[str, ...]:
    """Options with letters before them: `A. water`."""
    return tuple(f"{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False))


def closed(answer: str, names: Sequence[str], **more: Any) -> Targets:
    """Targets of a closed question: `yes` and `no` where one of them is true, else all names."""
    choices = YES_NO if answer in YES_NO else tuple(name for name in names if name not in YES_NO)
    return Targets(answer=answer, choices=choices, **more)
