"""Captions -> caption rows, the sentences as they are told: one row each.

Sets such as RSICD, LHRS-Align and ChatEarthNet tell sentences of a picture and nothing else; this is how they are
trained on. A question for one sentence is asked only where the caption is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from lhrs_chat.schema import Sample, Targets

from . import Builder, _wordings
from ._facts import is_of_first, pick
from ._rows import Rows

_SHORT = ("sentence", "short", "caption")
LONG = tuple(words for words in _wordings.CAPTION if not any(short in words.lower() for short in _SHORT))


def build(sample: Sample, rng: np.random.Generator) -> Iterator[Sample]:
    """Yield one row for each distinct caption."""
    rows = Rows(sample, "captions")
    shown = (0,) if is_of_first(sample) else range(len(sample.images))
    for caption in dict.fromkeys(sample.targets.captions):
        text = tidy(caption)
        if text:
            question = pick(rng, _wordings.CAPTION if _sentences(text) == 1 else LONG)
            targets = Targets(captions=(text,), labels=sample.targets.labels)
            yield rows.make("caption", [(question, text)], targets, images=shown)


def tidy(caption: str) -> str:
    """A caption without the blanks that tokenisers leave before marks; '' where it holds no word."""
    text = re.sub(r"\s+([.,;:!?])", r"\1", re.sub(r"\s+", " ", caption)).strip()
    return text if re.search(r"\w", text) else ""


def _sentences(text: str) -> int:
    return len([sentence for sentence in re.split(r"[.!?](?:\s|$)", text) if sentence.strip()])


BUILDER = Builder(needs="captions", build=build)
