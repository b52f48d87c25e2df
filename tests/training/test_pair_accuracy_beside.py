"""Other score models that judge the same pairs beside the first one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from lhrs_chat import samples
from lhrs_chat.models.scorers import Judged, Score
from tests.training.systems import row
from training import pair_accuracy


class Counts:
    """A score model that likes texts by how often they hold a letter, and knows none that is longer than `longest`."""

    weights_sha256, prompt_sha256, dialect = "", "", "brackets100"

    def __init__(self, name: str, longest: int = 100) -> None:
        self.name, self.longest = name, longest

    def score(self, rows: Sequence[Judged]) -> list[Score]:
        return [
            Score(None, "too long") if len(row.answer) > self.longest else Score(float(row.answer.count(self.name)))
            for row in rows
        ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = []
    for number, (better, worse) in enumerate([("xx yy", "x"), ("x", "y"), ("x y", "x y and so on, yy")]):
        PilImage.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
        one = row(f"pair/{number}", (("what?", better),), tmp_path / f"{number}.png")
        meta = {"rejected": [worse], "error": "kind"}
        made.append(dataclasses.replace(one, task="preference", split="test", scene_id=f"s{number}", meta=meta))
    samples.write(tmp_path / "data" / "rows.jsonl", made)
    return tmp_path / "data"


def test_others_judge_the_same_pairs_and_a_text_without_a_score_ties(data: Path) -> None:
    rows = list(samples.read(data))
    found = pair_accuracy.judge(rows, Counts("x"), lambda texts: [0.0] * len(texts), [Counts("y", longest=5)])
    assert found.right["x"] == [1.0, 1.0, 0.5]
    assert found.right["y"] == [1.0, 0.0, 0.5], "the last text is too long for it, else it would be wrong there"
    assert list(found.right) == ["x", *pair_accuracy.ARMS, "y"]


def test_the_command_takes_several(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pair_accuracy, "open_scorer", lambda name, dtype: Counts(name))
    monkeypatch.setattr(pair_accuracy, "word_likeness", lambda: lambda texts: [0.0] * len(texts))
    assert pair_accuracy.main(["x", str(data), "--beside", "y", "--beside", "o", "--beside", "y"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "| error | pairs | x | other picture | longer text | word likeness | y | o |"
    assert [cell.split(" (")[0].strip() for cell in table[2].split("|")[3:-1]] == [
        "83.3",
        "83.3",
        "50.0",
        "50.0",
        "33.3",
        "33.3",
    ]
    assert any(line.startswith("- all, against y: +50.0") for line in table)
