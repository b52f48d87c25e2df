from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import conditions, estimates, records, runner, runs
from eval.__main__ import main
from eval.benchmarks import BENCHMARKS, CONDITIONS, Benchmark, Question
from eval.pictures import Pictures
from eval.records import Record
from lhrs_chat.errors import DataError
from lhrs_chat.models.backends import Done

BENCHMARK: Benchmark = BENCHMARKS.get("nano_probe")


def ask(probe: Path, backend: Any, out: Path, asked: Any = None, **more: Any) -> runner.Run:
    return runner.run(BENCHMARK, BENCHMARK.load(probe), backend, out, asked, runner.Settings(**more))


def stored(out: Path) -> dict[tuple[str, str], Record]:
    return {record.key: record for record, _ in records.read_records(out / "answers.jsonl")}


def summary_of(probe: Path, out: Path) -> dict[str, Any]:
    return runs.score(runs.open_data("nano_probe", probe), out).summary()


def without_time(path: Path) -> list[Any]:
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.read_text().splitlines()]


def test_every_question_is_asked_once_under_every_condition(probe: Path, tmp_path: Path, scripted: Any) -> None:
    backend = scripted(lambda question, hashes: "yes")
    done = ask(probe, backend, tmp_path / "out", batch_size=5)
    questions = BENCHMARK.load(probe)
    assert set(stored(tmp_path / "out")) == {(q.id, c) for q in questions for c in CONDITIONS}
    assert (done.asked, done.reused, len(backend.requests)) == (3 * len(questions), 0, 3 * len(questions))
    assert max(backend.batches) == 5
    lines = without_time(tmp_path / "out" / "answers.jsonl")
    assert len(lines) == 1 + 3 * len(questions)
    assert lines[0]["header"]["model"] == "scripted"


def test_what_each_condition_shows(probe: Path, tmp_path: Path, scripted: Any) -> None:
    questions = {q.id: q for q in BENCHMARK.load(probe)}
    exchange = conditions.derange(list(questions.values()), 0)
    for planned in conditions.plan(list(questions.values()), CONDITIONS):
        request = runner.make_request(planned, Pictures(), 0)
        kinds = [part.type for part in request.messages[0].content]
        own = planned.question.images
        if planned.condition.name == "blind":
            assert kinds == ["text"] and request.images == () and request.image_hashes == ()
            continue
        assert kinds == ["image", "text"] and request.images[0].shape == (24, 32, 3)
        assert planned.shown == (own if planned.condition.name == "real" else exchange[own])
        assert request.image_hashes == (records.image_sha256(planned.shown[0]),)
        assert planned.shown[0].name.startswith(planned.question.subset)


def test_resumed_run_equals_an_uninterrupted_one(probe: Path, tmp_path: Path, scripted: Any, perfect: Any) -> None:
    ask(probe, scripted(perfect), tmp_path / "whole", batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        ask(probe, scripted(perfect, die_after=30), tmp_path / "cut", batch_size=4)
    path = tmp_path / "cut" / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-7])  # as if killed while the last line was being written
    again = scripted(perfect)
    done = ask(probe, again, tmp_path / "cut", batch_size=4)
    assert done.reused == 29 and done.asked == len(again.requests) == 216 - 29
    assert without_time(path) == without_time(tmp_path / "whole" / "answers.jsonl")
    nothing = scripted(perfect)
    assert ask(probe, nothing, tmp_path / "cut").asked == 0 and nothing.requests == []


class Silent:
    """Does not tell how sure it is."""

    name, weights_sha256, dialect = "silent", "a" * 64, "brackets100"

    def generate(self, requests: Any, stop: Any = None) -> Iterator[Done]:
        for place in range(len(requests)):
            yield Done(place, "yes", confidence=math.nan, tokens=1, prompt="")


def test_an_unknown_confidence_is_null(probe: Path, tmp_path: Path) -> None:
    ask(probe, Silent(), tmp_path / "out", ["real"], limit=1)
    path = tmp_path / "out" / "answers.jsonl"
    assert path.read_text().count('"confidence": null') == 16 and "NaN" not in path.read_text()
    for text in (path.read_text(), path.read_text().replace('null, "tokens', 'NaN, "tokens')):
        path.write_text(text)
        assert {record.confidence for record in stored(tmp_path / "out").values()} == {None}
    assert '"confidence": NaN' in path.read_text() and summary_of(probe, tmp_path / "out")["calibration"] == []


def test_no_resume_starts_anew(probe: Path, tmp_path: Path, scripted: Any) -> None:
    ask(probe, scripted(lambda question, hashes: "yes"), tmp_path / "out")
    done = ask(probe, scripted(lambda question, hashes: "no"), tmp_path / "out", resume=False)
    assert done.reused == 0 and {record.text for record in stored(tmp_path / "out").values()} == {"no"}


@pytest.mark.parametrize("change", ["weights", "seed", "data", "pictures"])
def test_answers_of_other_runs_are_not_mixed(
    probe: Path, tmp_path: Path, scripted: Any, rewrite: Any, change: str
) -> None:
    def speech(question: str, hashes: tuple[str, ...]) -> str:
        return "yes"

    ask(probe, scripted(speech), tmp_path / "out", limit=1)
    before = (tmp_path / "out" / "answers.jsonl").read_bytes()
    weights, seed = ("b" * 64 if change == "weights" else "a" * 64), (1 if change == "seed" else 0)
    if change == "data":
        rows = [json.loads(line) for line in (probe / "probe.jsonl").read_text().splitlines()]
        rewrite(probe, [{**rows[0], "question": "Is there any water?"}, *rows[1:]])
    if change == "pictures":
        (probe / "images" / "synthetic_0.png").write_bytes((probe / "images" / "synthetic_1.png").read_bytes())
    named = {"weights": "weights_sha256", "seed": "seed"}.get(change, "data_sha256")
    with pytest.raises(DataError, match=f"{named} differs"):
        ask(probe, scripted(speech, weights=weights), tmp_path / "out", limit=1, seed=seed)
    assert (tmp_path / "out" / "answers.jsonl").read_bytes() == before


def test_probe_may_be_moved(probe: Path, tmp_path: Path) -> None:
    before = records.fingerprint(BENCHMARK.load(probe))
    assert before == records.fingerprint(BENCHMARK.load(probe.rename(tmp_path / "elsewhere")))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [lines[0], b"{broken", *lines[1:]], "line 2"),
        (lambda lines: lines[1:], "header"),
        (lambda lines: [*lines, lines[-1]], "twice"),
        (lambda lines: [*lines, b'{"id": "x"}'], "cannot be read"),
        (lambda lines: [*lines, b"[1, 2]"], "cannot be read"),
        (lambda lines: [*lines, lines[-1].replace(b'"id": "', b'"id": "other')], "no question"),
    ],
)
def test_damaged_answers_are_refused(probe: Path, tmp_path: Path, scripted: Any, damage: Any, message: str) -> None:
    def speech(question: str, hashes: tuple[str, ...]) -> str:
        return "yes"

    ask(probe, scripted(speech), tmp_path / "out", limit=1)
    path = tmp_path / "out" / "answers.jsonl"
    path.write_bytes(b"\n".join(damage(path.read_bytes().splitlines())) + b"\n")
    with pytest.raises(DataError, match=message):
        ask(probe, scripted(speech), tmp_path / "out", limit=1)


def test_limit_takes_the_same_questions_first(probe: Path, tmp_path: Path, scripted: Any) -> None:
    questions = BENCHMARK.load(probe)
    small, large = conditions.choose(questions, 2, 0), conditions.choose(questions, 3, 0)
    assert {q.id for q in small} < {q.id for q in large}
    assert set(Counter((q.subset, q.task) for q in small).values()) == {2}
    assert {q.id for q in conditions.choose(questions, 2, 1)} != {q.id for q in small}
    with pytest.raises(DataError, match="limit"):
        conditions.choose(questions, 0, 0)
    first = ask(probe, scripted(lambda question, hashes: "yes"), tmp_path / "out", limit=2)
    second = ask(probe, scripted(lambda question, hashes: "yes"), tmp_path / "out", limit=3)
    assert second.reused == first.asked == 96 and second.reused + second.asked == 3 * len(large)


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=9), seed=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_derangement_has_no_fixed_points(sizes: list[int], seed: int) -> None:
    questions = [made(f"{scene}-{i}", str(scene)) for scene, size in enumerate(sizes) for i in range(size)]
    exchange = conditions.derange(questions, seed)
    scene_of = {q.images: q.scene_id for q in questions}
    assert all(own != other for own, other in exchange.items())
    assert sorted(exchange.values()) == sorted(exchange)
    assert len(exchange) == (sum(sizes) if sum(sizes) > 1 else 0)
    if exchange:  # no more exchanges within a scene than cannot be avoided
        within = sum(scene_of[own] == scene_of[other] for own, other in exchange.items())
        assert within == max(0, 2 * max(sizes) - sum(sizes))
    assert conditions.derange(questions, seed) == exchange


def test_the_only_picture_of_a_set_is_not_shuffled() -> None:
    questions = [made("a", "a"), made("b", "b", subset="two"), made("c", "c", subset="two")]
    asks = conditions.plan(questions, ("shuffled",))
    assert {ask.question.id for ask in asks} == {"b", "c"}


def test_derangement_depends_on_the_seed() -> None:
    questions = [made(str(i), str(i)) for i in range(20)]
    assert conditions.derange(questions, 0) != conditions.derange(questions, 1)


def made(name: str, scene: str, **more: Any) -> Question:
    from lhrs_chat.schema import Targets

    question = Question(name, "presence", "?", (Path(name),), (4, 4), "one", scene, "CC0-1.0", Targets(answer="yes"))
    return replace(question, **more)


def test_stored_answers_are_scored_anew(probe: Path, tmp_path: Path, scripted: Any, perfect: Any) -> None:
    ask(probe, scripted(perfect), tmp_path / "out")
    path = tmp_path / "out" / "answers.jsonl"
    path.write_text(path.read_text().replace('"accuracy": 1.0', '"accuracy": 0.25'))
    done = runs.score(runs.open_data("nano_probe", probe), tmp_path / "out")
    assert {r.scores["strict"]["accuracy"] for r in done.records.values() if "presence" in r.id} == {0.0, 1.0}


def test_standard_errors_are_clustered_by_picture(probe: Path, tmp_path: Path, scripted: Any, perfect: Any) -> None:
    """Asking every question twice must not make the error smaller."""
    rows = [json.loads(line) for line in (probe / "probe.jsonl").read_text().splitlines()]
    half = scripted(lambda question, hashes: "yes" if hashes else "no")
    twice = [*rows, *({**row, "id": row["id"] + "-again"} for row in rows)]
    found = []
    for name, these in (("once", rows), ("twice", twice)):
        (probe / "probe.jsonl").write_text("".join(json.dumps(row) + "\n" for row in these))
        ask(probe, half, tmp_path / name)
        row = pick(summary_of(probe, tmp_path / name), "synthetic", "presence", "accuracy")
        found.append((row["conditions"]["real"], row["differences"]["blind"]))
    (real, drop), (real2, drop2) = found
    assert real["mean"] == real2["mean"] == 0.6 and (real2["questions"], real2["images"]) == (10, 5)
    assert real["stderr"] == pytest.approx(real2["stderr"]) and real["stderr"] > 0
    assert drop["mean"] == pytest.approx(0.2) and drop["stderr"] == pytest.approx(drop2["stderr"])


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=12)
    questions = [made(str(i), str(i), error_cap=float(v)) for i, v in enumerate(values)]
    found = estimates.jackknife(lambda part: {"mean": float(np.mean([q.error_cap for q in part]))}, questions)["mean"]
    assert found.mean == pytest.approx(values.mean())
    assert found.stderr == pytest.approx(values.std(ddof=1) / math.sqrt(12))
    assert estimates.jackknife(lambda part: {"mean": 1.0}, questions[:1])["mean"].stderr is None


def pick(summary: dict[str, Any], subset: str, task: str, metric: str) -> dict[str, Any]:
    (row,) = [r for r in summary["rows"] if (r["subset"], r["task"], r["metric"]) == (subset, task, metric)]
    return row


def test_command_line(probe: Path, tmp_path: Path, scripted: Any, perfect: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("lhrs_chat.models.backends.open_backend", lambda model, **precision: scripted(perfect))
    out = tmp_path / "out"
    assert main(["run", "nano_probe", "--data", str(probe), "--out", str(out), "--limit", "2"]) == 0
    printed = capsys.readouterr().out
    table = (out / "report.md").read_text()
    assert printed.startswith(table) and "0 answers reused from this folder" in printed
    assert "nano_probe-strict-2" in table and "| synthetic | 5 | 5 | 40 | 16 | 0 | CC0-1.0 |" in table
    (line,) = [x for x in table.splitlines() if "| aid_rsicd | scene_class | accuracy |" in x]
    assert line.startswith("| nano_probe-strict-2 | aid_rsicd | scene_class | accuracy | 2 | 2 | 1.000 ± 0.000 |")
    assert line.endswith("| 0.000 ± 0.000 | 0.000 ± 0.000 | +1.000 ± 0.000 | +1.000 ± 0.000 | 100% |")
    scores = json.loads((out / "scores.json").read_text())
    assert scores["run"]["seed"] == 0 and scores["answers"] == 96
    assert not list(out.glob(".*"))

    assert main(["score", str(out), "--data", str(probe)]) == 0
    assert capsys.readouterr().out == table
    assert main(["list"]) == 0
    assert "nano_probe  [nano_probe-strict-2]" in capsys.readouterr().out


def test_command_line_names_what_is_wrong(tmp_path: Path, probe: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.delenv("LHRS_CHAT_PROBE", raising=False)
    assert main(["run", "nano_probe", "--data", str(tmp_path)]) == 2
    assert "python -m data_prep probe" in capsys.readouterr().err
    assert main(["run", "nano_prob", "--data", str(probe)]) == 2
    assert "did you mean nano_probe?" in capsys.readouterr().err
    assert main(["score", str(tmp_path)]) == 2
    assert "no answers" in capsys.readouterr().err


def test_how_numbers_are_held_is_a_part_of_the_model(
    probe: Path, tmp_path: Path, scripted: Any, monkeypatch: Any, capsys: Any
) -> None:
    def opened(model: str, *, dtype: str, quantise: str) -> Any:
        backend = scripted(lambda question, hashes: "yes")
        backend.name = f"{model} ({dtype}, {quantise})"
        return backend

    monkeypatch.setattr("lhrs_chat.models.backends.open_backend", opened)
    monkeypatch.chdir(tmp_path)
    command = ["run", "nano_probe", "--data", str(probe), "--limit", "1", "--dtype", "bfloat16", "--quantise", "8bit"]
    assert main([*command, "--conditions", "real"]) == 0
    assert "lhrs-nano (bfloat16, 8bit)" in capsys.readouterr().out
    assert Path("runs/eval/nano_probe/lhrs-nano_bfloat16_8bit/answers.jsonl").is_file()


def test_stopping_keeps_what_is_there(
    probe: Path, tmp_path: Path, scripted: Any, perfect: Any, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(
        "lhrs_chat.models.backends.open_backend", lambda model, **precision: scripted(perfect, die_after=9)
    )
    assert main(["run", "nano_probe", "--data", str(probe), "--out", str(tmp_path / "out")]) == 130
    assert "goes on from here" in capsys.readouterr().err
    assert main(["score", str(tmp_path / "out"), "--data", str(probe)]) == 0
    assert "9 of 216 answers" in capsys.readouterr().out


def test_two_runs_do_not_write_one_folder(probe: Path, tmp_path: Path, scripted: Any) -> None:
    refused: list[str] = []

    def meanwhile(question: Any, hashes: Any) -> str:
        if not refused:
            with pytest.raises(DataError, match="another run writes to this folder") as caught:
                ask(probe, scripted(lambda question, hashes: "no"), tmp_path / "out")
            refused.append(str(caught.value))
        return "yes"

    done = ask(probe, scripted(meanwhile), tmp_path / "out")
    assert len(refused) == 1
    assert ask(probe, scripted(lambda question, hashes: "no"), tmp_path / "out").reused == done.asked == 216
