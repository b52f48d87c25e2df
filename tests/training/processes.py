"""Runs of two processes under torchrun, on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from safetensors.torch import load_file

from lhrs_chat.config import dump_yaml
from training.recipe import Recipe

TIMED = {"tokens_per_second", "samples_per_second", "mfu"}


def start(recipe: Recipe, log: IO[bytes], processes: int = 2, python: str = sys.executable) -> subprocess.Popen:
    """Start a recipe, by torchrun where there are several processes."""
    file = recipe.out.with_suffix(".run.yaml")
    file.write_text(dump_yaml(recipe))
    launched = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "training"]
    words = launched if processes > 1 else ["-m", "training"]
    quiet = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    return subprocess.Popen([python, *words, str(file)], stdout=log, stderr=log, env={**os.environ, **quiet})


def journal(out: Path) -> list[dict]:
    """What a run logged, without what hangs on the clock."""
    lines = (out / "loss.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in TIMED} for line in lines]


def furthest(one: Path, other: Path) -> float:
    """The largest difference between two files of tensors of the same names."""
    a, b = load_file(one), load_file(other)
    assert a.keys() == b.keys()
    assert a
    return max(float((a[name] - b[name]).abs().max()) for name in a)
