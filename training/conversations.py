"""Rows side by side or behind one another: batches of the objectives `plain` and `chat`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lhrs_chat.models.processing import LhrsProcessor

from .labels import IGNORED
from .rows import Row


@dataclass(frozen=True)
class RowPack:
    """Rows that lie behind one another and do not see each other."""

    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return sum(map(len, self.rows))


@dataclass(frozen=True)
class Laid:
    """Packs ready for the model: ids, labels and positions (B, T). A position of 0 begins a row that sees itself only.

    There is no mask: transformers reads the rows off the positions, for its own masks and for FlashAttention's lengths.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor


def collate(rows: Sequence[Row], processor: LhrsProcessor) -> dict[str, torch.Tensor]:
    """Lay rows side by side, padded on the right: ids, labels and attention mask, (B, T) each."""
    ids, mask = processor.pad([row.tokens.ids.tolist() for row in rows], side="right")
    return {"input_ids": ids, "labels": pad_labels(rows, ids.shape[1]), "attention_mask": mask}


def pad_labels(rows: Sequence[Row], length: int) -> torch.Tensor:
    """Lay the labels of rows side by side, padded on the right, (B, length)."""
    labels = torch.full((len(rows), length), IGNORED, dtype=torch.long)
    for number, row in enumerate(rows):
        labels[number, : len(row)] = torch.from_numpy(row.tokens.labels)
    return labels


def lay(packs: Sequence[RowPack], pad_id: int) -> Laid:
    """Lay the rows of each pack behind one another. The first token of a row is never learned from the row before."""
    shape = (len(packs), max(map(len, packs)))
    ids = torch.full(shape, pad_id, dtype=torch.long)
    labels = torch.full(shape, IGNORED, dtype=torch.long)
    positions = torch.zeros(shape, dtype=torch.long)
    for number, pack in enumerate(packs):
        end = 0
        for row in pack.rows:
            start, end = end, end + len(row)
            ids[number, start:end] = torch.from_numpy(row.tokens.ids.astype("int64"))
            labels[number, start:end] = torch.from_numpy(row.tokens.labels.astype("int64"))
            labels[number, start] = IGNORED
            positions[number, start:end] = torch.arange(len(row))
        positions[number, end:] = torch.arange(shape[1] - end)
    return Laid(ids, labels, positions)
