"""The objective `chat` for models of transformers that are not ours: their own processor makes each batch."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lhrs_chat.errors import DataError
from lhrs_chat.models.backends.transformers import TransformersBackend, begins, image_token_of

from ..conversations import RowPack, pad_labels
from ..foreign import adapter_names, open_foreign, write_adapter
from ..labels import IGNORED
from ..optimizer import choose
from ..order import step_rows
from ..pictures import opened as picture
from ..recipe import Recipe
from ..rows import data_hashes, tokenised
from ..stage import TOLD, Said, Stage, Told
from ..turns import Writer
from ._language import LONGEST_ANSWER, layer_width, step_flops
from ._rows import ordered, spread

log = logging.getLogger(__name__)

PIXELS = "pixel_values"


class AnswerLoss(nn.Module):
    """Next-token loss over what is learned, of any model that takes what its processor makes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.pictures = nn.Identity()
        """Where the pixels pass, for the guard that looks whether a picture reaches the loss."""

    def forward(self, inputs: Mapping[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each token that is learned, (items,), row by row.

        Args:
            inputs: as the processor makes them, padded on the right.
            labels: (B, T), `IGNORED` where nothing is learned.
        """
        given = {**inputs, "use_cache": False}
        if PIXELS in inputs:
            given[PIXELS] = self.pictures(inputs[PIXELS])
        learned = labels[:, 1:] != IGNORED
        logits = self.model(**given).logits[:, :-1][learned]
        return functional.cross_entropy(logits.float(), labels[:, 1:][learned], reduction="none")


def begin(recipe: Recipe) -> Stage:
    """Read the rows and set up the stage."""
    backend = open_foreign(recipe)
    base: Any = backend.model.get_base_model()
    objective = AnswerLoss(backend.model)
    rates = choose(objective, recipe.optim.lr, adapter_names(objective))
    part = recipe.data
    if part.pack_tokens or part.cache_features:
        log.info(
            "packs and kept features are for models of our own: here rows are padded to the longest of their batch"
        )
        part = dataclasses.replace(part, pack_tokens=0, cache_features=False)
    hashes = data_hashes(part.folder)
    writer = Writer(backend, part.task_tags)
    read = partial(tokenised, part, label=writer.label, maker=f"chat {writer.fingerprint()}", hashes=hashes)
    longest = base.config.get_text_config().max_position_embeddings
    rows = ordered(read("train"), part, longest, step_rows(recipe.optim), recipe.seed)
    held_out = [RowPack((row,)) for row in spread(read("val"), part.eval_rows)] if recipe.eval_steps else []
    sources = tuple(sorted({row.source for pack in (*rows, *held_out) for row in pack.rows}))
    numbers = {source: number for number, source in enumerate(sources)}
    return Stage(
        objective,
        rows,
        held_out,
        partial(_batch, backend.processor, numbers),
        sources,
        partial(write_adapter, backend),
        rates,
        visual=objective.pictures,
        flops_per_token=step_flops(base),
        width=layer_width(base),
        answer=partial(_answer, backend),
        data=hashes,
    )


def _batch(processor: Any, numbers: Mapping[str, int], drawn: Sequence[RowPack]) -> dict[str, Any]:
    """Make a batch of rows.

    Raises:
        DataError: a picture has changed since its row was tokenised.
    """
    rows = [row for pack in drawn for row in pack.rows]
    inputs = _inputs(processor, [row.tokens.text for row in rows], [row.files for row in rows])
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    changed = [
        row.id
        for row, found, kept in zip(rows, ids, mask, strict=True)
        if found[kept.bool()].tolist() != row.tokens.ids.tolist()
    ]
    if changed:
        raise DataError(
            "the processor makes other tokens of rows than before",
            found=", ".join(changed),
            next_step="remove the folder `tokens` beside the rows if a picture was changed",
        )
    sources = [numbers[row.source] for row in rows for _ in range(int(row.tokens.learned[1:].sum()))]
    told = Told(
        tuple(row.id for row in rows),
        torch.tensor(sources, dtype=torch.long),
        sum(map(len, rows)),
        ids.numel(),
        len(rows),
    )
    return {"inputs": inputs, "labels": pad_labels(rows, ids.shape[1]), TOLD: told}


def _inputs(processor: Any, texts: Sequence[str], files: Sequence[Sequence[str]]) -> dict[str, torch.Tensor]:
    """Call the processor, for a batch with and without pictures."""
    made = processor(
        text=list(texts),
        images=[[picture(file) for file in row] for row in files] if any(files) else None,
        padding=True,
        add_special_tokens=not begins(processor, texts),
        return_tensors="pt",
    )
    return dict(made)


def _answer(backend: TransformersBackend, pack: RowPack) -> Said:
    """Ask the first question of a row."""
    row, processor, model = pack.rows[0], backend.processor, backend.model
    asked = row.tokens.text[: row.tokens.asked]
    shown = row.files[: asked.count(image_token_of(processor))]
    inputs = _inputs(processor, [asked], [shown])
    moved = {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    speaker: Any = model
    words = processor.tokenizer
    written = speaker.generate(
        **moved, max_new_tokens=LONGEST_ANSWER, do_sample=False, pad_token_id=words.pad_token_id
    )[0, inputs["input_ids"].shape[1] :]
    return Said(
        row.id,
        asked,
        words.decode(written, skip_special_tokens=True).strip(),
        words.decode(row.tokens.ids[row.tokens.answer].tolist(), skip_special_tokens=True).strip(),
    )
