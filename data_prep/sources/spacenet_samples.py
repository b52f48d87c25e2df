"""SpaceNet samples: panchromatic squares of Atlanta with building boxes and shares. The west trains, the east tests.

The road scene (Las Vegas) is not read: its mask leaves out unpaved roads and draws the others with one fixed width, so
neither the share nor the absence of roads is known. The Rotterdam scenes carry no labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lhrs_chat.schema import Box, Sample, Targets

from . import Source, SourceOptions, _chips, _published

LICENCE = "CC BY-SA 4.0 (SpaceNet)"
SIDE_PX = 220
STRIDE_PX = 65
TRACE_PERCENT = 0.5  # a chip with less, but some, is left out


def read(root: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield square chips of the scenes that have building boxes and a mask.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("spacenet_samples", root, _chips.NEEDS)
    rows = [row for row in _chips.read_rows(root) if "mask" in row and "boxes" in row]
    yield from _chips.take((chip for row in rows for chip in _chips_of(root, row, options)), options)


def _chips_of(root: Path, row: dict[str, Any], options: SourceOptions) -> Iterator[Sample]:
    values, valid, georef = _chips.raster(root / str(_chips.field(row, "file")))
    frame = _chips.Frame(_chips.stretch(values[:1], valid), georef, "panchromatic")
    mask = _chips.raster(root / str(row["mask"]))[0][0] > 0
    boxes = [Box(tuple(entry["xyxy"]), "pixel", "building") for entry in row["boxes"]]
    yield from building_chips(frame, mask, boxes, str(row["id"]), "spacenet_samples", options)


def building_chips(
    frame: _chips.Frame, mask: np.ndarray, boxes: list[Box], scene: str, source: str, options: SourceOptions
) -> Iterator[Sample]:
    """Yield chips of a frame with all its buildings: boxes, their count and the share of `mask` (H, W) bool."""
    height, width = mask.shape
    for split, area in _chips.halves(width, height).items():
        for window in _chips.grid(area, min(SIDE_PX, area[2] - area[0], height), STRIDE_PX):
            x0, y0, x1, y1 = window
            kept, unclear = _chips.boxes_in(boxes, window, options.size_px)
            cover = _chips.share(mask[y0:y1, x0:x1], "building")
            if unclear or (0 < cover.value < TRACE_PERCENT):
                continue
            image = _chips.chip_image(frame, window, options.size_px)
            yield Sample(
                id=f"{scene}_{x0}_{y0}",
                images=(image,),
                task="facts",
                source=source,
                licence=LICENCE,
                scene_id=f"{scene}/{split}",
                targets=Targets(
                    boxes=kept,
                    numbers=(cover, *_chips.counts(kept, ("building",))),
                    masks=(_chips.chip_mask(mask, window, options.size_px, "building"),),
                ),
                split=split,
                footprint=_chips.footprint(image),
                meta={
                    "window": list(window),
                    "present": ["building"] if kept else [],
                    "complete": ["building"],
                },
            )


SOURCE = Source(LICENCE, read, _chips.NEEDS)
