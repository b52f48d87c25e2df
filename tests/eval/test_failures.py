"""Servers that fail, pictures that cannot be read, runs that are killed: nothing is dropped, nothing is lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eval import cache, records, report, runner, runs
from eval.__main__ import main
from eval.benchmarks import BENCHMARKS
from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.models.backends import Delta, Done

BENCHMARK = BENCHMARKS.get("nano_probe")
FORK = multiprocessing.get_context("fork")


def run(probe: Path, backend: Any, out: Path, **more: Any) -> runner.Run:
    return runner.run(BENCHMARK, BENCHMARK.load(probe), backend, out, ["real"], runner.Settings(**more))


def rows(out: Path) -> dict[str, dict[str, Any]]:
    lines = (out / "answers.jsonl").read_text().splitlines()[1:]
    return {row["id"]: {k: v for k, v in row.items() if k != "seconds"} for row in map(json.loads, lines)}


class Failing:
    """Fails on questions that a function picks, for a number of times each."""

    def __init__(self, inner: Any, fails: Callable[[str], bool], times: int = 10**9, how: str = "raise") -> None:
        self.name, self.weights_sha256, self.dialect = inner.name, inner.weights_sha256, inner.dialect
        self._inner, self._fails, self._times, self._how = inner, fails, times, how
        self._count: dict[str, int] = {}

    def generate(self, requests: Any, stop: Any = None) -> Iterator[Delta | Done]:
        for event in self._inner.generate(requests):
            request = requests[event.request]
            text = request.messages[0].text
            key = text + str(request.image_hashes)
            if isinstance(event, Done) and self._fails(text) and self._count.get(key, 0) < self._times:
                self._count[key] = self._count.get(key, 0) + 1
                if self._how == "cut":
                    return
                if self._how == "leave out":
                    continue
                raise {"raise": LhrsError("the server answered 500"), "memory": RuntimeError("out of memory")}[
                    self._how
                ]
            yield event


def is_count(text: str) -> bool:
    return text.startswith("How many")


@pytest.mark.parametrize("how", ["raise", "memory", "cut", "leave out"])
def test_recorded_failures_count_as_wrong(
    probe: Path, tmp_path: Path, scripted: Any, perfect: Any, how: str, caplog: Any
) -> None:
    done = run(probe, Failing(scripted(perfect), is_count, how=how), tmp_path / "out", on_error="record")
    assert (done.failed, done.asked) == (9, 63)
    assert "9 failed and count as wrong" in done.sentence()
    summary = runs.score(runs.open_data("nano_probe", probe), tmp_path / "out").summary()
    (row,) = [r for r in summary["rows"] if (r["subset"], r["metric"]) == ("synthetic", "exact")]
    assert row["conditions"]["real"]["mean"] == 0 and row["conditions"]["real"]["questions"] == 5
    assert sum(failure["questions"] for failure in summary["failures"]) == 9
    named = {"raise": "500", "memory": "RuntimeError: out of memory"}.get(how, "left a question without an answer")
    assert named in summary["failures"][0]["error"] and named in report.markdown(summary)


def test_failures_stop_the_run_unless_told_otherwise(probe: Path, tmp_path: Path, scripted: Any, perfect: Any) -> None:
    with pytest.raises(LhrsError, match="500") as caught:
        run(probe, Failing(scripted(perfect), is_count), tmp_path / "out")
    assert "--on-error record" in str(caught.value)
    assert run(probe, scripted(perfect), tmp_path / "out").reused > 0


@pytest.mark.parametrize(("times", "retries", "failed"), [(1, 0, 9), (1, 1, 0), (2, 1, 9), (2, 2, 0)])
def test_a_failed_question_is_asked_again(
    probe: Path, tmp_path: Path, scripted: Any, perfect: Any, times: int, retries: int, failed: int
) -> None:
    backend = Failing(scripted(perfect), is_count, times)
    done = run(probe, backend, tmp_path / "out", on_error="record", batch_size=1, retries=retries)
    assert done.failed == failed


def test_neighbours_of_a_failure_are_asked_without_retries_too(
    probe: Path, tmp_path: Path, scripted: Any, perfect: Any
) -> None:
    backend = Failing(scripted(perfect), is_count)
    assert run(probe, backend, tmp_path / "out", on_error="record", retries=0, batch_size=50).failed == 9


def test_a_later_run_asks_failures_again(probe: Path, tmp_path: Path, scripted: Any, perfect: Any) -> None:
    run(probe, Failing(scripted(perfect), is_count), tmp_path / "out", on_error="record")
    done = run(probe, scripted(perfect), tmp_path / "out")
    assert (done.reused, done.asked, done.failed) == (63, 9, 0)
    run(probe, scripted(perfect), tmp_path / "whole")
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")


def test_a_model_that_is_gone_ends_a_run_that_books_failures(
    probe: Path, tmp_path: Path, scripted: Any, perfect: Any
) -> None:
    with pytest.raises(LhrsError, match=f"{runner.MAX_IN_A_ROW} questions in a row") as caught:
        run(probe, Failing(scripted(perfect), lambda text: True), tmp_path / "out", on_error="record")
    assert "the server answered 500" in str(caught.value)
    assert len(rows(tmp_path / "out")) == runner.MAX_IN_A_ROW - 1
    done = run(probe, scripted(perfect), tmp_path / "out")
    assert (done.reused, done.asked, done.failed) == (0, 72, 0)


def test_failures_of_many_causes_and_unreadable_pictures_do_not_end_it(
    probe: Path, tmp_path: Path, scripted: Any, perfect: Any
) -> None:
    def speech(question: str, hashes: tuple[str, ...]) -> str:
        raise LhrsError(f"cannot answer {question} {hashes}")

    assert run(probe, scripted(speech), tmp_path / "many", on_error="record", retries=0).failed == 72
    questions = BENCHMARK.load(probe)
    for path in (probe / "images").iterdir():
        path.unlink()
    settings = runner.Settings(on_error="record")
    done = runner.run(BENCHMARK, questions, scripted(perfect), tmp_path / "out", ["real"], settings)
    assert (done.failed, done.asked) == (72, 0)


@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_an_unreadable_picture_fails_its_questions_only(
    probe: Path, tmp_path: Path, scripted: Any, perfect: Any, damage: str
) -> None:
    questions = BENCHMARK.load(probe)
    path = probe / "images" / "synthetic_1.png"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(LhrsError, match="RasterError"):
        runner.run(BENCHMARK, questions, scripted(perfect), tmp_path / "stop", ["real"])
    settings = runner.Settings(on_error="record")
    done = runner.run(BENCHMARK, questions, scripted(perfect), tmp_path / "out", ["real"], settings)
    assert (done.failed, done.asked) == (8, 64)
    assert {row["id"].rsplit("-", 1)[0] for row in rows(tmp_path / "out").values() if row["error"]} == {"synthetic-1"}


def test_faults_of_the_program_are_not_booked_as_failures(probe: Path, tmp_path: Path, scripted: Any) -> None:
    def fault(question: str, hashes: tuple[str, ...]) -> str:
        raise TypeError("a fault")

    with pytest.raises(TypeError):
        run(probe, scripted(fault), tmp_path / "out", on_error="record")


class Slow:
    """Answers after a few milliseconds, so that a kill meets it anywhere."""

    name, weights_sha256, dialect = "slow", "a" * 64, "brackets100"

    def generate(self, requests: Any, stop: Any = None) -> Iterator[Delta | Done]:
        for place, request in enumerate(requests):
            time.sleep(0.003)
            text = f"{len(request.messages[0].text)} {request.image_hashes[0][:4]}"
            yield Done(place, text, confidence=0.5, tokens=2, prompt="")


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("cached", [False, True])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_answers(
    probe: Path, tmp_path: Path, cached: bool
) -> None:
    out, whole = tmp_path / "killed", tmp_path / "whole"
    store = tmp_path / "cache.sqlite" if cached else None
    answers = out / "answers.jsonl"
    draw = random.Random(0)
    kills = 0
    while True:
        child = FORK.Process(target=run, args=(probe, Slow(), out), kwargs={"cache": store})
        enough = size(answers) + draw.randint(1, 6000)
        child.start()
        while child.is_alive() and size(answers) < enough:
            time.sleep(0.0005)
        if not child.is_alive():
            break
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        kills += child.exitcode == -signal.SIGKILL
    assert child.exitcode == 0 and kills >= 3
    run(probe, Slow(), whole)
    assert list(rows(out).values()) == list(rows(whole).values())


def test_answers_are_shared_between_runs(probe: Path, tmp_path: Path, scripted: Any, perfect: Any) -> None:
    store = tmp_path / "cache" / "answers.sqlite"
    first = run(probe, scripted(perfect), tmp_path / "one", cache=store)
    second = run(probe, scripted(perfect), tmp_path / "two", cache=store)
    assert (first.asked, first.cached, second.asked, second.cached) == (72, 0, 0, 72)
    assert rows(tmp_path / "one") == rows(tmp_path / "two")
    assert run(probe, scripted(perfect, weights="b" * 64), tmp_path / "three", cache=store).cached == 0
    assert run(probe, scripted(perfect), tmp_path / "four").cached == 0


def test_what_an_answer_depends_on(scripted: Any) -> None:
    from dataclasses import replace

    from lhrs_chat.models.backends import Request
    from lhrs_chat.schema import Message

    request = Request((Message.of("user", "?"),), image_hashes=("a",))
    changed = [
        request,
        replace(request, messages=(Message.of("user", "!"),)),
        replace(request, image_hashes=("b",)),
        replace(request, max_new_tokens=7),
        replace(request, temperature=0.5),
        replace(request, seed=1),
        replace(request, choices=("yes",)),
    ]
    keys = [cache.key_of(scripted(None), each) for each in changed]
    keys.append(cache.key_of(scripted(None, weights="b" * 64), request))
    assert len(set(keys)) == len(keys)


def test_two_processes_share_a_cache(probe: Path, tmp_path: Path) -> None:
    store = tmp_path / "answers.sqlite"
    pair = [
        FORK.Process(target=run, args=(probe, Slow(), tmp_path / str(n)), kwargs={"cache": store, "batch_size": 3})
        for n in range(2)
    ]
    for child in pair:
        child.start()
    for child in pair:
        child.join(60)
    assert [child.exitcode for child in pair] == [0, 0]
    assert rows(tmp_path / "0") == rows(tmp_path / "1")
    with sqlite3.connect(store) as connection:
        assert connection.execute("SELECT COUNT(*) FROM answers").fetchone() == (72,)


def test_a_broken_cache_is_named_and_is_no_failure_of_the_model(probe: Path, tmp_path: Path, scripted: Any) -> None:
    store = tmp_path / "answers.sqlite"
    store.write_bytes(b"this is no data base" * 100)
    with pytest.raises(DataError, match="--no-cache"):
        run(probe, scripted(lambda q, h: "yes"), tmp_path / "out", cache=store, on_error="record")


def test_answers_of_an_earlier_format_are_refused(probe: Path, tmp_path: Path, scripted: Any, capsys: Any) -> None:
    run(probe, scripted(lambda q, h: "yes"), tmp_path / "out")
    path = tmp_path / "out" / "answers.jsonl"
    path.write_text(path.read_text().replace('"format": 2, ', ""))
    with pytest.raises(DataError, match="another version"):
        run(probe, scripted(lambda q, h: "yes"), tmp_path / "out")
    assert main(["score", str(tmp_path / "out"), "--data", str(probe)]) == 2
    assert "format 1" in capsys.readouterr().err
    assert records.FORMAT == 2
