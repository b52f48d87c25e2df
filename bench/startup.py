"""How long `lhrs-chat --help` takes, against an interpreter that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.row import Row
from lhrs_chat.errors import LhrsError

TARGET_S = 0.5
ROUNDS = 7


def measure() -> Row:
    """Start both in turns and compare the medians of their wall times.

    Raises:
        LhrsError: the command is not installed beside this interpreter, or fails.
    """
    command = Path(sys.executable).parent / "lhrs-chat"
    if not command.exists():
        raise LhrsError("lhrs-chat is not installed beside this Python", found=command, next_step="pip install -e .")
    ours, bare = [str(command), "--help"], [sys.executable, "-c", "pass"]
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    _wall_s(ours)
    for turn in range(ROUNDS):
        for name, line in (("ours", ours), ("bare", bare))[:: 1 if turn % 2 else -1]:
            seconds[name].append(_wall_s(line))
    took, least = statistics.median(seconds["ours"]), statistics.median(seconds["bare"])
    return Row(
        what="`lhrs-chat --help`",
        ours=f"{took:.3f} s",
        against=f"{least:.3f} s (`python -c pass`)",
        ratio=took / least,
        target=f"under {TARGET_S} s",
        passed=took < TARGET_S,
    )


def _wall_s(command: Sequence[str]) -> float:
    before = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - before
    if done.returncode != 0:
        raise LhrsError(f"{' '.join(command)} failed", found=done.stderr.strip()[-400:])
    return took
