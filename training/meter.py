"""How fast a run learns: tokens and samples a second, padding, losses of each source, the share of the machine used."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence

import torch

from lhrs_chat.registry import cache_folder

from .parallel import summed, world
from .stage import Told

TIMES = 5
SIZES = {"cpu": 1024, "cuda": 8192}


def gemm_peak(dtype: torch.dtype) -> float:
    """Return the floating-point operations a second of a large matrix product on this machine, the best of five.

    Measured once for each number format, device and number of threads, and kept in the cache.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.cuda.get_device_name() if device == "cuda" else f"{platform.processor()} {torch.get_num_threads()}"
    record = cache_folder() / "gemm_peak.json"
    known: dict[str, float] = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    key = f"{platform.node()} {kind} {dtype}"
    if key not in known:
        known[key] = measure_gemm(device, dtype)
        record.parent.mkdir(parents=True, exist_ok=True)
        scratch = record.with_name(f".{record.name}-{platform.node()}-{time.time_ns()}")
        scratch.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        scratch.replace(record)
    return known[key]


def measure_gemm(device: str, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second of a large matrix product, the best of five."""
    size = SIZES[device]
    left, right = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(TIMES + 1):  # the first one warms up
        begun = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return float(2 * size**3 / min(seconds[1:]))


class Meter:
    """Counts what passes between two lines of the log.

    Args:
        sources: their names, as batches number them.
        flops_per_token: of a training step.
        peak_flops: what the machine can do; 0 leaves the share out.
    """

    def __init__(self, sources: Sequence[str], flops_per_token: float, peak_flops: float) -> None:
        self.sources = tuple(sources)
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self._begin()

    def _begin(self) -> None:
        self._losses = torch.zeros(2, len(self.sources), dtype=torch.float64)
        self._tokens = self._slots = self._samples = 0
        self._since = time.perf_counter()

    def add(self, told: Told, losses: torch.Tensor) -> None:
        """Count a batch and its `losses`, (items,)."""
        values = losses.detach().double().cpu()
        numbers = told.sources.cpu()
        self._losses[0].index_add_(0, numbers, values)
        self._losses[1].index_add_(0, numbers, torch.ones_like(values))
        self._tokens += told.tokens
        self._slots += told.slots
        self._samples += told.samples

    def read(self) -> dict[str, float]:
        """Return what was counted since the last call, in all processes, and begin again."""
        seconds = time.perf_counter() - self._since
        counts = torch.cat([torch.tensor([self._tokens, self._slots, self._samples]).double(), self._losses.flatten()])
        counts = summed(counts)
        tokens, slots, samples = counts[:3].tolist()
        told = {
            "tokens_per_second": tokens / seconds,
            "samples_per_second": samples / seconds,
            "padding": 1 - tokens / slots if slots else 0.0,
        }
        if self.flops_per_token and self.peak_flops:
            told["mfu"] = tokens * self.flops_per_token / seconds / self.peak_flops / world()
        told |= by_source(self.sources, *counts[3:].unflatten(0, (2, -1)))
        self._begin()
        return told


def by_source(sources: Sequence[str], sums: torch.Tensor, counts: torch.Tensor) -> dict[str, float]:
    """Return the mean loss of each source that has been seen; `sums` and `counts`: (sources,)."""
    means = zip(sources, sums.tolist(), counts.tolist(), strict=True)
    return {f"loss/{source}": total / count for source, total, count in means if count}
