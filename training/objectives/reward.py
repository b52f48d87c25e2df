"""The objective `reward`: of texts about the same pictures the better one gets the higher score.

Rows have the task `preference`: an answer, and in `meta["rejected"]` worse ones, from better to worse. The score is
read where a score model reads it, at the last token of the conversation; texts of one picture share its tokens.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.scorer import HEAD, ScoreModel, with_head
from lhrs_chat.models.scorers.layouts import prompt_of
from lhrs_chat.models.scorers.ranking import order_losses
from lhrs_chat.models.strict import load_strictly
from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.preferences import TASK, Preference
from lhrs_chat.schema import Sample

from .. import start
from ..attention import prepare_layers
from ..boxes import spoken
from ..features import features
from ..labels import IGNORED
from ..order import by_length, plan, step_rows
from ..packing import COMPILED_LENGTHS, Branch, Pack, collate
from ..pictures import pixels_of
from ..recipe import DataPart, Recipe
from ..rows import data_hashes, files_of
from ..stage import TOLD, Stage, Told
from . import Objective
from ._language import layer_width, set_up_of, step_flops
from ._next_token import TextObjective

log = logging.getLogger(__name__)

HEAD_FILE = f"{HEAD}.safetensors"
_FIRST = 0.01  # spread of the weights that a new head begins with
"""Not 0, or nothing would be learned of the parts below it in the first step."""


@dataclass(frozen=True)
class Ranked:
    """Texts about the same pictures, to be scored together.

    Args:
        files: the pictures.
        source: the data set.
        pack: the texts, each a branch; the token that is read is its answer.
        ids: of the rows that they come from.
        errors: what is wrong with the worse texts of each row.
        sizes: texts of each row, the best one first.
    """

    files: tuple[str, ...]
    source: str
    pack: Pack
    ids: tuple[str, ...]
    errors: tuple[str, ...]
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.pack)


class RewardObjective(TextObjective):
    """Loss of the order of texts (Plackett, 1975; Luce, 1959); the head computes in float32."""

    def __init__(self, model: ScoreModel) -> None:
        whole: Any = model.model
        super().__init__(whole)
        self.score = model.score

    def scores(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        levels: Sequence[torch.Tensor] | None = None,
        pixel_values: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Score every text, (texts,), at the token that `labels`: (B, T) marks; see `TextObjective.forward`."""
        hidden = self.states(input_ids, attention_mask, position_ids, levels, pixel_values)
        read = hidden[labels != IGNORED]
        with torch.autocast(read.device.type, enabled=False):
            scored: torch.Tensor = self.score(read.float())[:, 0]
        return scored

    def forward(self, sizes: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Return the loss of each row, (rows,).

        Args:
            sizes: (rows,), texts of each row; they lie behind one another.
            inputs: see `scores`.
        """
        scores = self.scores(**inputs)
        ends = sizes.cumsum(0)
        losses = scores.new_zeros(len(sizes))
        for size in sizes.unique().tolist():
            of_size = (sizes == size).nonzero()[:, 0]
            places = (ends[of_size] - size)[:, None] + torch.arange(size, device=sizes.device)
            losses = losses.index_copy(0, of_size, order_losses(scores[places].flatten(), size))
        return losses


def texts(sample: Sample, processor: LhrsProcessor) -> list[list[int]]:
    """Return the tokens of every text of a row, the best one first, as a score model reads them."""
    preference = Preference.of(sample)
    turns = spoken(sample, processor)
    said = [turn.text for turn in turns if turn.role != "system"]
    earlier = tuple(zip(said[:-2:2], said[1:-2:2], strict=True))
    return [
        processor.encode(prompt_of(processor, said[-2], answer, len(sample.images), earlier))
        for answer in (said[-1], *preference.rejected)
    ]


def ranked(rows: Iterable[Sample], processor: LhrsProcessor, together: int) -> list[Ranked]:
    """Put the texts of the same pictures together, those of at most `together` rows.

    Raises:
        DataError: a row has no worse text.
    """
    groups: dict[tuple[tuple[str, ...], tuple[int, ...]], list[tuple[Sample, list[list[int]]]]] = defaultdict(list)
    for row in rows:
        files, made = files_of(row), texts(row, processor)
        shown = [number for number, token in enumerate(made[0]) if token == processor.image_token_id]
        prefix = tuple(made[0][: shown[-1] + 1]) if shown else ()
        groups[files, prefix].append((row, [ids[len(prefix) :] for ids in made]))
    found = []
    for (files, prefix), members in groups.items():
        for first in range(0, len(members), together):
            some = members[first : first + together]
            branches = [
                Branch(tuple(ids[:-1]), (ids[-1],), row.source, row.id) for row, made in some for ids in made
            ]
            found.append(
                Ranked(
                    files,
                    some[0][0].source,
                    Pack(files[0] if files else "", prefix, tuple(branches)),
                    tuple(row.id for row, _ in some),
                    tuple(Preference.of(row).error for row, _ in some),
                    tuple(len(made) for _, made in some),
                )
            )
    return found


def put_head(model: LhrsForConditionalGeneration, folder: Path | None) -> ScoreModel:
    """Make a score model of a model: with the head of an earlier stage, where there is one, or with a new one."""
    made = with_head(model)
    file = folder / HEAD_FILE if folder is not None else None
    if file is not None and file.is_file():
        load_strictly(made.score, load_file(file), str(file))
    else:
        nn.init.normal_(made.score.weight, std=_FIRST)
    return made


def _write(model: LhrsForConditionalGeneration, head: nn.Module, recipe: Recipe, out: Path) -> None:
    start.write_trained(model, out, recipe.start)
    save_file({name: tensor.detach().contiguous() for name, tensor in head.state_dict().items()}, out / HEAD_FILE)


def begin(recipe: Recipe) -> Stage:
    """Read the pairs and set up the stage."""
    model, processor = start.prepare(recipe)
    objective = RewardObjective(put_head(model, recipe.start))
    part = recipe.data
    rates = set_up_of(objective, recipe, cached=part.cache_features)
    rows = _ordered(list(_read(recipe, processor, "train")), part, recipe)
    held_out = _spread(list(_read(recipe, processor, "val")), part.eval_rows) if recipe.eval_steps else []
    store = None
    if part.cache_features:
        store = features(recipe, model, processor, (file for one in (*rows, *held_out) for file in one.files))
    prepare_layers(model, recipe)
    kinds = tuple(sorted({kind for one in (*rows, *held_out) for kind in one.errors}))
    numbers = {kind: number for number, kind in enumerate(kinds)}

    def seen(files: Sequence[str]) -> dict[str, Any]:
        if not files:
            return {}
        if store is not None:
            return {"levels": store.get(files)}
        return {"pixel_values": pixels_of(processor.image_processor, files)}

    def batch(drawn: Sequence[Ranked]) -> dict[str, Any]:
        multiple = COMPILED_LENGTHS if recipe.optim.compile else 1
        made = collate([one.pack for one in drawn], processor.tokenizer.pad_token_id, multiple)
        told = Told(
            tuple(name for one in drawn for name in one.ids),
            torch.tensor([numbers[kind] for one in drawn for kind in one.errors]),
            sum(map(len, drawn)),
            made.input_ids.numel(),
            sum(len(one.sizes) for one in drawn),
        )
        sizes = torch.tensor([size for one in drawn for size in one.sizes])
        return {**seen([file for one in drawn for file in one.files]), **vars(made), "sizes": sizes, TOLD: told}

    return Stage(
        objective,
        rows,
        held_out,
        batch,
        kinds,
        lambda out: _write(model, objective.score, recipe, out),
        rates,
        visual=model.bridge if any(one.files for one in rows) else None,
        flops_per_token=step_flops(model),
        width=layer_width(model),
        measure=partial(_measured, objective),
        data=data_hashes(part.folder),
    )
