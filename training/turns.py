"""Conversations as a model of transformers writes them, and which of their tokens are learned: every answer to its end.

A template decides where an answer begins and ends; where it ends none, as LLaVA-1.5's, the tokenizer's end token is put
behind it. Tokens are found by their place in the text, after every picture was replaced by what the processor writes
for one of its size, so that pictures need not be read to know the tokens of a row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from PIL import Image as PilImage

from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.models.backends.transformers import TransformersBackend, begins, image_token_of, write_turns
from lhrs_chat.schema import Message, Part, Sample

from .boxes import check_answers, size_px_of, spoken, tagged
from .labels import Labelled

Span = tuple[int, int]


class Writer:
    """Makes rows of conversations for a model of transformers.

    Args:
        opened: the model, with its processor.
        tags: what stands before the questions of a task.

    Raises:
        ConfigError: its tokenizer does not tell where in a text its tokens are.
    """

    def __init__(self, opened: TransformersBackend, tags: Mapping[str, str]) -> None:
        self.processor: Any = opened.processor
        self.dialect = opened.dialect
        self.tags = tags
        words = self.processor.tokenizer
        if not words.is_fast:
            raise ConfigError(
                "training needs a fast tokenizer, which knows the places of its tokens", found=type(words)
            )
        named = opened.model.generation_config.eos_token_id
        ids = {words.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
        self.ends = frozenset(words.convert_ids_to_tokens(sorted(ids)))
        self._opened = opened
        self.layout = cache(self._layout)
        self.picture = cache(self._picture)

    def fingerprint(self) -> str:
        """Hash whatever decides the tokens of a row beside the row."""
        words = self.processor.tokenizer
        facts = [words.backend_tokenizer.to_str(), self.processor.to_json_string(), words.chat_template, self.dialect]
        return hashlib.sha256(repr([*facts, self.processor.chat_template, sorted(self.ends)]).encode()).hexdigest()

    def label(self, sample: Sample) -> Labelled:
        """Write a row; learned is every answer and the token that ends it.

        Raises:
            DataError: it does not end with an answer, or the template writes one otherwise when more turns follow.
        """
        turns = tagged(spoken(sample, self.dialect, self.layout), self.tags.get(sample.task))
        check_answers(turns, self.dialect)
        text, spans = answers(self.processor, turns, self.ends)
        parts = (part.image for turn in turns for part in turn.content if part.type == "image")
        sizes = [size_px_of(sample.images[number]) for number in parts if number is not None]
        expanded, moved = self._expand(text, spans, sizes)
        made = self.processor.tokenizer(
            expanded, add_special_tokens=not begins(self.processor, [text]), return_offsets_mapping=True
        )
        learned = [
            any(start < end and end > first and end <= last for first, last in moved)
            for start, end in made["offset_mapping"]
        ]
        return Labelled(np.asarray(made["input_ids"], dtype=np.int32), np.asarray(learned), text, spans[0][0])

    def decode(self, ids: Sequence[int]) -> str:
        """Write tokens as text, the many signs of a picture as one."""
        sign = image_token_of(self.processor)
        text = str(self.processor.tokenizer.decode(ids, clean_up_tokenization_spaces=False))
        return re.sub(f"({re.escape(sign)})+", sign, text)

    def _expand(self, text: str, spans: Sequence[Span], sizes: Sequence[tuple[int, int]]) -> tuple[str, list[Span]]:
        """Write every picture as the processor does, and move the spans by what that adds before them."""
        sign = image_token_of(self.processor)
        pieces = text.split(sign)
        if len(pieces) != len(sizes) + 1:
            raise DataError(
                "a row shows other pictures than it has, or its text holds the sign of a picture",
                found=f"{len(pieces) - 1} times {sign}, {len(sizes)} pictures",
            )
        shown = [self.picture(size) for size in sizes]
        expanded = pieces[0] + "".join(picture + piece for picture, piece in zip(shown, pieces[1:], strict=True))

        def moved(place: int) -> int:
            before = text[:place].count(sign)
            return place + sum(len(picture) - len(sign) for picture in shown[:before])

        return expanded, [(moved(first), moved(last)) for first, last in spans]

    def _layout(self, size_px: tuple[int, int]) -> Placement | None:
        return self._opened.placement(PilImage.new("RGB", size_px))

    def _picture(self, size_px: tuple[int, int]) -> str:
        """Return what the processor writes in the place of a picture of this size."""
        made = self.processor(
            text=[image_token_of(self.processor)],
            images=[[PilImage.new("RGB", size_px)]],
            return_text_replacement_offsets=True,
        )
        return str(made["text_replacement_offsets"][0][0]["replacement"])


def answers(processor: Any, turns: Sequence[Message], ends: Collection[str]) -> tuple[str, list[Span]]:
    """Write a conversation with the processor's template, and say where its answers are, their ends included.

    Args:
        processor: of the model.
        turns: of texts and images; the last one is the assistant's.
        ends: signs that end an answer.

    Raises:
        DataError: there is no answer, or the template does not keep its beginning.
    """
    if not turns or turns[-1].role != "assistant":
        raise DataError("a conversation to learn from ends with an answer", found=[turn.role for turn in turns])
    end = Part("text", text=processor.tokenizer.eos_token or "")
    closed = [replace(turn, content=(*turn.content, end)) if turn.role == "assistant" else turn for turn in turns]
    for written in (turns, closed):
        text = write_turns(processor, written, opened=False)
        found = [_answer(processor, written, number, text, ends) for number in _said(written)]
        spans = [span for span in found if span is not None]
        if len(spans) == len(found):
            return text, spans
    raise DataError("the chat template ends no answer, and the tokenizer has no end token", found=text)


def _said(turns: Sequence[Message]) -> list[int]:
    return [number for number, turn in enumerate(turns) if turn.role == "assistant"]


def _answer(processor: Any, turns: Sequence[Message], number: int, text: str, ends: Collection[str]) -> Span | None:
    """Return where in `text` the answer of a turn is, or None where it does not end.

    The prompt before an answer is the one that the model gets when it is asked, so that training and asking agree.
    """
    before = write_turns(processor, turns[:number], opened=True)
    after = write_turns(processor, turns[: number + 1], opened=False)
    first = next((at for at, (one, other) in enumerate(zip(before, text, strict=False)) if one != other), len(before))
    last = max((place + len(end) for end in ends if (place := after.rfind(end)) >= first), default=None)
    if last is None:
        return None
    if text[:last] != after[:last]:
        raise DataError("the chat template writes an answer otherwise when more turns follow", found=after[first:])
    return first, last
