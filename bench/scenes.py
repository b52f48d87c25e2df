"""Procedural scenes a second, made by two processes, beside PNG encoding of the same pictures by the same processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.row import Row
from lhrs_chat.errors import LhrsError

ROOT = Path(__file__).resolve().parents[1]
SIDE_PX = 256
BATCHES, BATCH = 6, 15  # for each process
PROCESSES = 2
TARGET = 0.7
PLAIN = "synthetic"
SOURCE_NAMES = (PLAIN, "synthetic_pairs", "synthetic_height", "synthetic_change", "synthetic_clouds")

# Making and encoding take turns, so that what else runs on the machine slows both. The first batch is not counted: the
# textures are made with it.
PROGRAM = """
import io, json, sys, time
from itertools import islice
sys.path.insert(0, sys.argv[1])
import numpy as np
import PIL.Image
from data_prep.sources import SOURCES, SourceOptions

name, seed, side, batches, batch = sys.argv[2], *map(int, sys.argv[3:])
rows = SOURCES.get(name).read(None, SourceOptions(seed=seed, size_px=side))
made_s = encoded_s = 0.0
for turn in range(batches + 1):
    before = time.perf_counter()
    pictures = [row.images[0].array for row in islice(rows, batch)]
    made = time.perf_counter()
    for picture in pictures:
        picture = np.ascontiguousarray(picture.transpose(1, 2, 0))
        PIL.Image.fromarray(picture).save(io.BytesIO(), format="PNG")
    if turn:
        made_s += made - before
        encoded_s += time.perf_counter() - made
print(json.dumps([made_s, encoded_s]))
"""


def measure() -> list[Row]:
    """One line for each source.

    Raises:
        LhrsError: the measured program failed.
    """
    return [_row(name) for name in SOURCE_NAMES]


def _row(name: str) -> Row:
    words = [str(number) for number in (SIDE_PX, BATCHES, BATCH)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(ROOT), name, str(seed), *words], stdout=subprocess.PIPE, text=True
        )
        for seed in range(PROCESSES)
    ]
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise LhrsError(f"measuring the source {name} failed", found=[process.returncode for process in running])
    seconds = [json.loads(text) for text in said]
    made, encoded = (PROCESSES * BATCHES * BATCH / max(spent) for spent in zip(*seconds, strict=True))
    has_target = name == PLAIN
    return Row(
        what=f"scenes of the source {name} at {SIDE_PX} px, {PROCESSES} processes",
        ours=f"{made:.0f} scenes/s",
        against=f"{encoded:.0f} pictures/s (PNG encoding of one picture of each)",
        ratio=made / encoded,
        target=f"at least {TARGET:g}" if has_target else "-",
        passed=made / encoded >= TARGET if has_target else None,
        remark="drawing, sensor, masks, boxes, captions; nothing is written" if has_target else "",
    )
