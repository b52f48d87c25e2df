from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest

from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.errors import DataError

PAIRS = [
    {"question": "What is it?", "chosen": "a port", "rejected": "a road", "image_name": "one.png"},
    {"chosen": "a lake", "rejected": ["a pond", "a road"], "image_path": "one.png"},
]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "images" / "pairs").mkdir(parents=True)
    PIL.Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "images" / "pairs" / "one.png")
    return tmp_path / "images" / "pairs" / "one.png"


def read(folder: Path) -> tuple[list, list[str]]:
    broken: list[str] = []
    options = SourceOptions(reject=lambda where, reason: broken.append(f"{where}: {reason}"))
    return list(SOURCES.get("preference_pairs").read(folder, options)), broken


def test_json_lists(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "pairs.json").write_text(json.dumps(PAIRS))
    (one, other), broken = read(tmp_path)
    assert broken == []
    assert one.images[0].path == str(picture) and one.images == other.images and one.scene_id == other.scene_id
    assert one.messages[0].text == "What is it?" and other.messages[0].text == ""
    assert other.messages[0].content[0].type == "image"
    assert (one.targets.answer, one.meta["rejected"]) == ("a port", ["a road"])
    assert other.meta["rejected"] == ["a pond", "a road"] and other.task == "preference"


def test_text_alone(tmp_path: Path) -> None:
    (tmp_path / "texts.json").write_text(json.dumps([{"question": "Why?", "chosen": "so", "rejected": "no"}] * 2))
    rows, broken = read(tmp_path)
    assert broken == [] and [row.images for row in rows] == [(), ()]
    assert len({row.id for row in rows}) == len({row.scene_id for row in rows}) == 2


def test_parquet_keeps_picture_and_question_of_both_texts(tmp_path: Path, picture: Path) -> None:
    texts = [json.dumps({key: pair[key] for key in pair if "image" not in key}) for pair in PAIRS]
    images = [{"bytes": picture.read_bytes(), "path": "x.png"}, {"bytes": None, "path": "one.png"}]
    table = pyarrow.table({"text": [*texts, "{"], "image": [*images, images[0]]})
    pyarrow.parquet.write_table(table, tmp_path / "pairs.parquet")
    (one, other), broken = read(tmp_path)
    assert one.images[0].data == picture.read_bytes() and one.messages[0].text == "What is it?"
    assert other.images[0].path == str(picture)
    assert len(broken) == 1 and "row 2 of pairs.parquet" in broken[0]


@pytest.mark.parametrize(
    "change",
    [{"chosen": " "}, {"rejected": []}, {"rejected": "a port"}, {"image_name": "none.png"}, {"question": 3}],
)
def test_broken_rows_are_named_and_the_others_kept(tmp_path: Path, picture: Path, change: dict) -> None:
    (tmp_path / "pairs.json").write_text(json.dumps([{**PAIRS[0], **change}, PAIRS[1]]))
    rows, broken = read(tmp_path)
    assert [row.targets.answer for row in rows] == ["a lake"]
    assert len(broken) == 1 and "pairs.json" in broken[0]


def test_a_folder_without_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="preference_pairs"):
        read(tmp_path)
