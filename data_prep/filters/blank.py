"""Images that show one colour."""

from __future__ import annotations

from functools import lru_cache

from lhrs_chat.schema import Sample

from . import Filter, FilterOptions
from ._pictures import KEPT, Look, grey, looks


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge the standard deviation of the brightness where the image holds values."""
    for name, look in looks(sample):
        contrast = _contrast(look)
        if contrast < options.least_contrast:
            return f"{name} is blank: its grey values differ by {contrast:.1f}, less than {options.least_contrast:g}"
    return None


@lru_cache(maxsize=KEPT)
def _contrast(look: Look) -> float:
    values = grey(look.pixels)[look.valid]
    return float(values.std()) if values.size else 0.0


FILTER = Filter(check)
