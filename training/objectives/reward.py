"""The objective `reward`: of texts about the same pictures the better one gets the higher score.

Rows have the task `preference`: an answer, and in `meta["rejected"]` worse ones, from better to worse. The score is
read where a score model reads it, at the last token of the conversation; texts of one picture share its tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.scorer import ScoreModel, with_head
from lhrs_chat.models.scorers import Judged
from lhrs_chat.models.scorers.layouts import LAYOUTS, TRAINED_WITH
from lhrs_chat.models.scorers.shipped import HEAD_FILE
from lhrs_chat.models.strict import load_strictly
from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.schema import Sample

from .. import start
from ..attention import prepare_layers
from ..boxes import spoken
from ..features import features
from ..foreign import is_foreign
from ..labels import IGNORED
from ..packing import Branch, Pack, collate
from ..pictures import pixels_of
from ..preferences import PairTally, error_of, fill_head, losses_of, rejected
from ..recipe import Recipe
from ..rows import data_hashes, files_of
from ..stage import Stage
from . import Objective, _foreign_pairs
from ._language import layer_width, set_up, step_flops
from ._next_token import TextObjective
from ._pairs import draw
from .text import COMPILED_LENGTHS

_BLANK = np.zeros((1, 1, 3), np.uint8)  # stands for a picture where only its token is written


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
    """Loss of the order of texts (Plackett, 1975; Luce, 1959); the head computes in float32.

    Args:
        model: what is trained.
        tally: counts the pairs that pass in evaluation mode.
    """

    def __init__(self, model: ScoreModel, tally: PairTally) -> None:
        whole: Any = model.model
        super().__init__(whole)
        self.score = model.score
        self.tally = tally

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

    def forward(self, sizes: torch.Tensor, errors: torch.Tensor, **inputs: Any) -> torch.Tensor:  # type: ignore[override]
        """Return the loss of each row, (rows,).

        Args:
            sizes: (rows,), texts of each row; they lie behind one another.
            errors: (rows,), numbers of what is wrong with the worse ones.
            inputs: see `scores`.
        """
        scores = self.scores(**inputs)
        if not self.training:
            self.tally.add(scores, sizes, errors)
        return losses_of(scores, sizes)


def texts(sample: Sample, processor: LhrsProcessor) -> list[list[int]]:
    """Return the tokens of every text of a row, the best one first, as a score model reads them."""
    said = [
        turn.text.strip()
        for turn in spoken(sample, processor.dialect, processor.image_processor.placement)
        if turn.role != "system"
    ]
    earlier = tuple(zip(said[:-2:2], said[1:-2:2], strict=True))
    shown = (_BLANK,) * len(sample.images)
    written = (
        processor.apply_chat_template(LAYOUTS[TRAINED_WITH].turns(Judged(answer, said[-2], shown, earlier)))
        for answer in (said[-1], *rejected(sample))
    )
    return [processor.encode(prompt) for prompt in written]


def ranked(rows: Iterable[Sample], processor: LhrsProcessor, together: int) -> list[Ranked]:
    """Put the texts of the same pictures together, those of at most `together` rows.

    Raises:
        DataError: a row has no worse text, or a text begins unlike the others of its row.
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
            branches = [Branch(tuple(ids[:-1]), (ids[-1],), row.source, row.id) for row, made in some for ids in made]
            found.append(
                Ranked(
                    files,
                    some[0][0].source,
                    Pack(files[0] if files else "", prefix, tuple(branches)),
                    tuple(row.id for row, _ in some),
                    tuple(error_of(row) for row, _ in some),
                    tuple(len(made) for _, made in some),
                )
            )
    return found


def put_head(model: LhrsForConditionalGeneration, folder: Path | None) -> ScoreModel:
    """Make a score model of a model: with the head of an earlier stage, where there is one, or with a new one."""
    made = with_head(model, layout=TRAINED_WITH)
    file = folder / HEAD_FILE if folder is not None else None
    if file is not None and file.is_file():
        load_strictly(made.score, load_file(file), str(file))
    else:
        fill_head(made.score)
    return made


def _write(model: LhrsForConditionalGeneration, head: nn.Module, recipe: Recipe, out: Path) -> None:
    start.write_trained(model, out, recipe.start)
    save_file({name: tensor.detach().contiguous() for name, tensor in head.state_dict().items()}, out / HEAD_FILE)


def begin(recipe: Recipe) -> Stage:
    """Set up the stage: with our own kind of model, or with any other of transformers through its own processor."""
    return _foreign_pairs.begin(recipe) if is_foreign(recipe) else _begin(recipe)


def _begin(recipe: Recipe) -> Stage:
    """Read the pairs and set up the stage."""
    model, processor = start.prepare(recipe)
    part = recipe.data
    drawn = draw(recipe, lambda rows: ranked(rows, processor, part.questions_per_image))
    objective = RewardObjective(put_head(model, recipe.start), PairTally(drawn.kinds))
    rates = set_up(recipe, objective, cached=part.cache_features)
    store = None
    if part.cache_features:
        store = features(recipe, model, processor, (file for one in drawn.every() for file in one.files))
    prepare_layers(model, recipe)

    def seen(files: Sequence[str]) -> dict[str, Any]:
        if not files:
            return {}
        if store is not None:
            return {"levels": store.get(files)}
        return {"pixel_values": pixels_of(processor.image_processor, files)}

    def batch(some: Sequence[Ranked]) -> dict[str, Any]:
        multiple = COMPILED_LENGTHS if recipe.optim.compile else 1
        made = collate([one.pack for one in some], processor.tokenizer.pad_token_id, multiple)
        shown = seen([file for one in some for file in one.files])
        return {**shown, **vars(made), **drawn.told(some, made.input_ids.numel())}

    return Stage(
        objective,
        drawn.rows,
        drawn.held_out,
        batch,
        drawn.kinds,
        lambda out: _write(model, objective.score, recipe, out),
        rates,
        visual=model.bridge if any(one.files for one in drawn.rows) else None,
        flops_per_token=step_flops(model),
        width=layer_width(model),
        measure=objective.tally.read,
        data=data_hashes(part.folder),
    )


OBJECTIVE = Objective(begin)
