"""A judge of free text stands beside the rule-based score: pinned, cached, and its unreadable words are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval import judge, passports, runner, runs
from eval.__main__ import main
from eval.benchmarks import BENCHMARKS, Question
from eval.conditions import by_key, plan
from eval.records import Record
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Number, Targets

BENCHMARK = BENCHMARKS.get("vrsbench")
SAID = {
    "ship 1": ("ship", "Yes."),
    "vessel": ("a vessel", "yes"),
    "car": ("car", "No, that is another thing."),
    "blank": (" ", "yes"),
    "tree": ("tree", "perhaps yes or no"),
    "ship 2": ("Ship.", "no"),
}
"""What a model said and what the judge says of it, by question id."""


def question(name: str, place: int, targets: Targets) -> Question:
    return Question(
        id=name,
        task="vqa_category",
        text=f"What is it ({name})?",
        images=(Path(f"{place // 2}.png"),),
        size_px=(4, 4),
        subset="vrsbench",
        scene_id=str(place // 2),
        licence="CC0-1.0",
        targets=targets,
    )


@pytest.fixture
def run(tmp_path: Path) -> runs.ScoredRun:
    """Answers to free questions about three pictures, and one to a question with options."""
    questions = [question(name, place, Targets(answer="ship")) for place, name in enumerate(SAID)]
    questions.append(question("closed", 0, Targets(answer="yes", choices=("yes", "no"))))
    records = {}
    for asked in questions:
        text = SAID.get(asked.id, ("yes", ""))[0]
        record = Record(asked.id, "real", text, None, 1, (4, 4), 0.0)
        records[record.key] = runner.rescore(BENCHMARK, asked, record, "brackets100")
    data = runs.Data(BENCHMARK, tmp_path, questions, passports.check(BENCHMARK, tmp_path, questions))
    return runs.ScoredRun(data, tmp_path, {}, by_key(plan(questions, ["real"])), records)


def verdict(prompt: str, hashes: tuple[str, ...]) -> str:
    assert "ship" in prompt and hashes == ()
    return next(said for name, (_, said) in SAID.items() if f"({name})" in prompt)


def test_what_the_judge_says_stands_beside_the_rule(run: runs.ScoredRun, scripted: Any) -> None:
    backend = scripted(verdict)
    found = judge.judge(run, backend, None)
    strict = found["rows"][0]
    assert (strict["protocol"], strict["metric"]) == ("vrsbench-strict-1", "accuracy")
    assert strict["score"]["mean"] == pytest.approx(2 / 6) and strict["judged"]["mean"] == pytest.approx(2 / 6)
    assert [strict[count] for count in ("questions", "blank", "unreadable", "compared")] == [6, 1, 1, 4]
    assert strict["agreement"]["mean"] == 0.5 and strict["kappa"]["mean"] == pytest.approx(0)
    assert strict["judged"]["images"] == 3 and strict["judged"]["stderr"] > 0
    assert found["verdicts"] == {"ship 1": True, "vessel": True, "car": False, "tree": None, "ship 2": False}
    assert (found["model"], found["weights_sha256"]) == ("scripted", "a" * 64)
    assert len(backend.requests) == 5 and {request.temperature for request in backend.requests} == {0.0}


def test_a_judgement_is_asked_once(run: runs.ScoredRun, scripted: Any, tmp_path: Path) -> None:
    store = tmp_path / "answers.sqlite"
    first = judge.judge(run, scripted(verdict), store)
    again = scripted(verdict)
    assert judge.judge(run, again, store) == first and again.requests == []
    other = scripted(verdict, weights="b" * 64)
    judge.judge(run, other, store)
    assert len(other.requests) == 5


def test_a_judge_that_leaves_questions_out_is_unreadable(run: runs.ScoredRun, scripted: Any) -> None:
    backend = scripted(verdict)
    backend.generate = lambda requests, stop=None: iter(())
    row = judge.judge(run, backend, None)["rows"][0]
    assert (row["unreadable"], row["compared"], row["agreement"], row["kappa"]) == (5, 0, None, None)
    assert row["judged"]["mean"] == 0


@pytest.mark.parametrize(
    ("targets", "free"),
    [
        (Targets(answer="a ship"), True),
        (Targets(captions=("a ship",)), True),
        (Targets(answer="yes", choices=("yes", "no")), False),
        (Targets(answer="3", numbers=(Number(3.0),)), False),
        (Targets(boxes=(Box((0, 0, 1, 1), "unit"),)), False),
        (Targets(), False),
    ],
)
def test_only_free_text_is_judged(targets: Targets, free: bool) -> None:
    assert judge.is_free(question("x", 0, targets)) is free


def test_kappa() -> None:
    """20 and 15 alike, 5 and 10 not: 0.7 agree, 0.5 would by chance."""
    one = [True] * 25 + [False] * 25
    other = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert judge.kappa(one, other) == pytest.approx(0.4)
    assert judge.kappa(one, one) == 1 and judge.kappa(one, [not value for value in one]) == -1
    assert str(judge.kappa([True] * 3, [True] * 3)) == "nan"


def test_command_line(probe: Path, tmp_path: Path, scripted: Any, perfect: Any, monkeypatch: Any, capsys: Any) -> None:
    out, data = tmp_path / "out", ["--data", str(probe)]
    benchmark = BENCHMARKS.get("nano_probe")
    runner.run(benchmark, benchmark.load(probe), scripted(perfect), out, ["real"])
    assert main(["score", str(out), *data]) == 0
    plain = capsys.readouterr().out
    opened = scripted(lambda prompt, hashes: "yes")
    monkeypatch.setattr("lhrs_chat.models.backends.open_backend", lambda model: opened)
    assert main(["score", str(out), *data, "--judge", "some-model"]) == 0
    printed = capsys.readouterr().out
    (row,) = [line for line in printed.splitlines() if "| synthetic | caption |" in line and "scripted" in line]
    assert (
        f"| 1.000 ± 0.000 | 5 | 0 | 0 | 0 | - | - | scripted, weights aaaaaaaaaaaa, prompt {judge.PROMPT_SHA256[:12]} |"
        in row
    )
    before, after = printed.split("\n## Free text, judged by a model\n")
    assert plain == before + "\n##" + after.split("\n##", 1)[1]
    assert len(json.loads((out / "scores.json").read_text())["judge"]["verdicts"]) == 9
    assert main(["report", str(out), *data, "--judge", "some-model", "--samples", "1"]) == 0
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    assert "Free text, judged by a model" in (out / "report.html").read_text() and len(opened.requests) == 9


def test_nothing_to_judge_is_said(run: runs.ScoredRun, scripted: Any) -> None:
    for name in SAID:
        del run.records[name, "real"]
    with pytest.raises(DataError, match="nothing to judge"):
        judge.judge(run, scripted(verdict), None)
