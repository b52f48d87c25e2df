from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from data_prep.verbs.select import best, curve, drawn, read_scores, select, share_of, stratum
from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Message, Sample
from lhrs_chat.scoring import COLUMNS, fingerprint

SOURCES = ("harbour", "field")


def row(number: int) -> Sample:
    turns = (Message.of("user", "What?"), Message.of("assistant", "word " * (1 + number % 40)))
    return Sample(f"r{number:03d}", (), "vqa", SOURCES[number % 2], "CC0", f"s{number}", messages=turns)


def value(number: int) -> float | None:
    return None if number % 10 == 9 else float((number * 37) % 50)


def write_scores(path: Path, rows: list[Sample], values: list[float | None]) -> Path:
    lines = [
        {**dict.fromkeys(COLUMNS, ""), "id": row.id, "score": score, "row_sha256": fingerprint(row)}
        | {"reason": "" if score is not None else "no picture"}
        for row, score in zip(rows, values, strict=True)
    ]
    samples.write_table(path, COLUMNS, lines)
    return path


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    rows = [row(number) for number in range(100)]
    (tmp_path / "data").mkdir()
    samples.write(tmp_path / "data" / "rows.jsonl", rows)
    return tmp_path / "data", write_scores(tmp_path / "scores.parquet", rows, [value(n) for n in range(100)])


def ids(folder: Path) -> list[str]:
    return [sample.id for sample in samples.read(folder)]


def test_the_best_are_kept_and_the_others_say_why(data: tuple[Path, Path], tmp_path: Path) -> None:
    report = select(data[0], {"top": data[1]}, tmp_path / "out", 0.3)
    kept = ids(tmp_path / "out" / "top")
    scores = {f"r{n:03d}": value(n) for n in range(100)}
    worst = min(scores[name] for name in kept)
    assert len(kept) == 30 and kept == sorted(kept)
    assert all(scores[name] <= worst for name in scores if name not in kept and scores[name] is not None)
    dropped = samples.read_columns(tmp_path / "out" / "top" / "dropped-00000.parquet", ["id", "filter", "reason"])
    assert len(dropped["id"]) == 70 and set(dropped["filter"]) == {"select"}
    said = dict(zip(dropped["id"], dropped["reason"], strict=True))
    assert said["r009"] == "no score: no picture" and f"the lowest kept is {worst:.6g}" in said["r000"]
    assert len(ids(tmp_path / "out" / "random")) == 30 and "| random | 30 |" in report
    longest = [len(sample.messages[-1].text) for sample in samples.read(tmp_path / "out" / "longest")]
    assert len(longest) == 30 and min(longest) >= sorted(len("word ") * (1 + n % 40) for n in range(100))[70] - 1
    assert (tmp_path / "out" / "curve.csv").read_text().startswith("share,rows,lowest,mean\n0.05,5,")


def test_equal_scores_are_told_apart_by_the_hash_of_the_id(data: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [row(number) for number in range(100)]
    scored = read_scores(data[0], write_scores(tmp_path / "flat.parquet", rows, [1.0] * 100), ())
    kept, _ = best(scored, 0.1)
    expected = sorted(scored.ids, key=lambda name: hashlib.sha256(name.encode()).digest()[:7])[:10]
    assert {name for name, keep in zip(scored.ids, kept, strict=True) if keep} == set(expected)


def test_strata_keep_their_share(data: tuple[Path, Path]) -> None:
    scored = read_scores(*data, ("source", "length"))
    kept, lowest = best(scored, 0.5)
    for name in set(scored.strata):
        members = np.array([each == name for each in scored.strata])
        able = int(np.isfinite(scored.scores[members]).sum())
        assert int(kept[members].sum()) == min(able, round(0.5 * int(members.sum())))
        assert np.nanmin(scored.scores[members & kept]) == lowest[name]
    assert stratum(row(0), ("source", "length")) == "source=harbour, length=0-7"
    assert stratum(row(8), ("length",)) == "length=8-15" and stratum(row(3), ()) == "all"


def test_the_random_arm_is_as_large_in_each_stratum_and_follows_the_seed(data: tuple[Path, Path]) -> None:
    scored = read_scores(*data, ("source",))
    like, _ = best(scored, 0.3)
    one, other = drawn(scored, like, 1), drawn(scored, like, 2)
    groups = np.array(scored.strata)
    assert all(one[groups == name].sum() == like[groups == name].sum() for name in set(scored.strata))
    assert (one == drawn(scored, like, 1)).all() and (one != other).any()


def test_the_curve_falls(data: tuple[Path, Path]) -> None:
    told = curve(read_scores(*data, ()))
    assert [line["rows"] for line in told][:3] == [5, 10, 20] and told[-1]["rows"] == 90
    assert all(a["lowest"] >= b["lowest"] and a["mean"] >= b["mean"] for a, b in itertools.pairwise(told))


def test_a_stratum_of_which_nothing_is_kept_is_named(tmp_path: Path) -> None:
    rows = [row(number) for number in range(0, 20, 2)] + [row(1)]
    (tmp_path / "data").mkdir()
    samples.write(tmp_path / "data" / "rows.jsonl", rows)
    scores = write_scores(tmp_path / "scores.parquet", rows, [float(n) for n in range(10)] + [float("inf")])
    report = select(tmp_path / "data", {"top": scores}, tmp_path / "out", 0.3, ("source",))
    assert "| source=field | nothing is kept of 1 |" in report and "11 rows, 1 of them without a score" in report


def test_controls_are_selected_by_their_own_scores(data: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [row(number) for number in range(100)]
    clip = write_scores(tmp_path / "clip.parquet", rows, [float(n) for n in range(100)])
    select(data[0], {"top": data[1], "clip": clip}, tmp_path / "out", 0.2)
    assert ids(tmp_path / "out" / "clip") == [f"r{n:03d}" for n in range(80, 100)]


def test_scores_of_other_words_are_refused(data: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [row(number) for number in range(100)]
    rows[7] = row(8)
    lines = write_scores(tmp_path / "other.parquet", [*rows[:7], *rows[8:]], [1.0] * 99)
    with pytest.raises(DataError, match="another data set"):
        select(data[0], {"top": lines}, tmp_path / "out", 0.3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("text", "share"), [("30%", 0.3), ("0.3", 0.3), ("100%", 1.0)])
def test_shares(text: str, share: float) -> None:
    assert share_of(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "130%", "many", "-1"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no share"):
        share_of(text)


def test_a_selection_of_nothing_is_refused_before_anything_is_written(data: tuple[Path, Path], tmp_path: Path) -> None:
    rows = list(samples.read(data[0]))
    none = write_scores(tmp_path / "none.parquet", rows, [None] * len(rows))
    for scores, share in ((none, 0.3), (data[1], 0.001)):
        with pytest.raises(DataError, match="no row would be kept"):
            select(data[0], {"top": scores}, tmp_path / "out", share)
    with pytest.raises(DataError, match="no row would be kept"):
        select(data[0], {"top": data[1], "clip": none}, tmp_path / "out", 0.3)
    assert not (tmp_path / "out").exists()


def test_files_that_hold_no_scores_are_refused(data: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no")
    samples.write_table(tmp_path / "other.parquet", {"id": str}, [{"id": "r000"}])
    for name, said in (("lost", "no such file"), ("text", "no Parquet"), ("other", "lacks columns")):
        with pytest.raises(DataError, match=said):
            read_scores(data[0], tmp_path / f"{name}.parquet", ())
