"""Texts that share a beginning, in one row: its tokens are computed once, and the texts do not see each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Tree:
    """Token ids of a beginning, and of the texts that grow from it, one or more tokens each."""

    prefix: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.prefix) + sum(map(len, self.branches))


@dataclass(frozen=True)
class Laid:
    """Rows ready for a language model.

    `input_ids`, `position_ids`: (B, T); `attention_mask`: (B, 1, T, T), what each token may see, added to the scores;
    `ends`: (M, 2), row and column of the last token of every branch, in their order.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor
    ends: torch.Tensor


def lay(trees: Sequence[Tree], pad_id: int, multiple: int = 1) -> Laid:
    """Lay trees side by side, a row each, padded on the right to a multiple of `multiple` tokens."""
    length = -(-max(map(len, trees)) // multiple) * multiple
    ids = torch.full((len(trees), length), pad_id, dtype=torch.long)
    positions = torch.zeros_like(ids)
    group = torch.full_like(ids, -1)  # 0 is the prefix, 1.. the branches, -1 padding
    ends = []
    for row, tree in enumerate(trees):
        end = begun = len(tree.prefix)
        ids[row, :end] = torch.tensor(tree.prefix, dtype=torch.long)
        positions[row, :end] = torch.arange(end)
        group[row, :end] = 0
        for number, branch in enumerate(tree.branches, 1):
            start, end = end, end + len(branch)
            ids[row, start:end] = torch.tensor(branch)
            positions[row, start:end] = torch.arange(begun, begun + len(branch))
            group[row, start:end] = number
            ends.append((row, end - 1))
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    key, query = group[:, None, :], group[:, :, None]
    seen = causal & ((key == query) | ((key == 0) & (query >= 0)))
    seen |= torch.eye(length, dtype=torch.bool)  # padding sees itself, so that no row of the softmax is empty
    mask = torch.zeros(seen.shape, dtype=torch.float32).masked_fill(~seen, torch.finfo(torch.float32).min)
    return Laid(ids, positions, mask[:, None], torch.tensor(ends))
