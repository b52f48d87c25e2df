"""Several questions about one picture in one row: they share its visual tokens and do not see each other.

The loss equals that of separate rows; the picture's tokens are computed once instead of once a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lhrs_chat.models.branches import Tree, lay

from .labels import IGNORED


@dataclass(frozen=True)
class Branch:
    """Token ids of one question and its answer, which is learned, and the row that they were made of."""

    question: tuple[int, ...]
    answer: tuple[int, ...]
    source: str = ""
    id: str = ""


@dataclass(frozen=True)
class Pack:
    """A shared beginning (system text and picture) and the branches that grow from it."""

    file: str
    prefix: tuple[int, ...]
    branches: tuple[Branch, ...]

    def __len__(self) -> int:
        return len(self.prefix) + sum(len(branch.question) + len(branch.answer) for branch in self.branches)


@dataclass(frozen=True)
class Batch:
    """Rows ready for the model: ids, labels, positions (B, T), and what each token may see (B, 1, T, T), added."""

    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor


def collate(packs: Sequence[Pack], pad_id: int, multiple: int = 1) -> Batch:
    """Lay packs side by side, padded on the right to a multiple of `multiple` tokens."""
    said = [tuple(branch.question + branch.answer for branch in pack.branches) for pack in packs]
    laid = lay([Tree(pack.prefix, texts) for pack, texts in zip(packs, said, strict=True)], pad_id, multiple)
    labels = torch.full_like(laid.input_ids, IGNORED)
    answers = [branch.answer for pack in packs for branch in pack.branches]
    for answer, (row, last) in zip(answers, laid.ends.tolist(), strict=True):
        labels[row, last + 1 - len(answer) : last + 1] = torch.tensor(answer)
    return Batch(laid.input_ids, labels, laid.position_ids, laid.attention_mask)
