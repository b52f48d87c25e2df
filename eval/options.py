"""Putting the options of a question in another order, so that a habit of choosing `A` shows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from lhrs_chat.schema import Targets

from .benchmarks import Question

_LINE = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]+(?P<words>\S.*?)[ \t]*$", re.MULTILINE)
_LETTERED = re.compile(r"(?P<head>\(?(?P<letter>[A-Z])[).:]\s+)(?P<words>.+)", re.DOTALL)
_LETTERS = re.compile(r"\(?[A-Z](?:(?:\s*[,;/&]\s*|\s+and\s+|\s*)[A-Z])*\)?\.?")

Span = tuple[int, int]


def permute(question: Question, seed: int) -> Question | None:
    """The same question with its options moved round, and what is true told in the new letters; None without options.

    The options are the choices where they stand in the text, with a letter before them or without one; or, where the
    choices are bare letters, the lines of the text that begin with these. They move on by 1 to n - 1 places, by
    question and seed, so that no option stays where it was.
    """
    text, targets = question.text, question.targets
    spans = spelled(text, targets.choices) or _lines(text, targets.choices)
    letters = [chr(ord("A") + place) for place in range(len(spans))]
    if not spans:
        spans = _named(text, targets.choices)
    count = len(spans)
    if count < 2:
        return None
    step = 1 + int.from_bytes(hashlib.sha256(f"{seed}/{question.id}".encode()).digest()[:4]) % (count - 1)
    words = [text[start:end] for start, end in spans]
    moved = words[-step:] + words[:-step]
    for (start, end), new in reversed(list(zip(spans, moved, strict=True))):
        text = text[:start] + new + text[end:]
    now = {letter: letters[(place + step) % count] for place, letter in enumerate(letters)}
    return replace(question, text=text, targets=_renamed(targets, now))


def spelled(text: str, choices: Sequence[str]) -> list[Span]:
    """Where the words of `A. water`, `B. forest` stand in the text, behind their letters and in this order."""
    spans: list[Span] = []
    at = 0
    for choice in choices:
        option = _LETTERED.fullmatch(choice)
        if option is None:
            return []
        pattern = rf"(?<!\w)\(?{option['letter']}[).:]\s*(?P<words>{re.escape(option['words'])})"
        found = re.compile(pattern).search(text, at)
        if found is None:
            return []
        spans.append(found.span("words"))
        at = found.end()
    return spans


def _lines(text: str, choices: Sequence[str]) -> list[Span]:
    """Where the words of lettered lines stand, if their letters are the choices."""
    found = list(_LINE.finditer(text))
    return [match.span("words") for match in found] if found and [m[1] for m in found] == list(choices) else []


def _named(text: str, choices: Sequence[str]) -> list[Span]:
    """Where the choices stand in the text, each once as whole words."""
    spans: list[Span] = []
    for choice in choices:
        found = [match.span() for match in re.finditer(rf"(?<!\w){re.escape(choice)}(?!\w)", text, re.IGNORECASE)]
        if len(found) != 1:
            return []
        spans += found
    spans.sort()
    return spans if all(one[1] <= other[0] for one, other in pairwise(spans)) else []


def _renamed(targets: Targets, now: Mapping[str, str]) -> Targets:
    """What is true, in the new letters. Words that are true stay true."""
    options = [match for choice in targets.choices if (match := _LETTERED.fullmatch(choice))]
    words = {now[match["letter"]]: match["words"] for match in options if match["letter"] in now}

    def answer(given: str) -> str:
        option = _LETTERED.fullmatch(given)
        if option is not None and option["letter"] in now:
            return given.replace(option["letter"], now[option["letter"]], 1)
        if _LETTERS.fullmatch(given) is None or not set(re.findall("[A-Z]", given)) <= set(now):
            return given
        return re.sub("[A-Z]", lambda letter: now[letter[0]], given)

    choices = targets.choices
    if words:
        choices = tuple(match["head"] + words[match["letter"]] for match in options)
    return replace(
        targets,
        answer=None if targets.answer is None else answer(targets.answer),
        choices=choices,
        labels=tuple(answer(label) for label in targets.labels),
    )
