"""Exports write what other programs read: turns, pictures in order, boxes, terms of use."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import rasterio
from rasterio.transform import Affine

from data_prep.exports import EXPORTS, _conversations
from data_prep.exports import webdataset as tars
from lhrs_chat.config import from_dict
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Image, Message, Part, Sample, Targets

CONVERSATIONS = ("llava", "ms_swift", "sharegpt")
SIZE = (40, 20)


def png(path: Path, seed: int = 0) -> Image:
    PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 40, 3), dtype=np.uint8)).save(path)
    return Image(path=str(path), size_px=SIZE)


def scene(path: Path) -> Image:
    values = np.random.default_rng(1).integers(0, 4000, (4, 20, 40), dtype=np.uint16)
    options = {"driver": "GTiff", "count": 4, "height": 20, "width": 40, "dtype": "uint16"}
    with rasterio.open(path, "w", crs="EPSG:32631", transform=Affine(2, 0, 6e5, 0, -2, 5e6), **options) as made:
        made.write(values)
    return Image(path=str(path))


def sample(name: str, images: Sequence[Image], *messages: Message) -> Sample:
    return Sample(
        id=name,
        images=tuple(images),
        task="referring",
        source="synthetic",
        licence="CC-BY-4.0",
        scene_id="s1",
        messages=messages,
        targets=Targets(answer="It is there."),
    )


def two_dates(folder: Path) -> Sample:
    question = Message(
        "user",
        (Part("image", image=1), Part("text", text="then"), Part("image", image=0), Part("text", text="now. Where?")),
    )
    box = Box((10, 5, 30, 15), "pixel", "ship")
    answer = Message("assistant", (Part("text", text="There: "), Part("region", region=box, image=1)))
    system = Message.of("system", "You look at maps.")
    return sample("two", [png(folder / "a.png"), scene(folder / "b.tif")], system, question, answer)


def read(folder: Path, format_name: str) -> list[dict[str, Any]]:
    if format_name == "ms_swift":
        return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    found: list[dict[str, Any]] = json.loads((folder / "rows.json").read_text())
    return found


def test_the_formats_are_found() -> None:
    assert set(EXPORTS.names()) == {*CONVERSATIONS, "webdataset"}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_pictures_stand_in_the_order_of_their_marks(tmp_path: Path, name: str) -> None:
    assert EXPORTS.get(name).write([two_dates(tmp_path)], tmp_path / "out") == 1
    (row,) = read(tmp_path / "out", name)
    files = row["image"] if name == "llava" else row["images"]
    first, second = (PIL.Image.open(tmp_path / "out" / file) for file in files)
    assert second.tobytes() == PIL.Image.open(tmp_path / "a.png").tobytes()
    assert first.size == SIZE  # the four bands, shown
    assert first.mode == "RGB"
    assert (row["licence"], row["source"], row["task"], row["scene_id"]) == (
        "CC-BY-4.0",
        "synthetic",
        "referring",
        "s1",
    )
    notes = [json.loads(line) for line in (tmp_path / "out" / "pictures.jsonl").read_text().splitlines()]
    made = {note["file"]: note["made"] for note in notes}
    assert made[files[1]] == "copied"
    assert "as red, green, blue" in made[files[0]]


def test_llava(tmp_path: Path) -> None:
    EXPORTS.get("llava").write([two_dates(tmp_path)], tmp_path / "out")
    (row,) = read(tmp_path / "out", "llava")
    assert row["conversations"] == [
        {"from": "system", "value": "You look at maps."},
        {"from": "human", "value": "<image>\nthen<image>\nnow. Where?"},
        {"from": "gpt", "value": "There: [0.250,0.250,0.750,0.750]"},
    ]


def test_sharegpt(tmp_path: Path) -> None:
    EXPORTS.get("sharegpt").write([two_dates(tmp_path)], tmp_path / "out")
    (row,) = read(tmp_path / "out", "sharegpt")
    assert row["system"] == "You look at maps."
    assert [turn["from"] for turn in row["conversations"]] == ["human", "gpt"]
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())["lhrs_chat"]
    assert (tmp_path / "out" / info["file_name"]).is_file()
    assert set(info["columns"].values()) <= set(row)


def test_ms_swift(tmp_path: Path) -> None:
    EXPORTS.get("ms_swift").write([two_dates(tmp_path)], tmp_path / "out")
    (row,) = read(tmp_path / "out", "ms_swift")
    assert row["messages"][-1] == {"role": "assistant", "content": "There: <bbox>"}
    assert row["objects"] == {"ref": [], "bbox": [[10, 5, 30, 15]], "bbox_type": "real", "image_id": [0]}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_picture_that_no_turn_shows_comes_first_and_is_written_once(tmp_path: Path, name: str) -> None:
    image = png(tmp_path / "a.png")
    turns = Message.of("user", "What is it?"), Message.of("assistant", "A port.")
    assert EXPORTS.get(name).write([sample(str(n), [image], *turns) for n in range(3)], tmp_path / "out") == 3
    row = read(tmp_path / "out", name)[2]
    said = row["messages"][0]["content"] if name == "ms_swift" else row["conversations"][0]["value"]
    assert said == "<image>\nWhat is it?"
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_what_cannot_be_told_is_an_error(tmp_path: Path, name: str) -> None:
    image = png(tmp_path / "a.png")
    marked = Message.of("user", "Is <image> one?", (0,)), Message.of("assistant", "Yes.")
    for row, words in ((sample("f", [image]), "without a conversation"), (sample("m", [image], *marked), "the mark")):
        with pytest.raises(DataError, match=words):
            EXPORTS.get(name).write([row], tmp_path / "out")
        assert not (tmp_path / "out" / "rows.json").exists()  # wholly or not at all


def test_no_rows_give_an_empty_list(tmp_path: Path) -> None:
    assert EXPORTS.get("llava").write([], tmp_path) == 0
    assert json.loads((tmp_path / "rows.json").read_text()) == []


def test_webdataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "SHARD_ROWS", 2)
    rows = [two_dates(tmp_path), sample("facts", [png(tmp_path / "c.png", 3)]), two_dates(tmp_path)]
    assert EXPORTS.get("webdataset").write(rows, tmp_path / "out") == 3
    shards = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in shards] == ["shard-00000.tar", "shard-00001.tar"]
    with tarfile.open(shards[0]) as archive:
        names = archive.getnames()
        assert names == ["000000000.png", "000000000.1.png", "000000000.json", "000000001.png", "000000001.json"]
        held = {name: member.read() for name in names if (member := archive.extractfile(name)) is not None}
    assert held["000000000.png"] == (tmp_path / "a.png").read_bytes()
    row = from_dict(Sample, json.loads(held["000000000.json"]))
    assert row.messages == rows[0].messages
    assert [image.path for image in row.images] == names[:2]
    assert PIL.Image.open(io.BytesIO(held["000000000.1.png"])).size == row.images[1].size_px == SIZE
    assert row.meta["pictures"][0] == "copied"
    again = tmp_path / "again"
    EXPORTS.get("webdataset").write(rows, again)
    assert [path.read_bytes() for path in shards] == [path.read_bytes() for path in sorted(again.iterdir())]


def test_pixels_in_memory_are_shown_as_the_raster_reader_shows_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 20, 40), dtype=np.uint8)
    made = _conversations.encode(Image(array=pixels))
    assert (np.asarray(PIL.Image.open(io.BytesIO(made.data))) == pixels.transpose(1, 2, 0)).all()
