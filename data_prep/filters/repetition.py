"""Texts that say the same again and again."""

from __future__ import annotations

from itertools import groupby

from lhrs_chat.schema import Sample

from . import Filter, FilterOptions
from ._texts import told, words

_SPAN = 3  # words that are compared together
_LEAST_SPANS = 12  # a text with fewer is too short to be judged


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge what the row says: runs of one word, and the share of spans of three words that were said before."""
    for where, text in told(sample):
        said = words(text)
        run = max(((len(list(group)), word) for word, group in groupby(said)), default=(0, ""))
        if run[0] > options.most_same_words and run[1].isalpha():
            return f"{where} says {run[1]!r} {run[0]} times in a row"
        spans = [tuple(said[start : start + _SPAN]) for start in range(len(said) - _SPAN + 1)]
        repeated = 1 - len(set(spans)) / len(spans) if len(spans) >= _LEAST_SPANS else 0.0
        if repeated > options.most_repeated:
            return (
                f"{where} repeats {repeated:.0%} of its spans of {_SPAN} words, more than {options.most_repeated:.0%}"
            )
    return None


FILTER = Filter(check)
