"""How question and answer are put before a score model, by name.

Three layouts of ScoreRS are in use; scores of one do not compare with those of another.

`answer`: pictures, question | answer; no opening of another turn. ScoreRS was trained with it.
`user`: pictures, answer | the opening of the assistant's turn; its README shows this one.
`text_first`: question, pictures | answer; its best-of-N and its reward server write this one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lhrs_chat.models.scorers import Judged

Turns = list[dict[str, Any]]
TRAINED_WITH = "answer"
"""The layout of the score models that are trained here."""


@dataclass(frozen=True)
class Layout:
    """The turns of one row, in the form of transformers, and whether the assistant's turn is opened after them."""

    turns: Callable[[Judged], Turns]
    opens: bool = False


def _images(row: Judged) -> list[dict[str, str]]:
    return [{"type": "image"} for _ in row.images]


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}] if text else []


def _asked(row: Judged) -> list[tuple[str, str]]:
    return [*row.earlier, (row.question, row.answer)]


def _answer(row: Judged) -> Turns:
    return _talk(row, lambda question, first: [*(_images(row) if first else []), *_text(question)])


def _text_first(row: Judged) -> Turns:
    return _talk(row, lambda question, first: [*_text(question), *(_images(row) if first else [])])


def _talk(row: Judged, user: Callable[[str, bool], list[dict[str, str]]]) -> Turns:
    turns: Turns = []
    for question, answer in _asked(row):
        turns.append({"role": "user", "content": user(question, not turns)})
        turns.append({"role": "assistant", "content": _text(answer)})
    return turns


def _user(row: Judged) -> Turns:
    said = "\n".join(text for pair in _asked(row) for text in pair if text)
    return [{"role": "user", "content": [*_images(row), *_text(said)]}]


LAYOUTS = {"answer": Layout(_answer), "user": Layout(_user, opens=True), "text_first": Layout(_text_first)}


def fingerprint(name: str, chat_template: str) -> str:
    """Return what decides the prompt of a row, as one text to be hashed."""
    layout, row = LAYOUTS[name], Judged("A", "Q", (np.zeros((1, 1, 3), np.uint8),), (("q", "a"),))
    return json.dumps([name, layout.opens, layout.turns(row), chat_template])
