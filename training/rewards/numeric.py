"""1 where the number is the same, in whatever unit of its kind; a range, or two that differ, is none."""

from __future__ import annotations

import math

from lhrs_chat.text import answers

from . import Wanted, each

CLOSE = 1e-6


def worth(answer: str, wanted: Wanted) -> float:
    """Compare the number of an answer with that of the row."""
    numbers = wanted.targets.numbers
    right = numbers[0] if numbers else answers.number(wanted.answer)
    said = answers.number(answer)
    if right is None or said is None:
        return 0.0
    value = answers.in_unit(said, right.unit)
    return float(value is not None and math.isclose(value, right.value, rel_tol=CLOSE, abs_tol=CLOSE))


REWARD = each(worth)
