"""What the objective `reward` draws of preference rows, whatever model is taught: their order, and what a batch is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample

from ..order import by_length, plan, step_rows
from ..preferences import TASK, of_split
from ..recipe import Recipe
from ..stage import TOLD, Told
from ._rows import spread

log = logging.getLogger(__name__)


class Group(Protocol):
    """Rows whose texts are scored together."""

    @property
    def source(self) -> str:
        """The data set."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the rows."""

    @property
    def errors(self) -> tuple[str, ...]:
        """What is wrong with the worse texts of each row."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Texts of each row, the best one first."""

    def __len__(self) -> int:
        """Return the number of tokens."""


G = TypeVar("G", bound=Group)


@dataclass(frozen=True)
class Drawn(Generic[G]):
    """The groups of a run.

    Args:
        rows: to learn from, in their order.
        held_out: to evaluate on.
        kinds: what is wrong with worse texts.
    """

    rows: list[G]
    held_out: list[G]
    kinds: tuple[str, ...]

    def every(self) -> Iterator[G]:
        """Yield all groups, those that come more than once as often."""
        yield from self.rows
        yield from self.held_out

    def told(self, some: Sequence[G], slots: int) -> dict[str, Any]:
        """Say what a batch of `some` groups is made of: `sizes` and `errors`, (rows,), and what is `TOLD`."""
        errors = torch.tensor([self.kinds.index(kind) for one in some for kind in one.errors])
        ids = tuple(name for one in some for name in one.ids)
        sizes = torch.tensor([size for one in some for size in one.sizes])
        return {"sizes": sizes, "errors": errors, TOLD: Told(ids, errors, sum(map(len, some)), slots, len(ids))}


def draw(recipe: Recipe, group: Callable[[Iterable[Sample]], list[G]]) -> Drawn[G]:
    """Read the preference rows of a recipe.

    Args:
        recipe: of the stage.
        group: makes groups of rows.

    Raises:
        DataError: there is nothing to learn from.
    """
    part, rng = recipe.data, np.random.default_rng(recipe.seed)

    def read(split: str) -> list[G]:
        return group(row for row in of_split(part.folder, split) if part.share(row.source))

    groups = read("train")
    drawn = [one for _ in range(part.passes) for one in plan(groups, part, rng)]
    if not drawn:
        raise DataError(
            "there is nothing to learn from",
            found=f"no row of the task {TASK} and the split train in {part.folder}",
            next_step="python -m data_prep build preferences FACTS --out DIR makes some",
        )
    texts = sum(sum(one.sizes) for one in drawn)
    log.info("%d groups of texts, %d texts, %.0f tokens a text", len(drawn), texts, sum(map(len, drawn)) / texts)
    rows = by_length(drawn, step_rows(recipe.optim), rng)
    held_out = spread(read("val"), part.eval_rows) if recipe.eval_steps else []
    kinds = tuple(sorted({kind for one in (*rows, *held_out) for kind in one.errors}))
    return Drawn(rows, held_out, kinds)
