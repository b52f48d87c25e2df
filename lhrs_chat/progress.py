"""How far a long job is, how fast, and how long it will still take: on stderr."""

from __future__ import annotations

import logging
import sys
import time

log = logging.getLogger(__name__)

EVERY_S = 10.0
EVERY_ON_TERMINAL_S = 0.2
WIDTH = 24


class Bar:
    """A bar that moves on a terminal, a line every few seconds elsewhere.

    Args:
        what: the job, in a word or two.
        unit: what is counted, in the plural.
        total: how many there are; None where nobody knows.
        reused: how many of them were done before.
        speed_of: what the speed is told in, in the plural, where that is something else than `unit`.
    """

    def __init__(self, what: str, unit: str, total: int | None, reused: int = 0, speed_of: str = "") -> None:
        self._what, self._unit, self._total = what, unit, total
        self._done = self._reused = reused
        self._speed_of, self._amount = speed_of or unit, 0
        self._terminal = sys.stderr.isatty()
        self._start = self._last = time.perf_counter()

    def add(self, count: int, amount: int | None = None) -> None:
        """Count what was done, with the amount that the speed is told in, and show it now and then."""
        self._done += count
        self._amount += count if amount is None else amount
        now = time.perf_counter()
        if now - self._last >= (EVERY_ON_TERMINAL_S if self._terminal else EVERY_S):
            self._last = now
            self._show("")

    def close(self) -> None:
        """Show where it ended."""
        self._show("\n")

    def text(self) -> str:
        """The line that is shown."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        new = self._done - self._reused
        text = f"{self._what}: {self._done}{'' if self._total is None else f' of {self._total}'} {self._unit}"
        text += f", {self._amount / seconds:.1f} {self._speed_of}/s"
        if self._total is not None and new > 0 and self._done < self._total:
            text += f", {duration((self._total - self._done) * seconds / new)} left"
        return text + (f", {self._reused} reused" if self._reused else "")

    def _show(self, end: str) -> None:
        if not self._terminal:
            log.info("%s", self.text())
            return
        full = WIDTH * self._done // max(self._total or self._done, 1)
        sys.stderr.write(f"\r\x1b[K[{'#' * full}{'.' * (WIDTH - full)}] {self.text()}{end}")
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """Say a time in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
