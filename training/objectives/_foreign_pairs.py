"""The objective `reward` for models of transformers that are not ours: each text with its pictures is a row of a batch.

Rows are written by the scorer itself, so that what is learned is what is scored later. What a run leaves is a whole
`*ForSequenceClassification` in float32, its adapter merged: every verb opens it, and so does the next stage.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel, get_peft_model
from torch import nn

from lhrs_chat import scoring
from lhrs_chat.errors import ConfigError, DataError, LhrsError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.models.backends.transformers import TransformersBackend, open_processor
from lhrs_chat.models.scorer import HEAD, ScoreModel, is_score_model, load_score_model, with_head
from lhrs_chat.models.scorers import Judged
from lhrs_chat.models.scorers.layouts import TRAINED_WITH
from lhrs_chat.models.scorers.vlm import VlmScorer, pictures_of
from lhrs_chat.models.weights import locate
from lhrs_chat.schema import Image, Sample

from ..adapter import targets_of
from ..attention import HELD
from ..foreign import lora_shape, part_of
from ..optimizer import choose
from ..preferences import PairTally, error_of, fill_head, losses_of, rejected
from ..recipe import LoraPart, Recipe
from ..rows import data_hashes
from ..stage import Stage
from ._foreign_rows import PIXELS
from ._language import layer_width, step_flops
from ._pairs import Drawn, draw

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compared:
    """A row and its texts, the best one first, as prompts.

    Args:
        sample: the row.
        prompts: of its texts.
        tokens: of all prompts, pictures included.
    """

    sample: Sample
    prompts: tuple[str, ...]
    tokens: int

    @property
    def source(self) -> str:
        """The data set."""
        return self.sample.source

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the row."""
        return (self.sample.id,)

    @property
    def errors(self) -> tuple[str, ...]:
        """What is wrong with the worse texts."""
        return (error_of(self.sample),)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many texts there are."""
        return (len(self.prompts),)

    def __len__(self) -> int:
        return self.tokens


class PairLoss(nn.Module):
    """Loss of the order of texts, of any score model; the head computes in float32.

    Args:
        model: what is trained.
        tally: counts the pairs that pass in evaluation mode.
    """

    def __init__(self, model: ScoreModel, tally: PairTally) -> None:
        super().__init__()
        self.model = model
        self.tally = tally
        self.pictures = nn.Identity()
        """Where the pixels pass, for the guard that looks whether a picture reaches the loss."""

    def forward(self, inputs: Mapping[str, torch.Tensor], sizes: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, (rows,).

        Args:
            inputs: of the texts, as the processor makes them.
            sizes: (rows,), texts of each row; they lie behind one another.
            errors: (rows,), numbers of what is wrong with the worse ones.
        """
        given = dict(inputs)
        if PIXELS in given:
            given[PIXELS] = self.pictures(given[PIXELS])
        hidden = self.model.hidden(**given)
        with torch.autocast(hidden.device.type, enabled=False):
            scores = self.model.read(hidden, given["attention_mask"])[:, 0]
        if not self.training:
            self.tally.add(scores, sizes, errors)
        return losses_of(scores, sizes)


def begin(recipe: Recipe) -> Stage:
    """Read the pairs and set up the stage."""
    model, processor = _open(recipe)
    adapted = _adapt(model, recipe.lora) if isinstance(recipe.lora, LoraPart) else None
    scorer = VlmScorer(model, processor, name=recipe.objective, weights_sha256="")
    drawn = draw(recipe, partial(_compared, scorer))
    objective = PairLoss(model, PairTally(drawn.kinds))
    called = {name: f"{_part_of(name)}.{name}" for name, _ in objective.named_parameters()}
    rates = choose(objective, recipe.optim.lr, called)
    for name, tensor in objective.named_parameters():
        exact = tensor.requires_grad or _part_of(name) == HEAD
        tensor.data = tensor.data.to(torch.float32 if exact else HELD.get(recipe.optim.precision, torch.float32))
    if recipe.optim.gradient_checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    return Stage(
        objective,
        drawn.rows,
        drawn.held_out,
        partial(_batch, scorer, drawn),
        drawn.kinds,
        partial(_write, model, processor, adapted),
        rates,
        visual=objective.pictures if any(one.sample.images for one in drawn.rows) else None,
        flops_per_token=step_flops(model),
        width=layer_width(model),
        measure=objective.tally.read,
        data=data_hashes(recipe.data.folder),
    )


def _open(recipe: Recipe) -> tuple[Any, Any]:
    """Open what an earlier stage left, or the model of the recipe, with a new head where it has none.

    Raises:
        ConfigError: the recipe asks for what such a model does not have.
        LhrsError: it is no model, or its weights do not fit.
    """
    for wrong, what, advice in (
        (recipe.quantise != "none", f"quantise={recipe.quantise}", "set quantise=none"),
        (
            recipe.lora == "continue",
            "lora=continue",
            "a finished stage has its adapter merged: name a new one, or none",
        ),
        (recipe.optim.compile, "optim.compile=true", "set optim.compile=false"),
    ):
        if wrong:
            raise ConfigError("only a score model of our own is trained so", found=what, next_step=advice)
    if recipe.data.cache_features:
        log.info("kept features are for models of our own: here every picture is seen with every text")
    torch.manual_seed(recipe.seed)
    folder = recipe.start or locate(recipe.model or "")
    if is_score_model(folder):
        model, processor = load_score_model(folder), open_processor(folder, str(folder))
    else:
        opened = TransformersBackend.open(folder, str(folder))
        model, processor = with_head(opened.model, layout=TRAINED_WITH), opened.processor
        fill_head(model.score)
    processor.tokenizer.padding_side = "right"
    return model, processor


def _adapt(model: Any, lora: LoraPart) -> PeftModel:
    """Put a new adapter on the language model of a score model, which keeps its place."""
    targets = targets_of(lora.targets) if lora.targets else "all-linear"
    return get_peft_model(model.get_decoder(), lora_shape(lora, targets))


def _part_of(name: str) -> str:
    """Say to which part a parameter of `PairLoss` belongs: `score`, or as `foreign.part_of` does."""
    return HEAD if name.startswith(f"model.{HEAD}.") else part_of(name)


def _compared(scorer: VlmScorer, rows: Iterable[Sample]) -> list[Compared]:
    """Write the texts of rows. Of their pictures only the sizes are looked at.

    Raises:
        DataError: a row cannot be scored; the error names it.
    """
    blank: scoring.Opened = {}
    made = []
    for row in rows:
        for image in row.images:
            if image not in blank:
                blank[image] = _blank(image)
        try:
            written = [scorer.write(text) for text in _texts(scorer, row, blank)]
        except LhrsError as error:
            raise DataError(f"{row.id}: {error.what}", found=error.found, next_step=error.next_step) from error
        made.append(Compared(row, tuple(prompt for prompt, _ in written), sum(tokens for _, tokens in written)))
    return made


def _blank(image: Image) -> tuple[np.ndarray, tuple[int, int]]:
    """Return a picture of nothing, of the size in which one is scored, and the size that it has."""
    with Raster.open(image) as raster:
        width, height = raster.size_px
    share = min(1.0, scoring.PICTURE_MAX_PX / max(width, height))
    shape = max(1, round(height * share)), max(1, round(width * share)), 3
    return np.broadcast_to(np.uint8(0), shape), (width, height)


def _texts(scorer: VlmScorer, row: Sample, opened: scoring.Opened) -> list[Judged]:
    """Return the texts of a row as they are scored, the best one first."""
    best = scoring.judged(row, scorer.dialect, opened)
    return [best, *(replace(best, answer=worse) for worse in rejected(row))]


def _batch(scorer: VlmScorer, drawn: Drawn[Compared], some: Sequence[Compared]) -> dict[str, Any]:
    opened: scoring.Opened = {}
    texts = [text for one in some for text in _texts(scorer, one.sample, opened)]
    prompts = [prompt for one in some for prompt in one.prompts]
    inputs = dict(scorer.inputs(prompts, [pictures_of(text) for text in texts]))
    return {"inputs": inputs, **drawn.told(some, inputs["input_ids"].numel())}


def _write(model: Any, processor: Any, adapted: PeftModel | None, out: Path) -> None:
    """Write a whole model; what is held in half precision is widened first, or merging would round."""
    model.float()
    if adapted is not None:
        adapted.merge_and_unload()
    model.save_pretrained(out)
    processor.save_pretrained(out)
