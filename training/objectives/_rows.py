"""The objectives `plain` and `chat`: rows of any length, side by side or behind one another."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.models.vlm import LhrsForConditionalGeneration

from .. import start
from ..attention import prepare_layers
from ..conversations import RowPack, collate, lay
from ..features import features
from ..order import by_length, packed, plan, step_rows
from ..pictures import pixels_of
from ..recipe import DataPart, Recipe
from ..rows import MakeLabel, Row, data_hashes, tokenised
from ..stage import TOLD, Stage, Told
from ._language import asking, layer_width, maker, set_up, step_flops
from ._next_token import TextObjective

log = logging.getLogger(__name__)
T = TypeVar("T")


def ordered(rows: Sequence[Row], part: DataPart, longest: int, together: int, seed: int) -> list[RowPack]:
    """Put rows in the order of a whole run, one or several to a pack.

    Args:
        rows: of the split train.
        part: how often each comes, and how long a pack may be.
        longest: tokens that the language model can hold.
        together: packs of a step; rows that are not packed share it with rows about as long.
        seed: decides the order.

    Raises:
        DataError: a row is too long, or there is none.
        ConfigError: a pack would be longer than the language model can read.
    """
    if part.pack_tokens > longest:
        raise ConfigError(
            "a pack is longer than the context of the language model", found=part.pack_tokens, allowed=longest
        )
    if not rows:
        raise DataError(
            "there is nothing to learn from",
            found=f"no row of the split train in {part.folder} whose source is in the mix {part.mix}",
        )
    limit = part.pack_tokens or longest
    for row in rows:
        if len(row) > limit:
            raise DataError(
                "a sample is longer than a pack"
                if part.pack_tokens
                else "a sample is longer than the context of the language model",
                found=f"{row.id}: {len(row)} tokens, {len(row.files)} pictures among them",
                allowed=f"{limit} tokens",
                next_step="raise data.pack_tokens" if limit < longest else "split the conversation, or leave it out",
            )
    rng = np.random.default_rng(seed)
    drawn = [row for _ in range(part.passes) for row in plan(rows, part, rng)]
    log.info("%d rows, %.0f tokens each", len(drawn), np.mean([len(row) for row in drawn]))
    if part.pack_tokens:
        return [RowPack(rows) for rows in packed(drawn, part.pack_tokens, rng)]
    return [RowPack((row,)) for row in by_length(drawn, together, rng)]


def begin(recipe: Recipe, make_label: MakeLabel) -> Stage:
    """Read the rows and set up the stage."""
    model, processor = start.prepare(recipe)
    part, ends = recipe.data, start.end_ids(model, processor)
    objective = TextObjective(model)
    rates = set_up(recipe, objective, cached=part.cache_features)
    hashes = data_hashes(part.folder)
    label = make_label(processor, ends, part)
    read = partial(tokenised, part, label=label, maker=maker(recipe, processor, ends), hashes=hashes)
    longest = model.config.text_config.max_position_embeddings
    rows = ordered(read("train"), part, longest, step_rows(recipe.optim), recipe.seed)
    held_out = [RowPack((row,)) for row in spread(read("val"), part.eval_rows)] if recipe.eval_steps else []
    store = None
    if part.cache_features:
        shown = (file for pack in (*rows, *held_out) for row in pack.rows for file in row.files)
        store = features(recipe, model, processor, shown)
    prepare_layers(model, recipe)
    sources = tuple(sorted({row.source for pack in (*rows, *held_out) for row in pack.rows}))
    numbers = {source: number for number, source in enumerate(sources)}

    blank = _blank(model, cached=store is not None) if recipe.sharding else {}

    def seen(files: Sequence[str]) -> dict[str, Any]:
        if not files:
            return blank
        if store is not None:
            return {"levels": store.get(files)}
        return {"pixel_values": pixels_of(processor.image_processor, files)}

    def batch(drawn: Sequence[RowPack]) -> dict[str, Any]:
        inside = [row for pack in drawn for row in pack.rows]
        made: dict[str, Any]
        if part.pack_tokens:
            made = vars(lay(drawn, processor.tokenizer.pad_token_id)).copy()
        else:
            made = dict(collate(inside, processor))
        from_where = [numbers[row.source] for row in inside for _ in range(int(row.tokens.learned[1:].sum()))]
        told = Told(
            tuple(row.id for row in inside),
            torch.tensor(from_where, dtype=torch.long),
            sum(map(len, inside)),
            made["input_ids"].numel(),
            len(inside),
        )
        return {**made, **seen([file for row in inside for file in row.files]), TOLD: told}

    def visual(row: Row) -> torch.Tensor | None:
        if not row.files:
            return None
        shown = seen(row.files)
        levels = shown["levels"] if store is not None else model.encoder(shown["pixel_values"].to(model.device))
        tokens: torch.Tensor = model.bridge([level.to(model.device) for level in levels])
        return tokens

    ask = asking(model, processor, ends, visual)
    return Stage(
        objective,
        rows,
        held_out,
        batch,
        sources,
        lambda out: start.write_trained(model, out, recipe.start),
        rates,
        visual=model.bridge,
        flops_per_token=step_flops(model),
        width=layer_width(model),
        answer=lambda pack: ask(pack.rows[0]),
        data=hashes,
    )


def _blank(model: LhrsForConditionalGeneration, *, cached: bool) -> dict[str, Any]:
    """Return an empty picture for a batch of text, where processes share the model."""
    size_px, encoder = model.config.image_size_px, model.encoder
    if not cached:
        return {"pixel_values": torch.zeros(1, 3, size_px, size_px), "unseen": True}
    grids = zip(encoder.grids(size_px), encoder.widths, strict=True)
    return {"levels": tuple(torch.zeros(1, rows * columns, width) for (rows, columns), width in grids), "unseen": True}


def spread(rows: Sequence[T], most: int) -> list[T]:
    """Return at most so many rows, from all over."""
    step = max(1, -(-len(rows) // most)) if most > 0 else len(rows) + 1
    return list(rows[::step])
