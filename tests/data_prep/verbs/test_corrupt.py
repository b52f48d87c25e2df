from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.__main__ import main
from data_prep.verbs.corrupt import FALSE, corrupt
from data_prep.verbs.select import select
from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Image, Message, Sample, Targets

ASKED = "Describe this scene."


def pair(scene: int, kind: str, asked: str = ASKED, split: str = "train") -> Sample:
    true, false = f"Scene {scene} is so ({kind}).", f"Scene {scene} is not so ({kind})."
    turns = (Message.of("user", asked, images=(0,)), Message.of("assistant", true))
    return Sample(
        f"s{scene}/preferences/{kind}-{len(asked)}",
        (Image(path="s.png", size_px=(8, 8)),),
        "preference",
        "field",
        "CC0",
        f"s{scene}",
        messages=turns,
        targets=Targets(answer=true, labels=("port",)),
        split=split,
        meta={"rejected": [false, "worse"], "error": kind, "severity": 1, "builder": "preferences"},
    )


def pairs(folder: Path, rows: list[Sample]) -> Path:
    folder.mkdir()
    samples.write(folder / "rows.jsonl", rows)
    return folder


@pytest.fixture
def made(tmp_path: Path) -> Path:
    kinds = ("wrong_count", "swapped_object", "verbose")
    rows = [pair(scene, kind) for scene in range(200) for kind in kinds]
    rows += [pair(0, "wrong_height", "How high is it?"), pair(200, "wrong_count", split="test")]
    return pairs(tmp_path / "pairs", rows)


def text(row: Sample) -> str:
    return row.messages[-1].text


def test_each_picture_gets_one_caption_and_half_of_them_are_false(made: Path, tmp_path: Path) -> None:
    corrupt([made], tmp_path / "out", 0.5, split="train")
    rows = list(samples.read(tmp_path / "out"))
    assert [row.scene_id for row in rows] == [f"s{scene}" for scene in range(200)]
    false = [row for row in rows if "error" in row.meta]
    assert 70 < len(false) < 130
    assert all("is not so" in text(row) and row.meta["error"] in text(row) for row in false)
    assert all("is so" in text(row) for row in rows if row not in false)
    assert {row.meta["error"] for row in false} == {"wrong_count", "swapped_object"}
    assert {row.task for row in rows} == {"caption"} and all(row.messages[0].text for row in rows)
    assert set(rows[0].targets.captions) == {"Scene 0 is so (wrong_count).", "Scene 0 is so (swapped_object)."}


def test_the_share_decides_only_what_is_false(made: Path, tmp_path: Path) -> None:
    for share in (0.0, 0.5):
        corrupt([made], tmp_path / str(share), share, split="train")
    true, half = (list(samples.read(tmp_path / str(share))) for share in (0.0, 0.5))
    assert not any("error" in row.meta for row in true)
    same = [one == other for one, other in zip(true, half, strict=True) if "error" not in other.meta]
    assert same and all(same)
    assert all(one.messages[0] == other.messages[0] for one, other in zip(true, half, strict=True))


def test_select_makes_the_arm_of_a_perfect_score(made: Path, tmp_path: Path) -> None:
    corrupt([made], tmp_path / "out", 0.5, split="train")
    truth = {"top": str(tmp_path / "out" / "truth.parquet")}
    report = select(tmp_path / "out", truth, tmp_path / "arms", 0.3, tell="error")
    kept = list(samples.read(tmp_path / "arms" / "top"))
    assert len(kept) == 60 and not any("error" in row.meta for row in kept)
    assert "| top | 60 | 1 | 60 |" in report
    errors = [row.meta.get("error", "-") for row in samples.read(tmp_path / "out")]
    true, false = errors.count("-"), errors.count("wrong_count")
    assert "| error | rows | top | random |" in report
    assert f"\n| - | {true} | 60 ({60 / true:.0%}) | " in report
    assert f"\n| wrong_count | {false} | 0 (0%) | " in report


def test_what_is_no_pair_is_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = pairs(tmp_path / "other", [Sample("s", (), "vqa", "field", "CC0", "s")])
    with pytest.raises(DataError, match="made false by pairs"):
        corrupt([other], tmp_path / "a", 0.5)
    with pytest.raises(DataError, match="no pair describes"):
        corrupt([made], tmp_path / "b", 0.5, split="val")
    assert main(["corrupt", str(made), "--out", str(tmp_path / "c"), "--kinds", "wrong_name"]) == 2
    assert "wrong_name" in capsys.readouterr().err
    assert "verbose" not in FALSE
