"""The texts of a row that a filter judges."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lhrs_chat.schema import Sample

CAPTIONS = frozenset({"caption", "region_caption", "change_caption", "height_caption"})
"""Tasks whose answers are sentences."""


def told(sample: Sample) -> Iterator[tuple[str, str]]:
    """Yield what a model would learn to say, with the words for where it stands: answers, or captions of facts."""
    answers = [message for message in sample.messages if message.role == "assistant"]
    for number, message in enumerate(answers, 1):
        yield f"answer {number}", message.text
    if not sample.messages:
        for number, caption in enumerate(sample.targets.captions, 1):
            yield f"caption {number}", caption


def everything(sample: Sample) -> Iterator[tuple[str, str]]:
    """Yield all text of a row: each turn, or the captions of facts."""
    for number, message in enumerate(sample.messages, 1):
        yield f"turn {number} ({message.role})", message.text
    if not sample.messages:
        yield from told(sample)


def words(text: str) -> list[str]:
    """The words of a text in lower case; a sign of a script without spaces counts as a word."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+(?:['\u2019-][^\W_]+)*", text.lower())
