"""How often a score model prefers the better text: who was right, of which kinds, and against which other judges."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from torch.nn import functional

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.models import LhrsForConditionalGeneration, LhrsProcessor
from lhrs_chat.models.scorers import Judged, Score
from lhrs_chat.schema import Sample
from tests import tiny
from tests.training.systems import row
from training import pair_accuracy
from training.pair_accuracy import Pairs, judge, report

LIKED = {("a port", 0): 3.0, ("a lake", 0): 1.0, ("two ships", 1): 2.0, ("one ship", 1): 2.0, ("a port", 1): -1.0}
"""What the score model below gives to a text about the picture of a grey value; 0 to all others."""


class Grey:
    """A score model that looks at the grey value of a picture, and knows a few texts."""

    name, weights_sha256, prompt_sha256, dialect = "grey", "", "", "brackets100"

    def __init__(self, unknown: str = "") -> None:
        self.unknown = unknown
        self.seen: list[list[tuple[str, int]]] = []

    def score(self, rows: Sequence[Judged]) -> list[Score]:
        self.seen.append([(row.answer, int(row.images[0].mean())) for row in rows])
        return [
            Score(None, "unknown") if text == self.unknown else Score(LIKED.get((text, grey), 0.0))
            for text, grey in self.seen[-1]
        ]


def likeness(texts: Sequence[Judged]) -> list[float]:
    """Likes what begins late in the alphabet."""
    return [float(ord(text.answer[0])) for text in texts]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four rows about three pictures of one grey value each: one pair is right, one a tie, three are wrong."""
    files = [tmp_path / f"{grey}.png" for grey in range(3)]
    for grey, file in enumerate(files):
        PilImage.fromarray(np.full((30, 40, 3), grey, np.uint8)).save(file)
    told = [
        (0, "a port", ["a lake"], "swapped_object"),
        (1, "two ships", ["one ship", "a very long text about two ships"], "wrong_count"),
        (1, "a port", ["a lake"], "swapped_object"),
        (2, "a road", ["the road"], "verbose"),
    ]
    made = []
    for number, (grey, better, worse, error) in enumerate(told):
        one = row(f"pair/{number}", (("what is here?", better),), files[grey])
        meta = {"rejected": worse, "error": error}
        made.append(dataclasses.replace(one, task="preference", split="test", scene_id=f"scene{grey}", meta=meta))
    samples.write(tmp_path / "data" / "rows.jsonl", made)
    return tmp_path / "data"


@pytest.fixture
def rows(data: Path) -> list[Sample]:
    return list(samples.read(data))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Grey:
    """The command with the score model above, and the tiny model of all tests for the likeness of words."""
    scorer = Grey()
    monkeypatch.setattr(pair_accuracy, "open_scorer", lambda model, dtype: scorer)
    monkeypatch.setattr(pair_accuracy, "BASE", str(tiny_model))
    return scorer


def test_every_pair_has_its_judges(rows: list[Sample]) -> None:
    found = judge(rows, Grey(), likeness)
    assert found.errors == ["swapped_object", "wrong_count", "wrong_count", "swapped_object", "verbose"]
    assert found.scenes == ["scene0", "scene1", "scene1", "scene1", "scene2"]
    assert found.matched == [True, False, False, True, False]
    assert found.right == {
        "grey": [1.0, 0.5, 1.0, 0.0, 0.5],
        "other picture": [0.0, 0.5, 0.5, 0.5, 0.5],
        "longer text": [0.5, 1.0, 0.0, 0.5, 0.0],
        "word likeness": [0.5, 1.0, 1.0, 0.5, 0.0],
    }


@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_the_other_picture_is_another_one(rows: list[Sample], monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(pair_accuracy, "AT_ONCE", at_once)
    scorer = Grey()
    judge(rows, scorer, likeness)
    own = [pair for call in scorer.seen[::2] for pair in call]
    other = [pair for call in scorer.seen[1::2] for pair in call]
    assert [grey for _, grey in own] == [0, 0, 1, 1, 1, 1, 1, 2, 2]
    assert [grey for _, grey in other] == [1, 1, 2, 2, 2, 2, 2, 0, 0]
    assert [text for text, _ in other] == [text for text, _ in own]


def test_pairs_about_one_picture_have_no_other(rows: list[Sample]) -> None:
    with pytest.raises(DataError, match="no other picture"):
        judge(rows[1:3], Grey(), likeness)


def test_report_of_every_kind_of_all_and_of_matched_lengths() -> None:
    found = Pairs(
        ["b", "a", "b", "a"],
        ["s1", "s2", "s1", "s2"],
        [True, False, True, True],
        {"m": [1.0, 0.5, 1.0, 1.0], "other picture": [0.0, 0.5, 0.0, 1.0]},
    )
    lines = report(found, "m").splitlines()
    assert lines[0] == "| error | pairs | m | other picture |"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:6]]
    assert [(kind, count) for kind, count, *_ in cells] == [
        *(("a", "2"), ("b", "2"), ("all", "4"), ("all of matched length", "3")),
    ]
    means = [[float(cell.split(" ")[0]) for cell in told] for _, _, *told in cells]
    assert means == [[75.0, 75.0], [100.0, 0.0], [87.5, 37.5], [100.0, 33.3]]
    assert cells[2][2] == "87.5 (75.0 to 100.0)", "the interval is over pictures"
    assert lines[7] == "m minus the others, in points, over pictures that they share:"
    assert lines[9] == "- all, against other picture: +50.0 (+0.0 to +100.0)"
    assert lines[10].startswith("- all of matched length, against other picture: +66.7 (")
    assert len(lines) == 11


def test_a_group_without_pairs_is_left_out() -> None:
    found = Pairs(["a", "a"], ["s1", "s2"], [False, False], {"m": [1.0, 0.0], "other picture": [0.0, 0.0]})
    assert "matched" not in report(found, "m")


def test_the_command_prints_and_writes_the_table(command: Grey, data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "table.md"
    assert pair_accuracy.main(["grey", str(data), "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert shown == out.read_text()
    assert shown.startswith("| error | pairs | grey | other picture | longer text | word likeness |")
    assert "| all | 5 | 60.0 (" in shown


def test_rows_are_drawn_from_all_over(command: Grey, data: Path, capsys) -> None:
    assert pair_accuracy.main(["grey", str(data), "--most", "2"]) == 0
    assert "| all | 2 |" in capsys.readouterr().out
    assert command.seen[0] == [("a port", 0), ("a lake", 0), ("a port", 1), ("a lake", 1)]


def test_a_split_without_pairs_is_an_error(command: Grey, data: Path, capsys) -> None:
    assert pair_accuracy.main(["grey", str(data), "--split", "val"]) == 2
    assert "split val" in capsys.readouterr().err


def test_a_text_without_a_score_is_an_error(command: Grey, data: Path, capsys) -> None:
    command.unknown = "one ship"
    assert pair_accuracy.main(["grey", str(data)]) == 2
    shown = capsys.readouterr()
    assert "'one ship': unknown" in shown.err and shown.out == ""


def test_likeness_of_words_is_a_cosine_of_means(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_accuracy, "BASE", str(tiny_model))
    image = tiny.picture(1)
    texts = [Judged(text, images=(image,)) for text in ("a port", "a lake")] + [Judged("a port", images=(~image,))]
    values = pair_accuracy.word_likeness()(texts)
    model = LhrsForConditionalGeneration.from_pretrained(tiny_model)
    processor = LhrsProcessor.from_pretrained(tiny_model)
    table = model.get_input_embeddings().weight.detach()
    with torch.inference_mode():
        seen = model.visual_tokens(processor.image_processor([PilImage.fromarray(image)])["pixel_values"])[0].mean(0)
    words = torch.stack([table[token] for token in processor.tokenizer("a port").input_ids]).mean(0)
    assert values[0] == pytest.approx(
        float(functional.cosine_similarity(seen - table.mean(0), words - table.mean(0), 0))
    )
    assert len({round(value, 6) for value in values}) == 3 and all(math.isfinite(value) for value in values)
