"""The objective `text`: several questions about one picture in one row, which share its visual tokens."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.schema import Sample

from .. import start
from ..attention import prepare_layers
from ..boxes import check_answers, spoken
from ..features import features
from ..labels import Labelled, label_question
from ..order import by_length, plan, step_rows
from ..packing import Branch, Pack, collate
from ..recipe import DataPart, Recipe
from ..rows import Label, Row, data_hashes, file_of, tokenised
from ..stage import TOLD, Stage, Told
from . import Objective
from ._language import asking, layer_width, maker, set_up, step_flops
from ._next_token import TextObjective

log = logging.getLogger(__name__)

COMPILED_LENGTHS = 64  # batches come in multiples of it where layers are compiled, each for one length


def question(processor: LhrsProcessor, ends: Collection[int], part: DataPart) -> Label:
    """Make rows of one question about one picture, and its answer."""

    def label(sample: Sample) -> Labelled:
        file_of(sample)
        turns = spoken(sample, processor.dialect, processor.image_processor.placement)
        check_answers(turns, processor.dialect)
        return label_question(processor, turns)

    return label


def by_picture(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Group rows by their picture."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.files[0]].append(row)
    return groups


def pack(rows: Sequence[Row], image_id: int) -> Pack:
    """Pack the questions of one picture.

    Raises:
        DataError: a question's prompt does not begin as the others do.
    """
    prefix: tuple[int, ...] | None = None
    branches = []
    for row in rows:
        ids = row.tokens.ids
        shown, asked = int(np.flatnonzero(ids == image_id)[-1]) + 1, int(row.tokens.learned.argmax())
        own = tuple(ids[:shown].tolist())
        if prefix is not None and own != prefix:
            raise DataError("the questions of a picture begin alike", found=row.id)
        prefix = own
        branches.append(Branch(tuple(ids[shown:asked].tolist()), tuple(ids[asked:].tolist()), row.source, row.id))
    if prefix is None:
        raise DataError("a picture without questions cannot be packed", found="no rows")
    return Pack(rows[0].files[0], prefix, tuple(branches))


def packs(rows: Sequence[Row], part: DataPart, image_id: int, together: int, seed: int) -> list[Pack]:
    """Make all packs of a run: each pass draws other questions of each picture.

    Raises:
        DataError: there is nothing to learn from.
    """
    groups = by_picture(rows)
    if not groups:
        raise DataError("there is nothing to learn from", found=f"no row of the split train in {part.folder}")
    rng = np.random.default_rng(seed)
    firsts = [group[0] for group in groups.values()]
    made = []
    for _ in range(part.passes):
        for first in plan(firsts, part, rng):
            own = groups[first.files[0]]
            weights = np.array([part.weight(row) for row in own])
            count = min(part.questions_per_image, int((weights > 0).sum()))
            if count == 0:
                continue
            chosen = rng.choice(len(own), count, replace=False, p=weights / weights.sum())
            made.append(pack([own[i] for i in chosen], image_id))
    if not made:
        raise DataError("there is nothing to learn from", found=f"the mix {part.mix} of {part.folder}")
    log.info("%d packs, %.0f tokens each", len(made), np.mean([len(one) for one in made]))
    return by_length(made, together, rng)


def begin(recipe: Recipe) -> Stage:
    """Read the rows, compute what the encoder sees of their pictures and set up the stage."""
    model, processor = start.prepare(recipe)
    objective = TextObjective(model)
    rates = set_up(recipe, objective, cached=True)
    part, ends = recipe.data, start.end_ids(model, processor)
    hashes = data_hashes(part.folder)
    label = question(processor, ends, part)
    read = partial(tokenised, part, label=label, maker=maker(recipe, processor, ends), hashes=hashes)
    rows = packs(read("train"), part, processor.image_token_id, step_rows(recipe.optim), recipe.seed)
    asked = list(by_picture(read("val")).values())[: part.eval_rows] if recipe.eval_steps else []
    held_out = [pack(own[: part.questions_per_image], processor.image_token_id) for own in asked]
    facts = [file_of(fact) for fact in samples.read(part.folder / "facts.jsonl") if fact.split == "train"]
    store = features(recipe, model, processor, [*facts, *(one.file for one in held_out)])
    prepare_layers(model, recipe)
    sources = tuple(sorted({branch.source for one in (*rows, *held_out) for branch in one.branches}))
    numbers = {source: number for number, source in enumerate(sources)}

    def batch(drawn: Sequence[Pack]) -> dict[str, Any]:
        made = collate(drawn, processor.tokenizer.pad_token_id, COMPILED_LENGTHS if recipe.optim.compile else 1)
        branches = [branch for one in drawn for branch in one.branches]
        from_where = [numbers[branch.source] for branch in branches for _ in branch.answer]
        told = Told(
            tuple(branch.id for branch in branches),
            torch.tensor(from_where),
            sum(map(len, drawn)),
            made.input_ids.numel(),
            len(branches),
        )
        return {"levels": store.get([one.file for one in drawn]), **vars(made), TOLD: told}

    def visual(row: Row) -> torch.Tensor:
        tokens: torch.Tensor = model.bridge([level.to(model.device) for level in store.get(row.files)])
        return tokens

    ask = asking(model, processor, ends, visual)
    questions = {one.file: own[0] for one, own in zip(held_out, asked, strict=True)}
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
        answer=lambda one: ask(questions[one.file]),
        data=hashes,
    )


OBJECTIVE = Objective(begin, question)
