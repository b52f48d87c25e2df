"""Rows that a score model found worse than a bound."""

from __future__ import annotations

from lhrs_chat.schema import Sample

from . import Filter, FilterOptions


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge `Sample.score` where a bound is set; a row that was never scored is dropped then, so none passes unseen."""
    if options.least_score is None:
        return None
    if sample.score is None:
        return "has no score"
    if not sample.score >= options.least_score:
        return f"score {sample.score:.3g} is below {options.least_score:g}"
    return None


FILTER = Filter(check)
