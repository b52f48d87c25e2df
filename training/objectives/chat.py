"""The objective `chat`: every answer of a conversation and the token that ends it."""

from __future__ import annotations

from collections.abc import Collection

from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.schema import Sample

from ..boxes import check_answers, spoken, tagged
from ..foreign import is_foreign
from ..labels import Labelled, label_chat
from ..recipe import DataPart, Recipe
from ..rows import Label
from ..stage import Stage
from . import Objective, _foreign_rows, _rows


def chat(processor: LhrsProcessor, ends: Collection[int], part: DataPart) -> Label:
    """Make rows of whole conversations, their questions behind the tag of their task; see `label_chat`."""

    def label(sample: Sample) -> Labelled:
        turns = spoken(sample, processor.dialect, processor.image_processor.placement)
        turns = tagged(turns, part.task_tags.get(sample.task))
        check_answers(turns, processor.dialect)
        return label_chat(processor, turns, ends)

    return label


def begin(recipe: Recipe) -> Stage:
    """Set up the stage: with our own kind of model, or with any other of transformers through its own processor."""
    return _foreign_rows.begin(recipe) if is_foreign(recipe) else _rows.begin(recipe, chat)


OBJECTIVE = Objective(begin, chat)
