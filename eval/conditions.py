"""What is put before the model: the question as it is, a control that takes something away, or a corrupted picture.

A control is one entry of `CONTROLS`. A condition may show other pictures, alter their pixels, and reword the question
together with what is true of it; it is scored against what is true then.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from lhrs_chat.corruptions import CORRUPTIONS, parse
from lhrs_chat.errors import DataError
from lhrs_chat.plugins import nearest

from .benchmarks import BLIND, REAL, SHUFFLED, Question
from .corrupted import change, move
from .options import permute
from .records import Key, image_sha256

log = logging.getLogger(__name__)

Exchange = dict[tuple[Path, ...], tuple[Path, ...]]


@dataclass(frozen=True)
class Condition:
    """One way to put a question.

    Args:
        name: what it is called on the command line and in tables.
        about: what the model gets, in a few words.
        pictures: the question's own, none, or those of another question.
        alter: what is done to a picture: (H, W, 3) uint8 and a drawn number, to the same.
        reword: the question as it is asked and scored, with the same number; None where it cannot be asked so.
        corruption: what damages the picture, where the condition is one of a series.
        severity: how much, 1 to 5.
    """

    name: str
    about: str
    pictures: Literal["own", "none", "other"] = "own"
    alter: Callable[[np.ndarray, int], np.ndarray] | None = None
    reword: Callable[[Question, int], Question | None] | None = None
    corruption: str = ""
    severity: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """One question under one condition, with the pictures that are shown for it and the number drawn for them."""

    question: Question
    condition: Condition
    shown: tuple[Path, ...]
    drawn: int

    @property
    def key(self) -> Key:
        """What identifies the answer in the file."""
        return self.question.id, self.condition.name


def grey(pixels: np.ndarray, drawn: int) -> np.ndarray:
    """Every band becomes the mean of all: (H, W, 3) to the same."""
    mean = pixels.mean(axis=2, keepdims=True, dtype=np.float32).round().astype(np.uint8)
    return np.repeat(mean, pixels.shape[2], axis=2)


REAL_CONDITION = Condition(REAL, "the question and its picture")
CONTROLS: dict[str, Condition] = {
    control.name: control
    for control in (
        Condition(BLIND, "the question alone; the message has no image part", pictures="none"),
        Condition(SHUFFLED, "the question and another picture of the same set", pictures="other"),
        Condition("grey", "the picture with all bands averaged to grey", alter=grey),
        Condition("permuted", "the options in another order", reword=permute),
    )
}


def find(name: str) -> Condition:
    """The condition of a name: `real`, a control, or a corruption with its severity, such as `cloud:3`.

    Raises:
        DataError: there is none.
        ConfigError: there is no such corruption or severity.
    """
    if name == REAL:
        return REAL_CONDITION
    if name in CONTROLS:
        return CONTROLS[name]
    if ":" in name:
        ((corruption, severity),) = parse(name)
        about = f"the picture damaged: {CORRUPTIONS.get(corruption).summary}"
        return Condition(
            name,
            about,
            alter=partial(change, corruption, severity),
            reword=partial(move, corruption, severity),
            corruption=corruption,
            severity=severity,
        )
    known = [REAL, *CONTROLS]
    raise DataError(
        "no such condition",
        found=name,
        allowed=", ".join([*known, "a corruption with its severity, e.g. cloud:3"]),
        next_step=nearest(name, known),
    )


def in_order(names: Iterable[str]) -> list[Condition]:
    """Conditions by name, each once: real, the controls in their order, then corruptions by name and severity."""
    place = {name: number for number, name in enumerate((REAL, *CONTROLS))}
    return [find(name) for name in sorted(set(names), key=lambda name: (place.get(name, len(place)), name))]


def derange(questions: Sequence[Question], seed: int) -> Exchange:
    """Give every picture another one of its set, each exactly once, and of another scene wherever that is possible.

    Pictures are laid out scene by scene in random order and moved on by the size of the largest scene, or by half
    where one scene holds more than half of the set. The only picture of a set has none to be exchanged for.
    """
    exchange: Exchange = {}
    scenes: dict[str, dict[str, dict[tuple[Path, ...], None]]] = {}
    for question in questions:
        if question.images:
            scenes.setdefault(question.subset, {}).setdefault(question.scene_id, {})[question.images] = None
    for subset in sorted(scenes):
        groups = [sorted(scenes[subset][scene]) for scene in sorted(scenes[subset])]
        random.Random(f"{seed}/{subset}").shuffle(groups)
        pictures = list(dict.fromkeys(picture for group in groups for picture in group))
        step = min(max(len(group) for group in groups), len(pictures) // 2)
        if step == 0:
            log.warning("%s: there is one picture only, so that it cannot be shuffled", subset)
            continue
        for position, picture in enumerate(pictures):
            exchange[picture] = pictures[(position + step) % len(pictures)]
    return exchange


def choose(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """Keep at most `limit` questions of each set and task; a smaller limit keeps a part of what a larger one keeps."""
    if limit is None:
        return list(questions)
    if limit < 1:
        raise DataError("a limit is a number of questions", found=limit, allowed="1 or more")
    cells: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        cells.setdefault((question.subset, question.task), []).append(question)
    kept: set[str] = set()
    for cell in cells.values():
        ranked = sorted(cell, key=lambda q: hashlib.sha256(f"{seed}/{q.same_as or q.id}".encode()).digest())
        kept.update(question.id for question in ranked[:limit])
    return [question for question in questions if question.id in kept]


def plan(questions: Sequence[Question], names: Iterable[str], *, limit: int | None = None, seed: int = 0) -> list[Ask]:
    """Lay out what will be asked: condition by condition, answers of one length and pictures of one set together.

    A question that a condition does not apply to (no options to permute, no picture to take away) is not asked under
    it.
    """
    conditions = in_order(names)
    exchange = derange(questions, seed) if any(c.pictures == "other" for c in conditions) else {}
    chosen = choose(questions, limit, seed)
    asks = []
    for condition in conditions:
        own = [ask for question in chosen if (ask := _ask(question, condition, exchange, seed)) is not None]
        asks += sorted(own, key=lambda a: (a.question.max_new_tokens, a.question.subset, a.shown))
    return asks


def _ask(question: Question, condition: Condition, exchange: Exchange, seed: int) -> Ask | None:
    """None where the condition does not apply. What is random is drawn for the first picture, the same for all runs."""
    needs_picture = condition.pictures != "own" or condition.alter is not None
    if needs_picture and not question.images:
        return None
    shown = question.images
    if condition.pictures == "none":
        shown = ()
    elif condition.pictures == "other":
        if question.images not in exchange:
            return None
        shown = exchange[question.images]
    drawn = 0
    if condition.corruption:
        drawn = int.from_bytes(hashlib.sha256(f"{seed}/{image_sha256(shown[0])}".encode()).digest()[:4])
    if condition.reword is None:
        return Ask(question, condition, shown, drawn)
    reworded = condition.reword(question, drawn if condition.corruption else seed)
    return None if reworded is None else Ask(reworded, condition, shown, drawn)


def by_key(asks: Sequence[Ask]) -> Mapping[Key, Ask]:
    """Asks by question id and condition."""
    return {ask.key: ask for ask in asks}
