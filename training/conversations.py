"""From rows on disk to batches of the objectives `plain` and `chat`: one row of tokens each, padded on the right."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.schema import Sample

from .data import group_by_length, plan
from .labels import IGNORED, Labelled, label_chat, label_plain
from .recipe import DataPart

log = logging.getLogger(__name__)

Label = Callable[[Sample], Labelled]


@dataclass(frozen=True)
class Row:
    """One sample as tokens, with its picture files in the order of their image tokens."""

    id: str
    source: str
    files: tuple[str, ...]
    tokens: Labelled

    def __len__(self) -> int:
        return len(self.tokens.ids)


def files_of(sample: Sample) -> tuple[str, ...]:
    """Return the picture files of a row in the order in which its turns show them.

    Raises:
        DataError: a picture is not stored as a file, or the turns do not show each picture once.
    """
    shown = [part.image for turn in sample.messages for part in turn.content if part.type == "image"]
    if sorted(-1 if number is None else number for number in shown) != list(range(len(sample.images))):
        raise DataError(
            "the turns of a row show each of its pictures once",
            found=f"{len(sample.images)} pictures, image parts {shown or 'none'}",
            allowed="one part of type image for each picture, with its number",
        )
    paths = [sample.images[number].path for number in shown if number is not None]
    files = tuple(path for path in paths if path is not None)
    if len(files) != len(paths):
        raise DataError("a row of training data has stored pictures", found="pixels, or bytes")
    return files


def chat(processor: LhrsProcessor, ends: Collection[int]) -> Label:
    """Make rows of whole conversations; see `label_chat`."""
    return lambda sample: label_chat(processor, sample.messages, ends)


def plain(processor: LhrsProcessor) -> Label:
    """Make rows of captions; the caption of a row is its first answer, the question is not read. See `label_plain`."""

    def label(sample: Sample) -> Labelled:
        caption = next((turn.text for turn in sample.messages if turn.role == "assistant"), None)
        if caption is None or len(sample.images) != 1:
            raise DataError(
                "a row for the objective plain has one picture and its caption as an answer",
                found=f"{len(sample.images)} pictures, {len(sample.messages)} turns",
            )
        return label_plain(processor, caption)

    return label


def rows_of(part: DataPart, label: Label, longest: int, batch: int, seed: int) -> list[Row]:
    """Tokenise the rows to train on and put them in the order of the whole run.

    Args:
        part: which rows.
        label: what makes tokens of a sample.
        longest: tokens that the language model can hold.
        batch: rows of a batch; those of one batch are about equally long.
        seed: decides the order.

    Raises:
        DataError: a row cannot be learned from or is longer than `longest`, or there is none.
    """
    made = []
    for sample in samples.read(part.folder / "rows.jsonl"):
        if sample.split != "train" or part.share(sample.source) == 0:
            continue
        try:
            row = Row(sample.id, sample.source, files_of(sample), label(sample))
        except DataError as error:
            raise DataError(
                f"{sample.id}: {error.what}", found=error.found, allowed=error.allowed, next_step=error.next_step
            ) from error
        if len(row) > longest:
            raise DataError(
                "a sample is longer than the context of the language model",
                found=f"{row.id}: {len(row)} tokens, {len(row.files)} pictures among them",
                allowed=f"{longest} tokens",
                next_step="split the conversation, or leave the sample out",
            )
        made.append(row)
    if not made:
        raise DataError(
            "there is nothing to learn from",
            found=f"no row of the split train in {part.folder} whose source is in the mix {part.mix}",
        )
    rng = np.random.default_rng(seed)
    drawn = [row for _ in range(part.passes) for row in plan(made, part, rng)]
    log.info("%d rows, %.0f tokens each", len(drawn), np.mean([len(row) for row in drawn]))
    return group_by_length(drawn, batch, rng)


def collate(rows: Sequence[Row], processor: LhrsProcessor) -> dict[str, torch.Tensor]:
    """Lay rows side by side: ids, labels and attention mask, (B, T) each."""
    ids, mask = processor.pad([row.tokens.ids.tolist() for row in rows], side="right")
    labels = torch.full_like(ids, IGNORED)
    for number, row in enumerate(rows):
        labels[number, : len(row)] = torch.from_numpy(row.tokens.labels)
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}
