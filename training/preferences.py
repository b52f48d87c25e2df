"""Preference rows: an answer and, in `meta["rejected"]`, worse ones; what is learned and counted of their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.models.scorers.ranking import order_losses
from lhrs_chat.schema import Sample

TASK = "preference"
_FIRST = 0.01  # spread of the weights that a new head begins with
"""Not 0, or nothing would be learned of the parts below it in the first step."""


def of_split(folder: Path, split: str) -> Iterator[Sample]:
    """Yield the preference rows of a split."""
    return (row for row in samples.read(folder) if row.task == TASK and row.split == split)


def rejected(row: Sample) -> list[str]:
    """Return the worse texts of a row, from better to worse.

    Raises:
        DataError: there is none, or one is no text.
    """
    texts = row.meta.get("rejected")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise DataError("a preference row has worse texts", found=f"{row.id}: {texts}", allowed="meta.rejected, a list")
    return texts


def error_of(row: Sample) -> str:
    """Return what is wrong with the worse texts of a row, the name of its source where that is not known."""
    return str(row.meta.get("error", row.source))


def fill_head(head: nn.Linear) -> None:
    """Give a new head the weights that it begins with."""
    nn.init.normal_(head.weight, std=_FIRST)


def losses_of(scores: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Return the loss of the order of each row, (rows,) (Plackett, 1975; Luce, 1959).

    Args:
        scores: (texts,), row by row, the best one first.
        sizes: (rows,), texts of each row.
    """
    ends = sizes.cumsum(0)
    losses = scores.new_zeros(len(sizes))
    for size in sizes.unique().tolist():
        of_size = (sizes == size).nonzero()[:, 0]
        places = (ends[of_size] - size)[:, None] + torch.arange(size, device=sizes.device)
        losses = losses.index_copy(0, of_size, order_losses(scores[places].flatten(), size))
    return losses


class PairTally:
    """Counts pairs of texts and how they were scored, by what is wrong with the worse one.

    Args:
        errors: names of what is wrong, as rows number them.
    """

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = tuple(errors)
        self._sums = torch.zeros(len(self.errors), 4, dtype=torch.float64)  # pairs, right, ties, margin

    def add(self, scores: torch.Tensor, sizes: torch.Tensor, errors: torch.Tensor) -> None:
        """Count the best text of each row against each of its worse ones.

        Args:
            scores: (texts,), row by row, the best one first.
            sizes: (rows,), texts of each row.
            errors: (rows,), numbers of what is wrong.
        """
        for group, error in zip(scores.detach().double().cpu().split(sizes.tolist()), errors.tolist(), strict=True):
            margins = group[0] - group[1:]
            counted = [torch.ones_like(margins), (margins > 0).double(), (margins == 0).double(), margins]
            self._sums[error] += torch.stack(counted).sum(1)

    def read(self) -> dict[str, float]:
        """Return accuracy (a tie is half right), mean margin and share of ties, and begin anew."""
        everything = self._sums.sum(0)
        told: dict[str, float] = {}
        for name, (pairs, right, ties, margin) in zip(
            ("", *self.errors), (everything.tolist(), *self._sums.tolist()), strict=True
        ):
            if pairs:
                values = {"accuracy": (right + ties / 2) / pairs, "margin": margin / pairs, "ties": ties / pairs}
                told |= {f"pair_{what}{name and '_'}{name}": value for what, value in values.items()}
        self._sums.zero_()
        return told
