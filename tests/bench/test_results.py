"""The page of results: written by parts, so that one part can be measured again without the others."""

from __future__ import annotations

import pytest

from bench import __main__ as bench
from bench.row import Row

FAST = Row("a thing", "1 ms", "5 ms", 5.0, "at least 4x faster", True, "median of 7")
SLOW = Row("another", "9 s", "9 s", 1.0, "at least 2x faster", False)


@pytest.fixture
def parts(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.md")
    monkeypatch.setattr(bench, "PARTS", {"one": lambda model: [FAST], "two": lambda model: [SLOW]})
    return tmp_path / "results.md"


def test_a_part_measured_again_leaves_the_others(parts, monkeypatch):
    assert bench.main(["--write"]) == 1
    before = parts.read_text()
    monkeypatch.setitem(bench.PARTS, "two", lambda model: [FAST])
    assert bench.main(["two", "--write"]) == 0
    after = parts.read_text()
    assert bench.sections(after)["one"] == bench.sections(before)["one"]
    assert "FAIL" in before and "FAIL" not in after
    assert after.count("at least 4x faster") == 2
    assert bench.page(bench.sections(after)) == after


def test_the_page_of_results_is_one_that_the_program_wrote():
    text = bench.RESULTS.read_text()
    found = bench.sections(text)
    assert set(found) <= set(bench.PARTS)
    assert bench.page(found) == text
