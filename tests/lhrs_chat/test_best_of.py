from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lhrs_chat import cli
from lhrs_chat.best_of import TEMPERATURE, best_of
from lhrs_chat.chat import Assistant
from lhrs_chat.geo.raster import Raster
from lhrs_chat.models.scorers import Judged, Score

ANSWERS = ("A lake.", "A lake and a road.", "A lake.", "Nothing is known.")


class Longest:
    """Prefers the longest answer; gives one that knows nothing no score."""

    name, weights_sha256, prompt_sha256, dialect = "longest", "", "", "brackets100"

    def __init__(self) -> None:
        self.seen: list[Judged] = []

    def score(self, rows: Sequence[Judged]) -> list[Score]:
        self.seen += rows
        return [Score(None, "empty") if "Nothing" in row.answer else Score(float(len(row.answer))) for row in rows]


@pytest.fixture
def scorer(scripted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Longest:
    turns = iter(ANSWERS)
    backend = scripted(lambda question: next(turns))
    made = Longest()
    monkeypatch.setattr("lhrs_chat.chat.open_backend", lambda model, **precision: backend)
    monkeypatch.setattr("lhrs_chat.models.scorers.open_scorer", lambda model, **settings: made)
    return made


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_the_best_answer_is_told_and_all_are_listed(scorer: Longest, coast: Path, tmp_path: Path, capsys: Any) -> None:
    overlay = tmp_path / "o.png"
    words = ("ask", coast, "What is here?", "--best-of", 4, "--scorer", "m", "--json", "--overlay", overlay)
    assert run(*words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["text"] == "A lake and a road."
    assert [(one["text"], one["score"]) for one in told["best_of"]] == [
        *(("A lake and a road.", 18.0), ("A lake.", 7.0), ("Nothing is known.", None)),
    ]
    assert told["best_of"][-1]["reason"] == "empty" and overlay.is_file()
    assert [row.question for row in scorer.seen] == ["What is here?"] * 3
    assert len({id(row.images[0]) for row in scorer.seen}) == 1


def test_all_answers_are_drawn_at_once_with_seeds_of_their_own(
    scorer: Longest, scripted: Callable[..., Any], coast: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = scripted(lambda question: f"answer {len(backend.requests)}")
    calls: list[list[int]] = []
    generate = backend.generate
    monkeypatch.setattr(
        backend,
        "generate",
        lambda requests, stop=None: calls.append([one.seed for one in requests]) or generate(requests, stop),
    )
    with Raster.open(coast) as raster:
        found = best_of(Assistant(backend), [raster], "What is here?", scorer, 3, seed=7)
        assert calls == [[7, 8, 9]]
        assert {request.temperature for request in backend.requests} == {TEMPERATURE}
        assert [one.answer.text for one in found] == ["answer 1", "answer 2", "answer 3"]
        assert [one.session.turns[-1].answer for one in found] == [one.answer for one in found]


def test_the_score_is_shown_to_people(scorer: Longest, coast: Path, capsys: Any) -> None:
    assert run("ask", coast, "What is here?", "--best-of", 2, "--scorer", "m") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("A lake and a road.") and "18.000, the best of 2 different answers" in shown


@pytest.mark.parametrize("words", [("--best-of", 0), ("--best-of", 2, "--temperature", 0)])
def test_what_does_not_go_together_is_refused(
    scorer: Longest, coast: Path, capsys: Any, words: tuple[object, ...]
) -> None:
    assert run("ask", coast, "What is here?", *words) == 2
    assert "error:" in capsys.readouterr().err
    assert scorer.seen == []


def test_answers_without_any_score_are_an_error(scorer: Longest, coast: Path, capsys: Any) -> None:
    scorer.score = lambda rows: [Score(None, "too long") for _ in rows]  # type: ignore[method-assign]
    assert run("ask", coast, "What is here?", "--best-of", 2, "--scorer", "m") == 2
    assert "too long" in capsys.readouterr().err
