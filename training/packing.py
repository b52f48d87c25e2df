"""Several questions about one picture in one row: they share its visual tokens and do not see each other.

The loss equals that of separate rows; the picture's tokens are computed once instead of once a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

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
    length = -(-max(len(pack) for pack in packs) // multiple) * multiple
    shape = (len(packs), length)
    ids = torch.full(shape, pad_id, dtype=torch.long)
    labels = torch.full(shape, IGNORED, dtype=torch.long)
    positions = torch.zeros(shape, dtype=torch.long)
    group = torch.full(shape, -1, dtype=torch.long)  # 0 is the prefix, 1.. the branches, -1 padding
    for row, pack in enumerate(packs):
        end = len(pack.prefix)
        ids[row, :end] = torch.tensor(pack.prefix)
        positions[row, :end] = torch.arange(end)
        group[row, :end] = 0
        for number, branch in enumerate(pack.branches, 1):
            start, size = end, len(branch.question) + len(branch.answer)
            end = start + size
            ids[row, start:end] = torch.tensor(branch.question + branch.answer)
            labels[row, end - len(branch.answer) : end] = torch.tensor(branch.answer)
            positions[row, start:end] = torch.arange(len(pack.prefix), len(pack.prefix) + size)
            group[row, start:end] = number
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    key, query = group[:, None, :], group[:, :, None]
    seen = causal & ((key == query) | ((key == 0) & (query >= 0)))
    seen |= torch.eye(length, dtype=torch.bool)  # padding sees itself, so that no row of the softmax is empty
    mask = torch.zeros(seen.shape, dtype=torch.float32).masked_fill(~seen, torch.finfo(torch.float32).min)
    return Batch(ids, labels, positions, mask[:, None])
