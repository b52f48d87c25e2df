"""Finding near-duplicates among a million hashes, against comparing every pair."""

from __future__ import annotations

import time

import numpy as np

from bench.peak import peak_mb
from bench.row import Row
from lhrs_chat.errors import LhrsError

COUNT = 1_000_000
COPIES = 100_000
BITS = 6
TARGET_S = 60.0
TARGET_MB = 2048.0
ROWS = 500  # whose pairs are compared one by one, to tell how long all would take
SEARCH = """
import sys
import time
import numpy as np
from lhrs_chat.hamming import within
count, copies, bits = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
for number in range(copies):
    flips = np.bitwise_or.reduce(np.uint64(1) << rng.choice(64, number % (bits + 1), replace=False).astype(np.uint64))
    hashes[count - 1 - number] = hashes[number] ^ flips
before = time.perf_counter()
found = np.zeros(count, bool)
for ones, others, _ in within(hashes, hashes, bits):
    found[ones[others == count - 1 - ones]] = True
print(time.perf_counter() - before, int(found[:copies].sum()))
"""


def measure() -> Row:
    """Search among random hashes, a tenth of them copies in which up to six bits were turned over.

    Raises:
        LhrsError: a copy was not found.
    """
    peak, said = peak_mb(SEARCH, [str(COUNT), str(COPIES), str(BITS)])
    seconds, found = said.split()
    if int(found) != COPIES:
        raise LhrsError("near-duplicates were missed", found=found, allowed=COPIES)
    took, pairs = float(seconds), _every_pair_s()
    return Row(
        what=f"near-duplicates of {COUNT:,} hashes",
        ours=f"{took:.0f} s, {peak:.0f} MB",
        against=f"{pairs:.0f} s (every pair, told from {ROWS} rows)",
        ratio=pairs / took,
        target=f"under {TARGET_S:.0f} s and {TARGET_MB / 1024:.0f} GB",
        passed=took < TARGET_S and peak < TARGET_MB,
        remark=f"all pairs within {BITS} of 64 bits; all {COPIES:,} planted copies found; one thread, no index kept",
    )


def _every_pair_s() -> float:
    """How long numpy takes to compare every hash with every later one."""
    hashes = np.random.default_rng(0).integers(0, 2**64, COUNT, dtype=np.uint64)
    before = time.perf_counter()
    for one in hashes[:ROWS]:
        np.flatnonzero(np.bitwise_count(hashes ^ one) <= BITS)
    return (time.perf_counter() - before) * COUNT / ROWS / 2
