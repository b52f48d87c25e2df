"""METEOR and SPICE in the caption benchmarks, through a stand-in for Java that counts its starts."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval import report, runner, runs
from eval.benchmarks import BENCHMARKS, _java_captions
from lhrs_chat.metrics import java_captions

FIXTURES = Path(__file__).parents[2] / "data" / "benchmarks"
NAMES = ["rsicd", "ucm_captions", "nwpu_captions", "vrsbench"]
SAID = "a ship lies in the harbour"
JAVA = """
import json, sys
open({starts!r}, "a").write("x")
if "-stdio" in sys.argv:  # a caption scores 1 where it is a reference; the whole set scores half of the mean
    for line in sys.stdin:
        verb, *parts = line.rstrip("\\n").split(" ||| ")
        if verb == "SCORE":
            print(float(parts[-1] in parts[:-1]), flush=True)
        else:
            print(*parts, sum(map(float, parts)) / len(parts) / 2, sep="\\n", flush=True)
else:
    rows = json.load(open(sys.argv[4]))
    found = [{{"image_id": r["image_id"], "scores": {{"All": {{"f": 0.25 if r["test"] else None}}}}}} for r in rows]
    json.dump(found, open(sys.argv[sys.argv.index("-out") + 1], "w"))
"""


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """What one test found of the machine is not true for the next."""
    for known in (_java_captions.programs, _java_captions._meteor, _java_captions._spice):
        known.cache_clear()
    yield
    _java_captions.programs.cache_clear()


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with both programs; the file holds one letter for each start of one."""
    archives = tmp_path / "pycocoevalcap"
    (archives / "spice" / "lib").mkdir(parents=True)
    (archives / "spice" / "lib" / "stanford-corenlp-3.6.0-models.jar").touch()
    (archives / "__init__.py").touch()
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!{sys.executable}\n{JAVA.format(starts=str(tmp_path / 'starts'))}")
    java.chmod(0o755)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(java_captions, "find_spec", importlib.util.find_spec)
    return tmp_path / "starts"


@pytest.mark.parametrize("name", NAMES)
def test_a_report_starts_each_program_once_and_to_try_it(
    name: str, starts: Path, tmp_path: Path, scripted: Any
) -> None:
    data = runs.open_data(name, FIXTURES / name)
    runner.run(data.benchmark, data.questions, scripted(lambda question, hashes: SAID), tmp_path / "run", ["real"])
    summary = runs.score(data, tmp_path / "run").summary()
    for protocol in data.benchmark.protocols.values():
        rows = {
            r["metric"]: r["conditions"]["real"]
            for r in summary["rows"]
            if r["task"] == "caption" and r["protocol"] == protocol.id
        }
        assert rows["spice"]["mean"] == 0.25
        assert rows["meteor"]["mean"] == rows["meteor_mean"]["mean"] / 2
        assert rows["meteor"]["stderr"] is None, "it is measured once"
        assert rows["bleu_4"]["stderr"] is not None or rows["bleu_4"]["images"] == 1
    assert "| meteor |" in report.markdown(summary)
    assert starts.read_text() == "x" * 4


def test_meteor_of_the_set_is_not_that_of_its_captions(starts: Path) -> None:
    questions = BENCHMARKS.get("rsicd").load(FIXTURES / "rsicd")
    texts = [questions[0].targets.captions[0], *[""] * (len(questions) - 1)]
    protocol = BENCHMARKS.get("rsicd").protocols["strict"]
    found = protocol.corpus["caption"](questions, texts)
    assert [own["meteor_mean"] for own in found] == [1.0] + [0.0] * (len(questions) - 1)
    assert [own["spice"] for own in found] == [0.25] + [0.0] * (len(questions) - 1), "no number counts 0"
    assert all(own["cider"] >= 0 for own in found)
    assert protocol.once["caption"](questions, texts) == {"meteor": 0.5 / len(questions)}


def test_without_the_programs_the_metrics_are_absent_and_one_line_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for name in NAMES:
        benchmark = BENCHMARKS.get(name)
        questions = [q for q in benchmark.load(FIXTURES / name) if q.task == "caption"]
        for protocol in benchmark.protocols.values():
            found = protocol.corpus["caption"](questions, [SAID] * len(questions))
            assert all(set(own) == {"cider", "rouge_l"} for own in found)
            assert protocol.once["caption"](questions, [SAID] * len(questions)) == {}
    (line,) = [record.getMessage() for record in caplog.records]
    assert "without METEOR and SPICE: " in line and "pip install 'lhrs_chat[captions]'" in line and "\n" not in line


def test_one_program_may_lack_what_the_other_has(starts: Path, caplog: pytest.LogCaptureFixture) -> None:
    (starts.parent / "pycocoevalcap" / "spice" / "lib" / "stanford-corenlp-3.6.0-models.jar").unlink()
    assert _java_captions.programs() == ("METEOR",)
    assert "without SPICE: " in caplog.text and "get_stanford_models" in caplog.text
