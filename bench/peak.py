"""The most memory that a piece of Python takes, Python itself included."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from lhrs_chat.errors import LhrsError

# VmHWM is the peak of this program alone; ru_maxrss also counts the program that started it, at the time of the start.
PRINT_PEAK = """
import resource
from pathlib import Path
status = Path("/proc/self/status")
if status.exists():
    print(next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mb(code: str, words: Sequence[str]) -> tuple[float, str]:
    """Run `code` with the arguments `words` in a process of its own: its peak in MB of 2^20, and what it printed.

    Raises:
        LhrsError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-c", code + PRINT_PEAK, *words], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LhrsError("a measured program failed", found=done.stderr.strip()[-400:])
    *said, peak_kb = done.stdout.splitlines()
    return int(peak_kb) / 1024, "\n".join(said)
