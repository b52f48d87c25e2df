"""Sen1Floods11: optical and radar squares of a flooded plain with their hand-made water mask.

The west of a chip of the data set trains, its east tests. Each square comes three times: in natural colour, where muddy
water is brown, in the composite B12, B8, B4, where water is dark blue, and as radar (VV, VH and their ratio),
where smooth water is dark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample, Targets

from . import Source, SourceOptions, _chips, _published

LICENCE = "contains modified Copernicus Sentinel data 2019; mask by the Sen1Floods11 authors"
SIDE_PX = 128
STRIDE_PX = 64
TRACE_PERCENT = 1.0  # less water than this is not told of
MIN_VALID = 0.98
COMPOSITES = (("B4", "B3", "B2"), ("B12", "B8", "B4"))


@dataclass(frozen=True)
class _View:
    """One way to show the scene. `valid`: (H, W) bool."""

    frame: _chips.Frame
    valid: np.ndarray
    bands: tuple[str, str, str]


def read(root: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield square chips with the share of water, and the mask of the water.

    All of the scene lies near water, so nothing is said of presence: every answer would be yes.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("sen1floods11_sample", root, _chips.NEEDS)
    rows = _chips.read_rows(root)
    yield from _chips.take((chip for row in rows for chip in _chips_of(root, row, options)), options)


def _chips_of(root: Path, row: dict[str, Any], options: SourceOptions) -> Iterator[Sample]:
    files = _chips.field(row, "files")
    truth = _chips.raster(root / str(_chips.field(row, "mask")))[0][0]
    names = list(_chips.field(row, "bands")["optical"])
    missing = [band for bands in COMPOSITES for band in bands if band not in names]
    if missing:
        raise DataError(f"row {row['id']} lacks bands", found=", ".join(names), allowed=", ".join(missing))
    dates = row.get("dates", {})
    optical, seen, georef = _chips.raster(root / str(files["optical"]))
    views: list[_View] = []
    for bands in COMPOSITES:
        rgb = _chips.stretch(optical[[names.index(band) for band in bands]], seen)
        views.append(_View(_chips.Frame(rgb, georef, "Sentinel-2", dates.get("optical")), seen, bands))
    radar, heard, georef = _chips.raster(root / str(files["sar"]))
    shown = _chips.stretch(np.concatenate([radar[:2], radar[:1] - radar[1:2]]), heard)
    views.append(_View(_chips.Frame(shown, georef, "Sentinel-1", dates.get("sar")), heard, ("VV", "VH", "VV/VH")))
    height, width = truth.shape
    for split, area in _chips.halves(width, height).items():
        for window in _chips.grid(area, min(SIDE_PX, area[2] - area[0], height), STRIDE_PX):
            x0, y0, x1, y1 = window
            piece = truth[y0:y1, x0:x1]
            for view in views:
                if ((piece >= 0) & view.valid[y0:y1, x0:x1]).mean() >= MIN_VALID:
                    yield from _chip(row, view, piece == 1, window, split, options.size_px)


def _chip(
    row: dict[str, Any], view: _View, water: np.ndarray, window: _chips.Window, split: str, size_px: int
) -> Iterator[Sample]:
    cover = _chips.share(water, "water")
    if cover.value < TRACE_PERCENT:
        return
    image = replace(_chips.chip_image(view.frame, window, size_px), bands=view.bands)
    mask = _chips.chip_mask(water, (0, 0, *water.shape[::-1]), size_px, "water")
    yield Sample(
        id=f"{row['id']}_{view.bands[0]}_{window[0]}_{window[1]}",
        images=(image,),
        task="facts",
        source="sen1floods11_sample",
        licence=LICENCE,
        scene_id=f"{row['id']}/{split}",
        targets=Targets(numbers=(cover,), masks=(mask,)),
        split=split,
        footprint=_chips.footprint(image),
        meta={"window": list(window), "present": [], "complete": []},
    )


SOURCE = Source(LICENCE, read, _chips.NEEDS)
