"""Filters judge one row at a time: each file of this folder defines `FILTER`, and its name is the filter's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lhrs_chat.plugins import Folder
from lhrs_chat.schema import Sample


@dataclass(frozen=True)
class FilterOptions:
    """The bounds that the filters keep to; `python -m data_prep filter ... name=value` sets one.

    Args:
        language: of the texts, where the row states none in `meta["language"]`; two letters.
        least_script_share: share of letters in the script of the language that a text has at least.
        least_caption_words: words that a caption has at least.
        most_words: words that a turn or caption has at most.
        most_same_words: times that a word stands in a row at most.
        most_repeated: share of spans of three words that a text said before, at most.
        least_side_px: the shorter side of an image has at least so many pixels.
        least_contrast: standard deviation of the grey values, of 255, that an image has at least.
        most_nodata: share of pixels without a value that an image has at most.
        least_sharpness: what `blur.sharpness` gives at least; published pictures have 0.02 to 10.
        most_cloud: share of cloud that an optical image has at most.
        least_score: score that a row has at least; none keeps all rows.
    """

    language: str = "en"
    least_script_share: float = 0.8
    least_caption_words: int = 2
    most_words: int = 512
    most_same_words: int = 3
    most_repeated: float = 0.3
    least_side_px: int = 32
    least_contrast: float = 2.0
    most_nodata: float = 0.5
    least_sharpness: float = 0.01
    most_cloud: float = 0.6
    least_score: float | None = None


@dataclass(frozen=True)
class Filter:
    """One rule. `check` returns None to keep a row, or the reason to drop it; it depends on nothing but the row."""

    check: Callable[[Sample, FilterOptions], str | None]


FILTERS: Folder[Filter] = Folder(__name__, "FILTER", Filter)
