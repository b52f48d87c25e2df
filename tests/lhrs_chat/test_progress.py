"""The bar of a long job: a moving line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import re
import sys

import pytest

from lhrs_chat import progress
from lhrs_chat.progress import Bar, duration


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3599, "59 min 59 s"), (7322, "2 h 02 min")]
)
def test_times_are_told_in_two_units(seconds, told):
    assert duration(seconds) == told


def test_a_line_tells_how_far_how_fast_and_how_long(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    bar = Bar("filter", "rows", 1000, reused=200, speed_of="images")
    now[0] += 10
    bar.add(400, 800)
    assert bar.text() == "filter: 600 of 1000 rows, 80.0 images/s, 10 s left, 200 reused"
    bar.add(400, 800)
    assert bar.text() == "filter: 1000 of 1000 rows, 160.0 images/s, 200 reused"
    bar = Bar("convert", "rows", None)
    now[0] += 2
    bar.add(5)
    assert bar.text() == "convert: 5 rows, 2.5 rows/s"


def test_a_terminal_gets_a_bar_that_moves_and_ends_its_line(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY_ON_TERMINAL_S", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = Bar("build", "rows", 4)
    bar.add(2)
    bar.add(2)
    bar.close()
    lines = capsys.readouterr().err.split("\r\x1b[K")
    assert re.match(rf"\[{'#' * 12}{'.' * 12}\] build: 2 of 4 rows", lines[1])
    assert lines[-1].endswith("\n") and lines[1][-1] != "\n"


def test_a_log_gets_a_line_now_and_then(caplog):
    caplog.set_level(logging.INFO, "lhrs_chat.progress")
    bar = Bar("build", "rows", 4)
    bar.add(2)
    assert not caplog.messages
    bar.close()
    assert caplog.messages[0].startswith("build: 2 of 4 rows")
