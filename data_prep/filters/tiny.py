"""Images too small to show anything."""

from __future__ import annotations

from lhrs_chat.schema import Sample

from . import Filter, FilterOptions
from ._pictures import images, look


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge the shorter side of every image."""
    for name, image in images(sample):
        found = look(image) if image.size_px is None else None
        size_px = image.size_px or (found.size_px if found is not None else None)
        if size_px is not None and min(size_px) < options.least_side_px:
            return f"{name} has {size_px[0]} x {size_px[1]} pixels, a side of less than {options.least_side_px}"
    return None


FILTER = Filter(check)
