"""Images that are mostly empty."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lhrs_chat.schema import Sample

from . import Filter, FilterOptions
from ._pictures import KEPT, Look, looks


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge the share of pixels without a value; a pixel that is black in every band has none either."""
    for name, look in looks(sample):
        share = _share(look)
        if share > options.most_nodata:
            return f"{name} is {share:.0%} nodata, more than {options.most_nodata:.0%}"
    return None


@lru_cache(maxsize=KEPT)
def _share(look: Look) -> float:
    return float(np.mean(~look.valid | (look.pixels == 0).all(axis=2)))


FILTER = Filter(check)
