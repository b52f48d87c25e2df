"""What the engine of data_prep costs: 256 px JPEG pictures a second against a bare loop, and memory by number of rows.

Each picture is decoded, resized, hashed and projected on 64 features. The bare loop does the same to the same files in
as many processes, and neither reads rows nor writes results. Both are timed with the start of their processes.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench.peak import peak_mb
from bench.row import Row

ROOT = Path(__file__).resolve().parents[1]
PICTURES = 500
SIDE_PX = 256
TIMED = 6_000
ROUNDS = 5
FEW, MANY = 1_000, 20_000
LEAST = 0.90
GROWTH = 1.2
MOST_MB = 1024.0

# A module of its own, so that the processes of the engine can import the step; nothing that runs here counts.
MODULE = """
import json, multiprocessing, os, resource, time
from dataclasses import replace
from pathlib import Path
import numpy as np
import PIL.Image
from data_prep.engine import Outcome, run
from lhrs_chat import perceptual, samples
from lhrs_chat.schema import Image, Sample

WEIGHTS = np.random.default_rng(1).standard_normal((64, 32 * 32 * 3)).astype(np.float32)


def look(path):
    with PIL.Image.open(path) as picture:
        shown = picture.convert("RGB").resize((224, 224), PIL.Image.Resampling.BICUBIC)
    small = perceptual.small(shown.convert("L"), perceptual.WHOLE)
    pixels = np.asarray(shown.resize((32, 32), PIL.Image.Resampling.BOX), dtype=np.float32)
    return int(perceptual.phash(small[None])[0]), WEIGHTS @ pixels.ravel()


def step(batch):
    found = [look(row.images[0].path) for row in batch]
    return Outcome([
        replace(row, meta={"hash": seen, "features": [round(float(value), 1) for value in features]})
        for row, (seen, features) in zip(batch, found, strict=True)
    ])


def loop(paths):
    for path in paths:
        look(path)


def write(folder, pictures, side):
    rng = np.random.default_rng(0)
    for number in range(pictures):
        small = PIL.Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        small.resize((side, side), PIL.Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)


def rows(folder, count, pictures):
    for number in range(count):
        image = Image(path=f"{number % pictures}.jpg")
        yield Sample(f"made-{number}", (image,), "facts", "made", "CC0-1.0", f"scene-{number}")


def main(folder, job, count, pictures):
    folder, count, pictures = Path(folder), int(count), int(pictures)
    workers = len(os.sched_getaffinity(0))
    source = folder / f"{count}.parquet"
    if job == "engine":
        samples.write(source, rows(folder, count, pictures))
    before, cpu_before = time.perf_counter(), sum(os.times()[:4])
    if job == "engine":
        assert run(source, folder / f"out-{os.getpid()}", [step], plan={}, workers=workers)["rows_out"] == count
    else:
        paths = [str(folder / f"{number % pictures}.jpg") for number in range(count)]
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            pool.map(loop, [paths[part::workers] for part in range(workers)])
    seconds = time.perf_counter() - before
    cpu_s = sum(os.times()[:4]) - cpu_before
    workers_mb = workers * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "workers_mb": workers_mb}))
"""
PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:3]
import prep_job
if __name__ == "__main__":
    if sys.argv[3] == "write":
        prep_job.write(prep_job.Path(sys.argv[2]), *map(int, sys.argv[4:]))
    else:
        prep_job.main(*sys.argv[2:])
"""


class Run(NamedTuple):
    """What one run of a program took: seconds, seconds of all cores, peak memory of all processes."""

    seconds: float
    cpu_s: float
    peak_mb: float


def measure() -> list[Row]:
    """Two lines: speed against the bare loop, memory.

    Raises:
        LhrsError: a measured program failed.
    """
    with tempfile.TemporaryDirectory(prefix="lhrs-bench-") as folder:
        (Path(folder) / "prep_job.py").write_text(MODULE)
        peak_mb(PROGRAM, [str(ROOT), folder, "write", str(PICTURES), str(SIDE_PX)])
        pairs = [(_run(folder, "engine", TIMED), _run(folder, "loop", TIMED)) for _ in range(ROUNDS)]
        few, many = (_run(folder, "engine", count).peak_mb for count in (FEW, MANY))
    ratios = [loop.seconds / engine.seconds for engine, loop in pairs]
    ratio = statistics.median(ratios)
    engine_s, loop_s = (statistics.median(run.seconds for run in runs) for runs in zip(*pairs, strict=True))
    cpu = statistics.median(loop.cpu_s / engine.cpu_s for engine, loop in pairs)
    return [
        Row(
            what=f"decode, resize, hash, features of {TIMED:,} JPEG pictures of {SIDE_PX} px",
            ours=f"{TIMED / engine_s:.0f} images/s",
            against=f"{TIMED / loop_s:.0f} images/s (bare loop, as many processes)",
            ratio=ratio,
            target=f"at least {LEAST:.2f}",
            passed=ratio >= LEAST,
            remark=f"median of {ROUNDS} pairs, {min(ratios):.2f} to {max(ratios):.2f}; by seconds of the processors, "
            f"which others on the machine do not change, {cpu:.2f}",
        ),
        Row(
            what=f"peak memory of all processes, {MANY:,} pictures",
            ours=f"{many:.0f} MB",
            against=f"{few:.0f} MB ({FEW:,} pictures)",
            ratio=many / few,
            target=f"under {GROWTH}, and under {MOST_MB:.0f} MB",
            passed=many / few < GROWTH and many < MOST_MB,
            remark="the first process, and as often as there are workers the largest of them",
        ),
    ]


def _run(folder: str, job: str, count: int) -> Run:
    peak, said = peak_mb(PROGRAM, [str(ROOT), folder, job, str(count), str(PICTURES)])
    found: dict[str, float] = json.loads(said)
    return Run(found["seconds"], found["cpu_s"], peak + found["workers_mb"])
