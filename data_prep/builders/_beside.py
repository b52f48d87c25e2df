"""What the other pictures of a batch show: what is said wrongly of one picture is what is true of others.

Numbers and colours are drawn once, as often as others show them for the same thing; one that is too near to the truth
is none. So of two texts neither holds the more usual value, and words alone hardly tell which of them is false.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lhrs_chat.schema import Sample

from ._facts import Facts, pick

MOST_COUNTED = 30
COLOURS = ("white", "black", "gray", "grey", "red", "green", "blue", "yellow", "brown", "orange")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NAMED = re.compile(rf"\b({'|'.join((*COLOURS, *NUMBERS))})\b(?= (\w+))?")
_DRAWS = 2
_LEAST, _CLEAR, _FAR = 1.25, 1.625, 2.5  # the larger of two numbers by the smaller: below is too near, of severity 1, 2
_USUAL = (1, 2, 3, 4)  # counts, where no other picture tells any


@dataclass(frozen=True)
class Shown:
    """One picture: the row of its facts and what they tell.

    Args:
        row: the facts.
        things: names of things and covers.
        counts: how many there are of a thing.
        heights_m: height of the highest one of a kind, rounded.
        named: colours and numbers that its captions say before a word.
    """

    row: Sample
    things: tuple[str, ...]
    counts: Mapping[str, int]
    heights_m: Mapping[str, int]
    named: Mapping[str, tuple[str, ...]]

    @staticmethod
    def of(row: Sample) -> Shown:
        """Read a row."""
        facts, named = Facts(row), defaultdict(list)
        for caption in row.targets.captions:
            for said, word in _NAMED.findall(caption.lower()):
                named[word].append(said)
        counts = {name: count for name, count in facts.counts.items() if 0 < count <= MOST_COUNTED}
        words = {word: tuple(said) for word, said in named.items()}
        return Shown(row, tuple(facts.present), counts, facts.highest_m, words)


@dataclass(frozen=True)
class Beside:
    """The pictures of other scenes of the same source and split."""

    shown: tuple[Shown, ...] = ()

    @cached_property
    def scenes(self) -> list[str]:
        """Scene classes, each as often as it comes."""
        return [label for one in self.shown for label in one.row.targets.labels[:1]]

    @cached_property
    def things(self) -> list[str]:
        """Names of things and covers, each as often as it comes."""
        return [name for one in self.shown for name in one.things]

    def counts(self, name: str) -> list[int]:
        """How many there are of a thing; of all things, where no other picture shows this one."""
        same = [one.counts[name] for one in self.shown if name in one.counts]
        return same or [count for one in self.shown for count in one.counts.values()] or list(_USUAL)

    def heights_m(self, name: str) -> list[int]:
        """How high the highest ones of a kind are."""
        return [one.heights_m[name] for one in self.shown if name in one.heights_m]

    def named(self, word: str) -> list[str]:
        """Colours and numbers that captions say before a word."""
        return [said for one in self.shown for said in one.named.get(word, ())]


class Neighbours:
    """Tells of each row of a batch what the others show.

    Args:
        rows: the batch.
    """

    def __init__(self, rows: Sequence[Sample]) -> None:
        self._groups: dict[tuple[str, str], list[Shown]] = defaultdict(list)
        for row in rows:
            self._groups[row.source, row.split].append(Shown.of(row))

    def of(self, sample: Sample) -> Beside:
        """Return what stands beside a row."""
        near = self._groups[sample.source, sample.split]
        return Beside(tuple(one for one in near if one.row.scene_id != sample.scene_id))


def wrong_numbers(number: int, others: Sequence[int], rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Draw up to two of `others` that are clearly not `number`, and say how bad each one is, from 1 to 3."""
    for _ in range(_DRAWS if others else 0):
        wrong = pick(rng, others)
        apart = max(number, wrong) / min(number, wrong)
        if apart < _LEAST:
            return
        yield wrong, 1 + (apart > _CLEAR) + (apart > _FAR)
