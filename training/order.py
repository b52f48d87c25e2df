"""The order of a whole run: how often each row comes, which rows share a step, which share a pack. A seed fixes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from .recipe import DataPart, OptimPart

WINDOW = 32  # steps that are sorted together
PACK_WINDOW = 1024  # rows that are packed together


class Drawn(Protocol):
    """What is drawn from the mix: it knows where it comes from."""

    @property
    def source(self) -> str:
        """Name of the data set."""


class Long(Protocol):
    """What is grouped: it knows how many tokens it has."""

    def __len__(self) -> int:
        """Return the number of tokens."""


D = TypeVar("D", bound=Drawn)
L = TypeVar("L", bound=Long)


def step_rows(optim: OptimPart) -> int:
    """Rows or packs that make one step, over all batches and processes."""
    return optim.batch_images * optim.accumulate * int(os.environ.get("WORLD_SIZE", "1"))


def plan(items: Sequence[D], part: DataPart, rng: np.random.Generator) -> list[D]:
    """Draw one pass: each item as often as the mix says of its source, in random order."""
    drawn: list[D] = []
    for item in items:
        share = part.share(item.source)
        drawn += [item] * (int(share) + int(rng.random() < share % 1))
    return [drawn[i] for i in rng.permutation(len(drawn))]


def by_length(made: Sequence[L], together: int, rng: np.random.Generator) -> list[L]:
    """Order rows so that those of one step, `together`, are about equally long: less of a batch is padding."""
    window = together * WINDOW
    steps: list[list[L]] = []
    for start in range(0, len(made), window):
        near = sorted(made[start : start + window], key=len)
        cut = [near[i : i + together] for i in range(0, len(near), together)]
        steps += [cut[i] for i in rng.permutation(len(cut))]
    return [row for step in steps for row in step]


def packed(made: Sequence[L], longest: int, rng: np.random.Generator) -> list[tuple[L, ...]]:
    """Lay rows into packs of up to `longest` tokens, the longest first, each where the least room is left.

    Rows of one window are packed together and their packs shuffled, so that the order of the run stays random.
    """
    packs: list[tuple[L, ...]] = []
    for start in range(0, len(made), PACK_WINDOW):
        near = sorted(made[start : start + PACK_WINDOW], key=len, reverse=True)
        bins: list[list[L]] = []
        room: list[int] = []
        for row in near:
            fits = [(left, number) for number, left in enumerate(room) if left >= len(row)]
            if fits:
                _, best = min(fits)
                bins[best].append(row)
                room[best] -= len(row)
            else:
                bins.append([row])
                room.append(longest - len(row))
        packs += [tuple(bins[i]) for i in rng.permutation(len(bins))]
    return packs


def waste(steps: Sequence[Sequence[int]]) -> float:
    """Return the share of places that are padding, of batches with rows of these lengths."""
    slots = sum(max(lengths) * len(lengths) for lengths in steps if lengths)
    return 1 - sum(map(sum, steps)) / slots if slots else 0.0


def batch_lengths(rows: Sequence[L], batch: int, length: Callable[[L], int] = len) -> list[list[int]]:
    """Return the lengths of the rows of each batch of a run."""
    return [[length(row) for row in rows[start : start + batch]] for start in range(0, len(rows), batch)]
