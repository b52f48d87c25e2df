"""Texts that say nothing, too little or too much."""

from __future__ import annotations

from lhrs_chat.schema import Part, Sample

from . import Filter, FilterOptions
from ._texts import CAPTIONS, everything, told, words


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge the number of words: of every turn, and of captions, which also have a least."""
    for number, message in enumerate(sample.messages, 1):
        if not any(_says(part) for part in message.content):
            return f"turn {number} ({message.role}) is empty"
    for where, text in everything(sample):
        count = len(words(text))
        if count > options.most_words:
            return f"{where} has {count} words, more than {options.most_words}"
    if sample.task in CAPTIONS or not sample.messages:
        for where, text in told(sample):
            count = len(words(text))
            if count < options.least_caption_words:
                return f"{where} has {count} words, fewer than {options.least_caption_words}"
    return None


def _says(part: Part) -> bool:
    return bool(part.text.strip()) if part.type == "text" else True


FILTER = Filter(check)
