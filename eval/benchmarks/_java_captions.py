"""METEOR and SPICE in caption benchmarks, on machines that have the programs.

Each start of such a program takes seconds, so that no set of captions is given to one twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

import numpy as np

from lhrs_chat.errors import LhrsError
from lhrs_chat.metrics.java_captions import Meteor, meteor, spice

from . import Question

log = logging.getLogger(__name__)

METEOR, SPICE = "METEOR", "SPICE"
_TRIAL = "a ship on the sea"


@cache
def programs() -> tuple[str, ...]:
    """The programs that run here, tried once; one line in the log says what the others lack."""
    found: list[str] = []
    lacking: dict[str, str] = {}
    for name, program in ((METEOR, meteor), (SPICE, spice)):
        try:
            program([_TRIAL], [[_TRIAL]])
        except LhrsError as error:
            lacking[name] = "; ".join(part.strip() for part in str(error).splitlines())
        else:
            found.append(name)
    if lacking:
        log.warning("captions are scored without %s: %s", " and ".join(lacking), " | ".join(lacking.values()))
    return tuple(found)


def each(questions: Sequence[Question], texts: Sequence[str]) -> list[dict[str, float]]:
    """METEOR by caption, as `meteor_mean`, and SPICE, which is 0 where its program gives no number."""
    found: list[dict[str, float]] = [{} for _ in questions]
    if METEOR in programs():
        for own, value in zip(found, _meteor(*_key(questions, texts)).each, strict=True):
            own["meteor_mean"] = float(value)
    if SPICE in programs():
        for own, value in zip(found, _spice(*_key(questions, texts)), strict=True):
            own["spice"] = float(value)
    return found


def whole(questions: Sequence[Question], texts: Sequence[str]) -> dict[str, float]:
    """METEOR of the set, which is the published one: counts of all captions together, not the mean over captions."""
    return {"meteor": _meteor(*_key(questions, texts)).corpus} if METEOR in programs() else {}


def _key(questions: Sequence[Question], texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    return tuple(texts), tuple(question.targets.captions for question in questions)


@cache
def _meteor(texts: tuple[str, ...], truths: tuple[tuple[str, ...], ...]) -> Meteor:
    return meteor(texts, truths)


@cache
def _spice(texts: tuple[str, ...], truths: tuple[tuple[str, ...], ...]) -> np.ndarray:
    values = spice(texts, truths)
    return np.where(np.isnan(values), 0.0, values)
