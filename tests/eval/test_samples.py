"""The Parquet file beside the answers: complete, whole, and as good as the answers themselves."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from eval import runner, runs, samples
from eval.__main__ import main
from eval.benchmarks import BENCHMARKS
from eval.records import ANSWERS, SAMPLES
from lhrs_chat.errors import DataError, LhrsError, MissingExtraError

BENCHMARK = BENCHMARKS.get("nano_probe")


@pytest.fixture
def scored(probe: Path, tmp_path: Path, scripted: Any, perfect: Any) -> runs.ScoredRun:
    """Perfect answers, but for a server error on one task."""

    def speech(question: str, hashes: tuple[str, ...]) -> str:
        if "ships" in question:
            raise LhrsError("the server answered 500")
        return str(perfect(question, hashes))

    data = runs.open_data("nano_probe", probe)
    settings = runner.Settings(on_error="record")
    runner.run(BENCHMARK, data.questions, scripted(speech), tmp_path / "out", ["real", "blind"], settings)
    return runs.score(data, tmp_path / "out")


def test_every_answer_comes_back_as_it_was(scored: runs.ScoredRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "BLOCK_ROWS", 7)
    path = samples.write(scored)
    before = scored.summary()
    (scored.folder / ANSWERS).unlink()
    again = runs.score(scored.data, scored.folder)
    assert path.name == SAMPLES and again.header == scored.header
    assert again.records == scored.records and again.summary() == before


def test_columns_can_be_selected_by_other_programs(scored: runs.ScoredRun) -> None:
    samples.write(scored)
    table = parquet.read_table(scored.folder / SAMPLES)
    rows = table.to_pylist()
    assert len(rows) == len(scored.records)
    (row,) = [row for row in rows if row["id"] == "synthetic-0-presence" and row["condition"] == "real"]
    assert row["question"] == "Is there water?" and row["true"] == "yes" and row["strict.accuracy"] == 1.0
    assert (row["width_px"], row["height_px"]) == (32, 24) and json.loads(row["parsed"]) == {"strict": "yes"}
    (count,) = [row for row in rows if row["id"] == "synthetic-0-count" and row["condition"] == "real"]
    assert "500" in count["error"] and count["strict.exact"] == 0.0 and count["strict.iou"] is None
    (caption,) = [row for row in rows if row["id"] == "synthetic-0-caption" and row["condition"] == "real"]
    assert caption["strict.cider"] > 2 and row["strict.cider"] is None
    metrics = {f"strict.{name}" for record in scored.records.values() for name in record.scores["strict"]}
    assert metrics <= set(table.column_names)


def test_score_and_compare_read_either(scored: runs.ScoredRun, capsys: Any) -> None:
    command = ["score", str(scored.folder), "--data", str(scored.data.folder)]
    assert main(command) == 0
    table = capsys.readouterr().out
    (scored.folder / ANSWERS).unlink()
    assert main(command) == 0 and capsys.readouterr().out == table
    assert main(["report", str(scored.folder), "--data", str(scored.data.folder), "--samples", "2"]) == 0
    other = scored.folder.with_name("other")
    other.mkdir()
    (other / SAMPLES).write_bytes((scored.folder / SAMPLES).read_bytes())
    assert main(["compare", str(scored.folder), str(other), "--data", str(scored.data.folder)]) == 0
    assert "+0.000 [+0.000, +0.000]" in capsys.readouterr().out


def test_answers_in_one_file_only_are_not_asked_again_in_silence(scored: runs.ScoredRun, scripted: Any) -> None:
    samples.write(scored)
    (scored.folder / ANSWERS).unlink()
    backend = scripted(lambda question, hashes: "yes")
    with pytest.raises(DataError, match="no more can be added"):
        runner.run(BENCHMARK, scored.data.questions, backend, scored.folder)
    assert not backend.requests
    done = runner.run(BENCHMARK, scored.data.questions, backend, scored.folder, None, runner.Settings(resume=False))
    assert done.asked


def test_another_file_is_refused(scored: runs.ScoredRun, tmp_path: Path) -> None:
    import pyarrow

    folder = tmp_path / "strange"
    folder.mkdir()
    with pytest.raises(DataError, match="no answers here"):
        samples.header_of(folder)
    parquet.write_table(pyarrow.table({"id": ["a"]}), folder / SAMPLES)
    with pytest.raises(DataError, match="no answers of ours"):
        samples.header_of(folder)
    with pytest.raises(DataError, match="cannot be read"):
        list(samples.records_of(folder))
    samples.write(replace(scored, folder=folder, header={**scored.header, "format": 1}))
    with pytest.raises(DataError, match="another version"):
        samples.header_of(folder)


def test_without_pyarrow_a_run_ends_well(scored: runs.ScoredRun, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError):
        samples.write(scored)
    with caplog.at_level("INFO"):
        assert main(["score", str(scored.folder), "--data", str(scored.data.folder)]) == 0
    assert "pyarrow" in caplog.text and not (scored.folder / SAMPLES).exists()
