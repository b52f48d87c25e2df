"""The gate before every reward: an answer that is not in its form is worth nothing, one that is 0.3 and more."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from . import Judge, Wanted

FORM_SHARE = 0.3
"""What the form alone is worth (ScoreRS, arXiv 2503.00743)."""
THINK = "First think about the picture between <think> and </think>, then answer between <answer> and </answer>."
_THOUGHT = re.compile(
    r"\s*<think>(?:(?!</?(?:think|answer)>).)*</think>\s*<answer>((?:(?!</?(?:think|answer)>).)*)</answer>\s*",
    re.DOTALL,
)


def answer_of(text: str, form: str) -> str | None:
    """Return the answer in a text of many lines, or None where it is not in its form.

    Args:
        text: what the model said.
        form: `think`: all of it is one thought and one answer, in their tags; `free`: it is the answer.
    """
    found = _THOUGHT.fullmatch(text) if form == "think" else None
    said = found[1].strip() if found else text.strip() if form == "free" else ""
    return said or None


def gated(
    texts: Sequence[str], wanted: Sequence[Wanted], judges: Mapping[str, Judge], other: str, form: str
) -> list[float]:
    """Return 0 for each text that is not in its form, else 0.3 + 0.7 times what the judge of its task says.

    Args:
        texts: what the model said.
        wanted: of each.
        judges: by task.
        other: the key of the judge of all other tasks.
        form: see `answer_of`.
    """
    values = [0.0] * len(texts)
    asked: dict[str, list[tuple[int, str]]] = {}
    for place, (text, truth) in enumerate(zip(texts, wanted, strict=True)):
        said = answer_of(text, form)
        if said is not None:
            asked.setdefault(truth.task if truth.task in judges else other, []).append((place, said))
    for task, rows in asked.items():
        worth = judges[task]([said for _, said in rows], [wanted[place] for place, _ in rows])
        for (place, _), value in zip(rows, worth, strict=True):
            values[place] = FORM_SHARE + (1 - FORM_SHARE) * value
    return values
