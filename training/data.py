"""From rows on disk to the packs of a whole run, in a fixed order: the same seed gives the same run."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.schema import Sample
from lhrs_chat.text.templates import render

from .packing import Branch, Pack
from .recipe import DataPart

log = logging.getLogger(__name__)

WINDOW = 32  # batches that are sorted together


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


def file_of(sample: Sample) -> str:
    """Return the picture file of a row.

    Raises:
        DataError: the row lost its picture; it is not trained on without.
    """
    if len(sample.images) != 1 or sample.images[0].path is None:
        raise DataError("a row of training data has one stored picture", found=f"{sample.id}: {len(sample.images)}")
    return sample.images[0].path


def plan(items: Sequence[D], part: DataPart, rng: np.random.Generator) -> list[D]:
    """Draw one pass: each item as often as the mix says of its source, in random order."""
    drawn: list[D] = []
    for item in items:
        share = part.share(item.source)
        drawn += [item] * (int(share) + int(rng.random() < share % 1))
    return [drawn[i] for i in rng.permutation(len(drawn))]


def by_picture(rows: Iterable[Sample], split: str) -> dict[str, list[Sample]]:
    """Group the rows of a split by their picture."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for row in rows:
        if row.split == split:
            groups[file_of(row)].append(row)
    return groups


class Tokens:
    """Turns questions into packs, with the prompt that the processor of the model renders."""

    def __init__(self, processor: LhrsProcessor) -> None:
        self.processor = processor
        self.eos = processor.tokenizer.eos_token_id

    def pack(self, file: str, rows: Sequence[Sample]) -> Pack:
        """Pack the questions of one picture.

        Raises:
            DataError: a question's prompt does not begin as the others do.
        """
        processor = self.processor
        prefix: tuple[int, ...] | None = None
        branches = []
        for row in rows:
            prompt = render(
                processor.tokenizer,
                row.messages[:1],
                image_token=processor.image_token,
                system=processor.system,
                add_generation_prompt=True,
            )
            ids = processor.encode(prompt)
            end = len(ids) - ids[::-1].index(processor.image_token_id)
            if prefix is not None and tuple(ids[:end]) != prefix:
                raise DataError("the questions of a picture begin alike", found=row.id)
            prefix = tuple(ids[:end])
            answer = processor.tokenizer(row.messages[1].text, add_special_tokens=False).input_ids
            branches.append(Branch(tuple(ids[end:]), (*answer, self.eos)))
        if prefix is None:
            raise DataError("a picture without questions cannot be packed", found=file)
        return Pack(file, prefix, tuple(branches))


def group_by_length(made: Sequence[L], batch: int, rng: np.random.Generator) -> list[L]:
    """Order rows so that those of one batch are about equally long: less of the batch is padding."""
    window = batch * WINDOW
    batches: list[list[L]] = []
    for start in range(0, len(made), window):
        near = sorted(made[start : start + window], key=len)
        cut = [near[i : i + batch] for i in range(0, len(near), batch)]
        batches += [cut[i] for i in rng.permutation(len(cut))]
    return [row for group in batches for row in group]


def packs(part: DataPart, processor: LhrsProcessor, batch: int, seed: int) -> list[Pack]:
    """Make all packs of a run: each pass draws other questions of each picture."""
    groups = by_picture(samples.read(part.folder / "rows.jsonl"), "train")
    if not groups:
        raise DataError("there is nothing to learn from", found=str(part.folder))
    rng = np.random.default_rng(seed)
    tokens = Tokens(processor)
    firsts = [rows[0] for rows in groups.values()]
    made = []
    for _ in range(part.passes):
        for first in plan(firsts, part, rng):
            rows = groups[file_of(first)]
            weights = np.array([part.weight(row) for row in rows])
            count = min(part.questions_per_image, int((weights > 0).sum()))
            if count == 0:
                continue
            chosen = rng.choice(len(rows), count, replace=False, p=weights / weights.sum())
            made.append(tokens.pack(file_of(first), [rows[i] for i in chosen]))
    log.info("%d packs, %.0f tokens each", len(made), np.mean([len(pack) for pack in made]))
    return group_by_length(made, batch, rng)
