"""Which tokens are learned of the first rows of a recipe, for a person to read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice, pairwise

from lhrs_chat import samples
from lhrs_chat.errors import ConfigError
from lhrs_chat.models.processing import LhrsProcessor

from . import start
from .foreign import is_foreign, open_foreign
from .labels import Labelled
from .objectives import OBJECTIVES
from .recipe import Recipe
from .rows import Label, MakeLabel
from .turns import Writer

Decode = Callable[[list[int]], str]

ROWS = 3
BEGIN, END = "⟦", "⟧"


def shown(recipe: Recipe) -> str:
    """Write the first rows with what is learned between ⟦ and ⟧, and each picture as one word.

    Raises:
        ConfigError: the objective of the recipe does not learn from tokens.
    """
    make = OBJECTIVES.get(recipe.objective).label
    if make is None:
        raise ConfigError("this objective learns no tokens", found=recipe.objective, allowed="text, plain, chat")
    rows = (row for row in samples.read(recipe.data.folder) if row.split == "train")
    label, decode = _foreign(recipe) if is_foreign(recipe) else _own(recipe, make)
    return "\n".join(f"{row.id}\n{masked(decode, label(row))}\n" for row in islice(rows, ROWS))


def _own(recipe: Recipe, make: MakeLabel) -> tuple[Label, Decode]:
    model, processor = start.prepare(recipe)
    return make(processor, start.end_ids(model, processor), recipe.data), partial(words, processor)


def _foreign(recipe: Recipe) -> tuple[Label, Decode]:
    writer = Writer(open_foreign(recipe), recipe.data.task_tags)
    return writer.label, writer.decode


def masked(decode: Decode, made: Labelled) -> str:
    """Write the tokens of a row with what is learned of them between ⟦ and ⟧."""
    pieces = []
    edges = [0, *(i for i in range(1, len(made.ids)) if made.learned[i] != made.learned[i - 1]), len(made.ids)]
    for begin, end in pairwise(edges):
        text = decode(made.ids[begin:end].tolist())
        pieces.append(f"{BEGIN}{text}{END}" if made.learned[begin] else text)
    return "".join(pieces)


def words(processor: LhrsProcessor, ids: list[int]) -> str:
    """Decode tokens; the visual tokens of a picture become its one word."""
    written, seen = "", 0
    run: list[int] = []
    for token in ids:
        if token == processor.image_token_id:
            if seen % processor.num_image_tokens == 0:
                written, run = written + processor.tokenizer.decode(run) + processor.image_token, []
            seen += 1
        else:
            run.append(token)
    return written + str(processor.tokenizer.decode(run))
