"""How far a run is, how long it will still take, and its score so far, on stderr."""

from __future__ import annotations

import logging
import sys
import time

from lhrs_chat.progress import EVERY_ON_TERMINAL_S, EVERY_S, WIDTH, duration

from .benchmarks import Benchmark
from .conditions import Ask
from .records import Record

log = logging.getLogger(__name__)


class Progress:
    """A bar that moves on a terminal, a line every few seconds elsewhere.

    The running score is the mean of the main metrics of the first protocol over this run's answers under the condition
    at hand; metrics that need a whole set, and errors in units, are left out.
    """

    def __init__(self, benchmark: Benchmark, reused: int, total: int) -> None:
        self._name = benchmark.name
        self._protocol_name, self._protocol = next(iter(benchmark.protocols.items()))
        self._done = reused
        self._total = total
        self._asked = 0
        self._failed = 0
        self._condition = ""
        self._sum = 0.0
        self._scored = 0
        self._terminal = sys.stderr.isatty()
        self._start = self._last = time.perf_counter()

    def add(self, ask: Ask, record: Record) -> None:
        """Count one answer."""
        self._done += 1
        self._asked += 1
        self._failed += bool(record.error)
        if record.condition != self._condition:
            self._condition, self._sum, self._scored = record.condition, 0.0, 0
        metric = self._protocol.main.get(ask.question.task, "")
        value = record.scores.get(self._protocol_name, {}).get(metric)
        if value is not None and metric not in self._protocol.lower_is_better:
            self._sum += value
            self._scored += 1
        now = time.perf_counter()
        wait = EVERY_ON_TERMINAL_S if self._terminal else EVERY_S
        if now - self._last >= wait or self._done == self._total:
            self._last = now
            self._show(now)

    def _show(self, now: float) -> None:
        rate = self._asked / max(now - self._start, 1e-9)
        text = f"{self._name} {self._condition}: {self._done} of {self._total}, {rate:.2f} answers/s, "
        text += f"{duration((self._total - self._done) / rate)} left"
        if self._scored:
            text += f", score so far {self._sum / self._scored:.3f}"
        if self._failed:
            text += f", {self._failed} failed"
        if not self._terminal:
            log.info("%s", text)
            return
        full = WIDTH * self._done // max(self._total, 1)
        end = "\n" if self._done == self._total else ""
        sys.stderr.write(f"\r\x1b[K[{'#' * full}{'.' * (WIDTH - full)}] {text}{end}")
        sys.stderr.flush()
