from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image as PilImage

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.models.scorers import Judged, Score
from lhrs_chat.schema import Box, Image, Message, Part, Sample
from lhrs_chat.scoring import COLUMNS, judged, score_rows
from tests import tiny


class LengthScorer:
    """Scores by the length of what is said; a text with a number in it gets no score."""

    name, weights_sha256, prompt_sha256, dialect = "length", "w", "p", "brackets100"

    def __init__(self, breaks_after: float = math.inf) -> None:
        self.calls = 0
        self.breaks_after = breaks_after

    def score(self, rows: Sequence[Judged]) -> list[Score]:
        if self.calls >= self.breaks_after:
            raise KeyboardInterrupt
        self.calls += 1
        return [
            Score(None, "it counts") if any(sign.isdigit() for sign in row.answer) else Score(float(len(row.answer)))
            for row in rows
        ]


def row(name: str, answer: str, *images: str) -> Sample:
    turns = (
        Message.of("user", "What is here?", tuple(range(len(images)))),
        Message.of("assistant", answer),
    )
    pictures = tuple(Image(path=path) for path in images)
    return Sample(name, pictures, "vqa", "made", "CC0", name, messages=turns)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    PilImage.fromarray(tiny.picture(1)).save(folder / "a.png")
    (folder / "broken.png").write_bytes(b"<html>")
    rows = [row(f"r{number}", "x" * number or "zero", "a.png") for number in range(10)]
    rows[3] = row("r3", "no such file", "lost.png")
    rows[4] = row("r4", "no picture", "broken.png")
    rows[5] = row("r5", "5 ships", "a.png")
    rows[6] = row("r6", "two dates", "a.png", "a.png")
    rows[7] = Sample("r7", (), "facts", "made", "CC0", "r7")
    samples.write(folder / "rows.jsonl", rows)
    return folder


def test_every_row_gets_a_score_or_a_reason(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    done = score_rows(data, LengthScorer(), out, part_rows=3)
    found = samples.read_columns(out, list(COLUMNS))
    assert (done.rows, done.reused, done.unscored.total()) == (10, 0, 4)
    assert done.unscored["it counts"] == 1 and done.unscored["no such image file"] == 1
    assert found["id"] == [f"r{number}" for number in range(10)]
    assert found["score"] == [4.0, 1.0, 2.0, None, None, None, 9.0, None, 8.0, 9.0]
    assert [bool(reason) for reason in found["reason"]] == [score is None for score in found["score"]]
    assert "lost.png" in found["reason"][3] and found["reason"][5] == "it counts"
    assert set(found["model"]) == {"length"} and len(set(found["row_sha256"])) == 10
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("stops_after", [1, 2, 3])
def test_a_run_that_was_stopped_goes_on_to_the_same_file(data: Path, tmp_path: Path, stops_after: int) -> None:
    whole, resumed = tmp_path / "whole.parquet", tmp_path / "resumed.parquet"
    score_rows(data, LengthScorer(), whole, part_rows=3)
    with pytest.raises(KeyboardInterrupt):
        score_rows(data, LengthScorer(breaks_after=stops_after), resumed, part_rows=3)
    assert not resumed.exists()
    again = LengthScorer()
    done = score_rows(data, again, resumed, part_rows=3)
    assert done.reused == 3 * stops_after and again.calls == 4 - stops_after
    assert resumed.read_bytes() == whole.read_bytes()


def test_parts_of_another_model_are_not_taken_over(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    with pytest.raises(KeyboardInterrupt):
        score_rows(data, LengthScorer(breaks_after=2), out, part_rows=3)
    other = LengthScorer()
    other.weights_sha256 = "another"
    assert score_rows(data, other, out, part_rows=3).reused == 0
    assert set(samples.read_columns(out, ["weights_sha256"])["weights_sha256"]) == {"another"}


def test_regions_are_written_as_the_model_reads_them(tmp_path: Path) -> None:
    PilImage.fromarray(tiny.picture(1, (40, 20))).save(tmp_path / "a.png")
    region = Part("region", region=Box((10, 5, 20, 10), "pixel"), image=0)
    turns = (
        Message.of("user", "Where is it?", (0,)),
        Message("assistant", (Part("text", text="Here: "), region)),
        Message.of("user", "Sure?"),
        Message.of("assistant", "Yes."),
    )
    sample = Sample("r", (Image(path=str(tmp_path / "a.png")),), "vqa", "made", "CC0", "r", messages=turns)
    found = judged(sample, "brackets100", {})
    assert found.earlier == (("Where is it?", "Here: [25, 25, 50, 50]"),)
    assert (found.question, found.answer) == ("Sure?", "Yes.") and found.images[0].shape == (20, 40, 3)


def test_turns_out_of_order_are_refused() -> None:
    sample = Sample("r", (), "vqa", "made", "CC0", "r", messages=(Message.of("assistant", "Yes."),))
    with pytest.raises(DataError, match="in turn"):
        judged(sample, "brackets100", {})


def test_what_cannot_be_written_or_holds_no_rows_is_refused_at_once(data: Path, tmp_path: Path) -> None:
    scorer = LengthScorer()
    with pytest.raises(DataError, match="into a file"):
        score_rows(data, scorer, tmp_path)
    (tmp_path / "void.jsonl").write_text("")
    with pytest.raises(DataError, match="no rows"):
        score_rows(tmp_path / "void.jsonl", scorer, tmp_path / "scores.parquet")
    assert scorer.calls == 0 and not list(tmp_path.glob("*.parts"))


def test_a_line_that_is_no_row_keeps_what_was_scored_before_it_and_else_nothing(data: Path, tmp_path: Path) -> None:
    lines = (data / "rows.jsonl").read_text().splitlines()
    for broken, kept in ((0, False), (2, True)):
        made = tmp_path / f"broken{broken}.jsonl"
        made.write_text("\n".join([*lines[:broken], "{", *lines[broken:]]) + "\n")
        with pytest.raises(DataError, match=f"line {broken + 1}"):
            score_rows(made, LengthScorer(), tmp_path / f"{broken}.parquet", part_rows=1)
        assert (tmp_path / f"{broken}.parquet.parts").exists() == kept
