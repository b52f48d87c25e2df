"""Steps that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from data_prep.engine import Outcome
from data_prep.output import Dropped
from lhrs_chat.schema import Image, Sample, Targets


def rows(count: int, folder: Path | None = None) -> list[Sample]:
    image = Image(path=str(folder / "a.png") if folder else "a.png", size_px=(4, 4))
    facts = Sample("", (image,), "facts", "made", "CC0-1.0", "", targets=Targets(captions=("a field",)))
    return [replace(facts, id=f"made-{n:05d}", scene_id=f"scene-{n // 3}", meta={"n": n}) for n in range(count)]


def drop_every_seventh(batch: list[Sample]) -> Outcome:
    kept = [row for row in batch if row.meta["n"] % 7]
    return Outcome(kept, [Dropped.of(row, "seventh", "its number") for row in batch if row.meta["n"] % 7 == 0])


def double(batch: list[Sample]) -> Outcome:
    return Outcome([replace(row, id=f"{row.id}/{part}") for row in batch for part in ("a", "b")])


def slow(batch: list[Sample]) -> Outcome:
    time.sleep(0.02)
    return Outcome(batch)


def noted(folder: str, batch: list[Sample]) -> Outcome:
    """Take a while, and leave word of the machine of the cluster that did it."""
    import ray

    (Path(folder) / ray.get_runtime_context().get_node_id()).touch()
    time.sleep(0.2)
    return Outcome(batch)


def deadly(batch: list[Sample]) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(batch)


def interruptible(batch: list[Sample]) -> Outcome:
    """Leave the rows, if the process does not hold an interrupt back."""
    held = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return Outcome([] if held else batch)


STEPS = (drop_every_seventh, double, slow)
