"""1 where the right one of the choices is taken, by its letter or its words; two at once are none."""

from __future__ import annotations

from lhrs_chat.text import answers

from . import Wanted, each


def worth(answer: str, wanted: Wanted) -> float:
    """Compare the choice of an answer with that of the row."""
    choices = wanted.targets.choices
    if not choices:
        return 0.0
    right = answers.choice(wanted.targets.answer or wanted.answer, choices)
    return float(right is not None and answers.choice(answer, choices) == right)


REWARD = each(worth)
