from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep.__main__ import main
from data_prep.verbs.contradictions import judge
from lhrs_chat import samples
from lhrs_chat.schema import Image, Number, Sample, Targets

SCENES = 12


def facts(number: int) -> Sample:
    numbers = (Number(2, "", "computed", "ship"), Number(60, "%", "computed", "water"))
    return Sample(
        f"s{number}",
        (Image(path="s.png", size_px=(8, 8)),),
        "facts",
        "port",
        "CC0",
        f"s{number}",
        targets=Targets(labels=("port",), numbers=numbers),
        meta={"complete": ["ship", "airplane", "water"]},
    )


def run(folder: Path, said: str, scenes: int = SCENES) -> str:
    folder.mkdir()
    lines = [{"header": {}}]
    lines += [
        {"id": f"s{number}/corrupt/caption-0", "condition": "real", "text": said} for number in reversed(range(scenes))
    ]
    lines += [{"id": f"s0/{task}/0", "condition": "real", "text": "ship"} for task in ("presence", "count")]
    lines.append({"id": "elsewhere/caption/0", "condition": "real", "text": said})
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return str(folder)


@pytest.fixture
def known(tmp_path: Path) -> str:
    samples.write(tmp_path / "facts.jsonl", [facts(number) for number in range(SCENES)])
    return str(tmp_path / "facts.jsonl")


@pytest.mark.parametrize(
    ("said", "scene", "false", "named"),
    [
        ("Two ships on the water of a port.", 1, 0, 2),
        ("Three ships on the water.", 0, 1, 2),
        ("An airport with an airplane and two ships.", 0, 1, 1),
        ("A pleasant place.", 0, 0, 0),
    ],
)
def test_a_description_is_judged_by_the_facts(said: str, scene: int, false: int, named: int) -> None:
    assert judge(said, facts(0)) == {"scene": scene, "false": false, "named": named}


def test_runs_are_compared_on_the_same_pictures(known: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong = run(tmp_path / "right", "Two ships."), run(tmp_path / "wrong", "Two airplanes.")
    assert main(["contradictions", known, "--runs", right, wrong]) == 0
    told = capsys.readouterr().out
    assert f"**port: descriptions that contradict the facts**, {SCENES} descriptions" in told
    assert f"| {right} | 0.000 ± 0.000 |" in told and f"| {wrong} | 1.000 ± 0.000 |" in told
    assert f"| {right} - {wrong} | -1.000 | -1.000 to -1.000 |" in told
    assert f"| {right} - {wrong} | +1.000 | +1.000 to +1.000 |" in told  # the true things named


def test_runs_of_other_questions_are_refused(known: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = run(tmp_path / "one", "Two ships."), run(tmp_path / "other", "Two ships.", scenes=3)
    assert main(["contradictions", known, "--runs", one, other]) == 2
    assert "same questions" in capsys.readouterr().err
    assert main(["contradictions", known, "--runs", run(tmp_path / "none", "Two ships.", scenes=0)]) == 2
    assert "no description" in capsys.readouterr().err
    samples.write(tmp_path / "rows.jsonl", [Sample("s0", (), "vqa", "port", "CC0", "s0")])
    assert main(["contradictions", str(tmp_path / "rows.jsonl"), "--runs", one]) == 2
    assert "rows of facts" in capsys.readouterr().err


def test_trainings_of_a_method_count_with_their_mean(
    known: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong = run(tmp_path / "right", "Two ships."), run(tmp_path / "wrong", "Two airplanes.")
    assert main(["contradictions", known, "--runs", f"{right},{wrong}", wrong]) == 0
    told = capsys.readouterr().out
    assert f"| {right},{wrong} | 0.500 ± 0.000 |" in told
    assert f"| {right},{wrong} - {wrong} | -0.500 | -0.500 to -0.500 |" in told
    short = run(tmp_path / "short", "Two ships.", scenes=3)
    assert main(["contradictions", known, "--runs", f"{right},{short}"]) == 2
    assert "same questions" in capsys.readouterr().err
