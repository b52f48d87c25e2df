"""Vehicles in aeroplane and drone frames: squares cut so that every box is either whole or out of sight."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lhrs_chat.schema import Box, Sample, Targets

from . import Source, SourceOptions, _chips, _published

LICENCE = "CC BY 3.0 (KIT AIS) and CC BY-SA (Minsk drone); the row's licence says which"
LABELS = ("car", "bus", "minibus")  # trucks are so rare that they are told only where they are
CHIPS_PER_FRAME = 4
TRIES = 24
RARE_TOLD = 0.2
VEHICLE_PX = (20.0, 56.0)  # length of the median vehicle in a chip of 224 px


def read(root: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield square chips of the frames with their boxes and the count of every kind of vehicle.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("vehicles_aerial", root, _chips.NEEDS)
    rows = _chips.shuffled(_chips.read_rows(root), options.seed)
    yield from _chips.take((chip for row in rows for chip in _chips_of(root, row, options)), options)


def _chips_of(root: Path, row: dict[str, Any], options: SourceOptions) -> Iterator[Sample]:
    if options.split is not None and _chips.field(row, "split") != options.split:
        return
    boxes = [Box(tuple(entry["xyxy"]), "pixel", str(entry["label"])) for entry in _chips.field(row, "boxes")]
    frame = _chips.Frame(_chips.picture(root / str(_chips.field(row, "file"))))
    height, width = frame.rgb.shape[:2]
    rng = random.Random(f"{options.seed}/{row['id']}")
    for number in range(CHIPS_PER_FRAME):
        target = boxes[rng.randrange(len(boxes))] if boxes and number else None
        candidates = _candidates(rng, (width, height), boxes, target)
        window = _chips.best_window(candidates, boxes, options.size_px)
        kept, unclear = _chips.boxes_in(boxes, window, options.size_px)
        if unclear:
            continue
        labels = tuple(dict.fromkeys([*LABELS, *(box.label for box in kept)]))
        yield Sample(
            id=f"{row['id']}_{number}",
            images=(_chips.chip_image(frame, window, options.size_px),),
            task="facts",
            source="vehicles_aerial",
            licence=str(_chips.field(row, "licence")),
            scene_id=str(_chips.field(row, "scene")),
            targets=Targets(boxes=kept, numbers=_chips.counts(kept, labels)),
            split=str(_chips.field(row, "split")),
            meta={"image_file": row["file"], "window": list(window), "complete": _asked(rng, labels)},
        )


def _asked(rng: random.Random, labels: Sequence[str]) -> list[str]:
    """Thin out the kinds told as absent: most squares hold a car, few a bus or a minibus."""
    return [label for label in labels if label == "car" or rng.random() < RARE_TOLD]


def _candidates(
    rng: random.Random, size_px: tuple[int, int], boxes: Sequence[Box], target: Box | None
) -> list[_chips.Window]:
    """Draw windows of many sizes; those for a target hold its centre."""
    width, height = size_px
    length = median([max(b.xyxy[2] - b.xyxy[0], b.xyxy[3] - b.xyxy[1]) for b in boxes]) if boxes else 32.0
    windows: list[_chips.Window] = []
    for _ in range(TRIES):
        side = min(int(length * 224 / rng.uniform(*VEHICLE_PX)), width, height)
        if target is None:
            x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
        else:
            x = (target.xyxy[0] + target.xyxy[2]) / 2 - side * rng.uniform(0.1, 0.9)
            y = (target.xyxy[1] + target.xyxy[3]) / 2 - side * rng.uniform(0.1, 0.9)
        left, top = int(min(max(x, 0), width - side)), int(min(max(y, 0), height - side))
        windows.append((left, top, left + side, top + side))
    return windows


SOURCE = Source(LICENCE, read, _chips.NEEDS)
