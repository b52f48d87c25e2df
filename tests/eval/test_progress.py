from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from eval import progress
from eval.benchmarks import BENCHMARKS
from eval.conditions import plan
from eval.records import Record

BENCHMARK = BENCHMARKS.get("nano_probe")


def feed(probe: Path, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
    """Ten answers a second: four right, four wrong, one failed, with ninety reused before."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(progress, "EVERY_S", 0.5)
    asks = [ask for ask in plan(BENCHMARK.load(probe), ["real"]) if ask.question.task == "presence"]
    shown = progress.Progress(BENCHMARK, 90, 199)
    for place, ask in enumerate(asks):
        now[0] += 0.1
        error = "LhrsError: 500" if place == 8 else ""
        scores = {"strict": {"accuracy": float(place % 2 == 0 and not error), "parsed": 1.0}}
        shown.add(ask, Record(ask.question.id, "real", "yes", 1.0, 1, (4, 4), 0.1, error=error, scores=scores))


def test_lines_tell_time_left_and_score(probe: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    feed(probe, monkeypatch, terminal=False)
    assert caplog.messages == [
        "nano_probe real: 95 of 199, 10.00 answers/s, 10 s left, score so far 0.600",
    ]


def test_a_terminal_gets_a_bar(probe: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    feed(probe, monkeypatch, terminal=True)
    last = capsys.readouterr().err.split("\r")[-1]
    assert last.startswith("\x1b[K[###########.............] nano_probe real: 9") and "score so far 0." in last


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3600, "1 h 00 min"), (7290, "2 h 01 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words
