"""The objective `chat`: every answer of a conversation and the token that ends it."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.schema import Message, Part, Sample

from ..boxes import check_answers, spoken
from ..labels import Labelled, label_chat
from ..recipe import DataPart
from ..rows import Label
from . import Objective, _rows


def chat(processor: LhrsProcessor, ends: Collection[int], part: DataPart) -> Label:
    """Make rows of whole conversations, their questions behind the tag of their task; see `label_chat`."""

    def label(sample: Sample) -> Labelled:
        turns = spoken(sample, processor.dialect, processor.image_processor.placement)
        if sample.task in part.task_tags:
            turns = tuple(_tagged(turn, part.task_tags[sample.task]) for turn in turns)
        check_answers(turns, processor.dialect)
        return label_chat(processor, turns, ends)

    return label


def _tagged(turn: Message, tag: str) -> Message:
    """Put a tag before the words of a question, behind its pictures."""
    if turn.role != "user":
        return turn
    pictures = tuple(part for part in turn.content if part.type == "image")
    words = tuple(part for part in turn.content if part.type != "image")
    return Message(turn.role, (*pictures, Part("text", text=f"{tag} "), *words))


OBJECTIVE = Objective(partial(_rows.begin, make_label=chat), chat)
