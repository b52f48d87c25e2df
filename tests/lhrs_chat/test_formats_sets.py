"""The published layouts: what a strict reader refuses, a reader with `reject` leaves out and tells of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lhrs_chat.errors import DataError
from lhrs_chat.formats import captions, cdvqa, rsvg, rsvqa, voc_grounding
from lhrs_chat.models import saved_list

Told = list[tuple[str, str]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def reject(told: Told) -> Callable[[str, str], None]:
    return lambda where, reason: told.append((where, reason))


def write_rsvqa(folder: Path, prefix: str, rows: list[dict[str, Any]], answers: list[str], images: list[Any]) -> None:
    questions = [
        {"id": number, "active": True, "answers_ids": [100 + number], "img_id": 0, **row}
        for number, row in enumerate(rows)
    ]
    said = [{"id": 100 + number, "active": True, "answer": answer} for number, answer in enumerate(answers)]
    shown = [{"id": number, "active": True, **image} for number, image in enumerate(images)]
    for name, values in (("questions", questions), ("answers", said), ("images", shown)):
        (folder / f"{prefix}_{name}.json").write_text(json.dumps({name: values}))


def test_rsvqa_links_question_picture_and_answer(
    tmp_path: Path, told: Told, reject: Callable[[str, str], None]
) -> None:
    rows: list[dict[str, Any]] = [
        {"type": "presence", "question": "Is a road there?"},
        {"active": False},
        {"type": "count", "question": "How many?", "img_id": 7},
        {"type": "count", "question": "How many?", "answers_ids": [5]},
        {"type": "count", "question": "How many?", "id": 0},
        {"type": "area", "question": "How large?"},
    ]
    write_rsvqa(tmp_path, "LR", rows, ["yes", "-", "1", "2", "3", "350m2"], [{}])
    found = list(rsvqa.linked(tmp_path, "LR", reject))
    assert [(asked.number, asked.answer) for asked in found] == [("0", "yes"), ("5", "350m2")]
    assert [where for where, _ in told] == [f"row {place} of questions of LR_questions.json" for place in (2, 3, 4)]
    assert "no active image" in told[0][1]
    assert "answers_ids" in told[1][1]
    assert "twice" in told[2][1]
    with pytest.raises(DataError, match="no active image"):
        list(rsvqa.linked(tmp_path, "LR"))


@given(st.sampled_from(["presence", "comp", "rural_urban", "count", "area"]), st.text())
def test_an_answer_of_rsvqa_is_true_or_refused(kind: str, answer: str) -> None:
    try:
        targets = rsvqa.truth(kind, answer, "row 0")
    except DataError:
        return
    assert targets.choices == rsvqa.CLOSED.get(kind, ())
    assert bool(targets.numbers) == (kind in rsvqa.UNITS)


def test_cdvqa_knows_its_answers(tmp_path: Path, told: Told, reject: Callable[[str, str], None]) -> None:
    rows = [
        {"type": "change_ratio", "question": "How much?"},
        {"type": "change_or_not", "question": "Any?"},
        {"type": "poem", "question": "?"},
    ]
    write_rsvqa(tmp_path, "Val", rows, ["10_to_20", "trees", "yes"], [{"file_name": "00001.png"}])
    (asked,) = cdvqa.questions(tmp_path, "Val", reject)
    assert (asked.kind, asked.file, asked.answer) == ("change_ratio", "00001.png", "10_to_20")
    assert ["'answer'" in told[0][1], "'type'" in told[1][1]] == [True, True]


def test_captions_in_both_layouts(tmp_path: Path, told: Told, reject: Callable[[str, str], None]) -> None:
    path = tmp_path / "dataset.json"
    rows = [
        {"filename": "a.tif", "split": "train", "sentences": [{"raw": "A field ."}, {"raw": "A green field ."}]},
        {"filename": "b.tif", "split": "train", "sentences": [{"raw": " "}]},
        {"filename": "c.tif", "split": "test", "sentences": [{"raw": "A port ."}]},
        "d.tif",
    ]
    path.write_text(json.dumps({"images": rows, "dataset": "x"}))
    assert [found.file for found in captions.karpathy(path, None, reject)] == ["a.tif", "c.tif"]
    assert [where for where, _ in told] == ["row 1 of images of dataset.json", "row 3 of images of dataset.json"]
    assert [found.file for found in captions.karpathy(path, "test", reject)] == ["c.tif"]
    five = {field: f"sentence {field}" for field in captions.NWPU_SENTENCES}
    nwpu = {"harbor": [{"filename": "h1.jpg", "split": "val", **five}, 3], "lake": "none", "river": []}
    path.write_text(json.dumps(nwpu))
    told.clear()
    (found,) = captions.nwpu(path, None, reject)
    assert (found.file, found.label, len(found.sentences)) == ("harbor/h1.jpg", "harbor", 5)
    assert len(told) == 2
    with pytest.raises(DataError, match="harbor"):
        list(captions.nwpu(path))


XML = "<annotation><filename>{name}</filename>{objects}</annotation>"
OBJECT = (
    "<object><name>ship</name><bndbox><xmin>{x}</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    "<description>the ship {x}</description></object>"
)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    (tmp_path / "Annotations").mkdir()
    for name, xs in (("00001", ("1", "bad")), ("00002", ("3",))):
        text = XML.format(name=f"{name}.jpg", objects="".join(OBJECT.format(x=x) for x in xs))
        (tmp_path / "Annotations" / f"{name}.xml").write_text(text)
    (tmp_path / "train.txt").write_text("0\n1\n2\n")
    return tmp_path


def test_numbers_count_objects_that_are_broken(voc: Path, told: Told, reject: Callable[[str, str], None]) -> None:
    found = list(voc_grounding.referred(voc, "train", reject))
    assert [(one.number, one.file, one.box.xyxy[0]) for one in found] == [(0, "00001.jpg", 1), (2, "00002.jpg", 3)]
    assert found[0].box.label == "ship"
    assert told[0][0] == "object 1 of 00001.xml"


@pytest.mark.parametrize("content", ["<annotation>", "", "<a/>", "\ud800"])
def test_a_broken_file_stops_the_reading(voc: Path, reject: Callable[[str, str], None], content: str) -> None:
    (voc / "Annotations" / "00001.xml").write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(DataError, match=r"00001\.xml"):
        list(voc_grounding.referred(voc, "train", reject))


def test_rows_of_rsvg(tmp_path: Path, told: Told, reject: Callable[[str, str], None]) -> None:
    import torch

    rows = [("a.jpg", [1, 2, 3, 4], "the bridge"), ("b.jpg", [4, 2, 3, 4], "x"), 3, ("c.jpg", "abcd", "x")]
    torch.save(rows, tmp_path / "rsvg_train.pth")
    found = list(rsvg.referred(saved_list.load(tmp_path / "rsvg_train.pth"), "rsvg_train.pth", reject))
    assert [(one.number, one.expression) for one in found] == [(0, "the bridge")]
    assert [where for where, _ in told] == [f"row {place} of rsvg_train.pth" for place in (1, 2, 3)]


@given(st.recursive(st.none() | st.text() | st.floats() | st.integers(), st.lists, max_leaves=12))
def test_no_row_of_rsvg_raises(row: object) -> None:
    told: Told = []

    def rows() -> Iterator[object]:
        yield row

    list(rsvg.referred(rows(), "x.pth", lambda where, reason: told.append((where, reason))))
