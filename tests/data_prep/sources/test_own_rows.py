"""The user's own rows, in the forms of LLaVA, ShareGPT and ms-swift, and pictures with a JSONL file beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample

Told = list[tuple[str, str]]
Read = Callable[..., list[Sample]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def read(tmp_path: Path, told: Told) -> Read:
    """Write rows as `rows.json` (or a JSONL file), beside empty pictures a.png and images/b.png, and read them."""
    (tmp_path / "images").mkdir()
    (tmp_path / "a.png").touch()
    (tmp_path / "images" / "b.png").touch()

    def do(source: str, *rows: Any, file: str = "rows.json") -> list[Sample]:
        lines = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / file).write_text(lines if file.endswith("l") else json.dumps(rows))
        options = SourceOptions(reject=lambda where, why: told.append((where, why)))
        return list(SOURCES.get(source).read(tmp_path, options))

    return do


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(texts)]


def regions(sample: Sample, place: int) -> list[tuple[str, tuple[float, ...], int | None]]:
    parts = sample.messages[place].content
    return [(part.region.frame, part.region.xyxy, part.image) for part in parts if part.region]


def test_llava(read: Read, told: Told) -> None:
    found = read(
        "llava",
        {"id": 3, "image": "a.png", "conversations": turns("<image>\nWhere?", "At [0.1,0.2,0.3,0.4]."), "split": "val"},
        {"id": 3, "image": "a.png", "conversations": turns("<image>\nWhat?", "A port.")},
        {"id": 4, "image": ["a.png", "b.png"], "conversations": turns("<image><image>\nWhat changed?", "Nothing.")},
        {"id": 5, "image": "c.png", "conversations": turns("<image>\nWhat?", "A port.")},
        {"id": 6, "conversations": turns("What is SAR?", "Radar.")},
        {"id": 7, "image": "a.png", "conversations": turns("<image>\n<image>\nWhat?", "A port.")},
        {"image": "a.png", "conversations": turns("<image>\nWhat?", "A port."), "licence": "CC0-1.0", "split": None},
    )
    assert [sample.id for sample in found] == ["3", "4", "6", "rows#6"]
    assert [sample.licence for sample in found][2:] == ["not stated: the user's own data", "CC0-1.0"]
    assert (found[0].split, regions(found[0], 1)) == ("val", [("unit", (0.1, 0.2, 0.3, 0.4), 0)])
    assert [len(sample.images) for sample in found] == [1, 2, 0, 1]
    assert found[0].scene_id == found[3].scene_id == "a"
    assert [where for where, _ in told] == [f"row {n} of rows.json" for n in (1, 3, 5)]
    assert ["twice" in told[0][1], "missing" in told[1][1], "show 2 pictures" in told[2][1]] == [True] * 3


def test_what_else_a_row_tells_can_be_written_again(read: Read, told: Told) -> None:
    row = {"image": "a.png", "conversations": turns("<image>\nWhat?", "A port.")}
    found = read("llava", {**row, "meta": {"sensor": "drone"}}, {**row, "meta": {"x": ["\ud800"]}}, {**row, "meta": 3})
    assert [sample.meta for sample in found] == [{"sensor": "drone"}]
    assert len(told) == 2


def test_a_broken_row_does_not_take_the_id_of_a_good_one(read: Read, told: Told) -> None:
    found = read(
        "llava",
        {"id": 1, "image": "a.png", "conversations": []},
        {"id": 1, "image": "a.png", "conversations": turns("<image>\nWhat?", "A port.")},
    )
    assert [sample.id for sample in found] == ["1"]
    assert len(told) == 1


def test_sharegpt(read: Read, told: Told, tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text('{"x": {}}')
    calls = [
        {"from": "human", "value": "<image>How high?"},
        {"from": "function_call", "value": '{"name": "measure"}'},
        {"from": "observation", "value": '{"m": 12}'},
        {"from": "gpt", "value": "12 m."},
    ]
    found = read(
        "sharegpt",
        {"conversations": calls, "images": ["b.png"], "system": "Be short.", "tools": '[{"name": "measure"}]'},
        {"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A port."}], "system": ""},
        {"conversations": [{"from": "someone", "value": "x"}]},
        {"conversations": turns("What?")},
    )
    assert [message.role for message in found[0].messages] == ["system", "user", "assistant", "user", "assistant"]
    assert found[0].meta["speakers"] == ["system", "human", "function_call", "observation", "gpt"]
    assert found[0].meta["tools"] == '[{"name": "measure"}]'
    assert (found[0].targets.answer, found[1].images) == ("12 m.", ())
    assert len(told) == 2


def swift(*texts: str, **more: Any) -> dict[str, Any]:
    said = [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(texts)]
    return {"messages": said, "images": ["a.png"], **more}


def test_ms_swift(read: Read, told: Told) -> None:
    things = {"ref": ["a ship", "a crane"], "bbox": [[3.5, 4, 8, 9], [1, 1, 2, 2]]}
    shares = {"ref": ["ship"], "bbox": [[0.1, 0.2, 0.3, 0.4]], "bbox_type": "norm1"}
    second = {"ref": [], "bbox": [[100, 200, 300, 400]], "bbox_type": "norm1000", "image_id": [1]}
    found = read(
        "ms_swift",
        swift("<image>Describe.", "<ref-object><bbox> and <ref-object><bbox> at sea.", objects=things),
        swift("<image>Find the <ref-object>.", "<bbox>", objects=shares),
        {**swift("<image><image>Which?", "<bbox>", objects=second), "images": ["a.png", "b.png"]},
        {"query": "What is SAR?", "response": "Radar.", "history": [["Hi", "Hello"]], "system": "Be short."},
        {"instruction": "Say it", "input": "twice", "output": "it it"},
        file="rows.jsonl",
    )
    assert found[0].targets.answer == "a ship and a crane at sea."
    assert regions(found[0], 1) == [("pixel", (3.5, 4, 8, 9), 0), ("pixel", (1, 1, 2, 2), 0)]
    assert found[1].messages[0].text == "Find the ship."
    assert regions(found[1], 1) == [("unit", (0.1, 0.2, 0.3, 0.4), 0)]
    assert (regions(found[2], 1), found[2].meta["box_images"]) == ([("per1000", (100, 200, 300, 400), 1)], [1])
    assert [message.role for message in found[3].messages] == ["system", *["user", "assistant"] * 2]
    assert (found[4].messages[0].text, found[4].targets.answer) == ("Say it\ntwice", "it it")
    assert told == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (swift("<image>?", "<bbox>", objects={"ref": [], "bbox": []}), "fewer boxes"),
        (swift("<image>?", "no", objects={"ref": [], "bbox": [[1, 2, 3, 4]]}), "more boxes"),
        (swift("<image>?", "<ref-object>"), "fewer phrases"),
        (swift("<image>?", "<bbox>", objects={"bbox": [[1, 2]]}), "4 numbers"),
        (swift("<image>?", "<bbox>", objects={"bbox": [[5, 2, 3, 4]]}), "x1 <= x2"),
        (swift("<image>?", "<bbox>", objects={"bbox": [[1, 2, 3, 4]], "bbox_type": "norm7"}), "'bbox_type'"),
        (swift("<image>?", "<bbox>", objects={"bbox": [[1, 2, 3, 4]], "image_id": [3]}), "a picture that is not there"),
        (swift("<image>?"), "roles out of order"),
        ({"query": "x"}, "'response'"),
    ],
)
def test_broken_rows_of_ms_swift(row: dict[str, Any], reason: str, read: Read, told: Told) -> None:
    assert read("ms_swift", row, file="rows.jsonl") == []
    assert told[0][0] == "line 1 of rows.jsonl"
    assert reason in told[0][1]


def test_folder_jsonl(read: Read, told: Told) -> None:
    found = read(
        "folder_jsonl",
        {"file_name": "a.png", "text": "A port.", "gsd_m": 0.5, "sensor": "drone", "date": None},
        {"image": "images/b.png", "captions": ["A port.", "Ships."], "label": "port", "licence": "CC0-1.0"},
        {"image": "b.png", "question": "How many?", "answer": 3, "choices": ["3", "4"], "task": "count"},
        {"images": ["a.png", "b.png"], "question": "What changed?", "answer": "Nothing."},
        {"image": "a.png"},
        {"caption": "A port."},
        {"image": "gone.png", "caption": "A port."},
        {"image": "a.png", "caption": "A port.", "gsd_m": "fine"},
        file="metadata.jsonl",
    )
    assert [sample.task for sample in found] == ["facts", "facts", "count", "vqa"]
    assert (found[0].images[0].gsd_m, found[0].images[0].sensor, found[0].messages) == (0.5, "drone", ())
    assert (found[1].targets.captions, found[1].targets.labels) == (("A port.", "Ships."), ("port",))
    assert (found[2].targets.answer, found[2].targets.choices) == ("3", ("3", "4"))
    assert [part.image for part in found[3].messages[0].content if part.type == "image"] == [0, 1]
    assert [where for where, _ in told] == [f"line {n} of metadata.jsonl" for n in (5, 6, 7, 8)]


def test_without_anyone_to_tell_the_first_broken_row_stops(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('[{"id": 1}]')
    with pytest.raises(DataError, match="row 0"):
        list(SOURCES.get("llava").read(tmp_path, SourceOptions()))


def test_files_are_found_whatever_the_case_of_their_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.PNG").touch()
    (tmp_path / "rows.JSONL").write_bytes(b'\xef\xbb\xbf{"image": "a.PNG", "caption": "A field."}\r\n')
    (tmp_path / "more.Json").write_text('[{"image": "a.PNG", "caption": "A wood."}]')
    captions = [row.targets.captions[0] for row in SOURCES.get("folder_jsonl").read(tmp_path, SourceOptions())]
    assert captions == ["A wood.", "A field."]
