"""Bad rows are refused and named with their place; none is left out in silence."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.benchmarks import BENCHMARKS, geoheight
from lhrs_chat.errors import DataError, MissingExtraError

Change = Callable[[Any], object]


def put(*keys: Any, value: Any) -> Change:
    """Set one value deep inside a JSON document."""

    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


def again(*keys: Any) -> Change:
    """Append the first row of a list once more."""

    def change(document: Any) -> None:
        for key in keys:
            document = document[key]
        document.append(document[0])

    return change


VRS_REF, VRS_VQA = "VRSBench_EVAL_referring.json", "VRSBench_EVAL_vqa.json"
CASES: list[tuple[str, str, Change, str]] = [
    ("earthmind_bench", "json/ms_scene_classification_qa.json", put(0, "answer", value="x"), "row 0 of ms_.*'answer'"),
    ("earthmind_bench", "json/ms_scene_classification_qa.json", put(0, "file_name", value="8"), "bands are missing"),
    ("lhrs_bench", "qa.json", put("data", 0, "qa_pairs", 1, "answer", value="E"), "row 1 of qa_pairs.*'answer'"),
    ("lhrs_bench", "qa.json", put("data", 0, "qa_pairs", 0, "choices", value="A. x C. y"), "'choices'"),
    ("lhrs_bench", "qa.json", put("data", 0, "qa_pairs", 0, "type", value=[12]), "'type'"),
    ("lhrs_bench", "qa.json", put("data", 0, "qa_pairs", 0, "question", value=" "), "'question'"),
    ("lhrs_bench", "qa.json", again("data"), "two questions have one id"),
    ("rsvqa_lr", "LR_split_test_answers.json", put("answers", 0, "answer", value="maybe"), "'answer'"),
    ("rsvqa_lr", "LR_split_test_answers.json", put("answers", 3, "answer", value="some"), "'answer'"),
    ("rsvqa_lr", "LR_split_test_answers.json", put("answers", 0, "active", value=False), "'answers_ids'"),
    ("rsvqa_lr", "LR_split_test_questions.json", again("questions"), "twice"),
    ("rsvqa_lr", "LR_split_test_questions.json", put("questions", 0, "img_id", value=5), "row 0.*no active image"),
    ("rsvqa_hr", "USGS_split_test_questions.json", put("questions", 2, "type", value="colour"), "row 2.*'type'"),
    ("vrsbench", VRS_REF, put(0, "ground_truth", value="{<40><45>}"), "row 0 of VRSBench_EVAL_ref.*'ground_truth'"),
    ("vrsbench", VRS_REF, put(1, "unique", value="maybe"), "'unique'"),
    ("vrsbench", VRS_VQA, put(3, "type", value="riddle"), "row 3 of VRSBench_EVAL_vqa.*'type'"),
    ("vrsbench", VRS_VQA, put(3, "ground_truth", value="!"), "'ground_truth'"),
    ("vrsbench", VRS_VQA, again(), "two questions have one id"),
    ("rsicd", "dataset_rsicd.json", put("images", 1, "sentences", value=[]), "row 1.*'sentences'"),
    ("rsicd", "dataset_rsicd.json", put("images", 1, "split", value="holdout"), "'split'"),
    ("ucm_captions", "dataset.json", again("images"), "two questions have one id"),
    ("nwpu_captions", "dataset_nwpu.json", put("harbor", 0, "raw_4", value=""), "row 0 of harbor.*'raw_4'"),
    ("scene_classification", "METER-ML/test.geojson", put("features", 0, "properties", "Type", value="Cow"), "'Type'"),
    ("cdvqa", "Val_answers.json", put("answers", 0, "answer", value="30_to_40"), "'answer'"),
    ("cdvqa", "Val_questions.json", put("questions", 1, "type", value="colour"), "row 1.*'type'"),
    (
        "earthmind_bench",
        "json/object_counting_all_unmatched.json",
        put(0, "answer", value="B"),
        "row 0 of object_counting.*'answer'",
    ),
    ("earthvqa", "Val_QA.json", put("2523.png", 0, "Type", value="Riddle"), "row 0 of 2523.png.*'Type'"),
    ("floodnet_vqa", "Questions/Training Question.json", put("0", "Ground_Truth", value="wet"), "'Ground_Truth'"),
    ("floodnet_vqa", "Questions/Training Question.json", lambda rows: rows["0"].pop("Ground_Truth"), "nothing"),
    ("reobench", VRS_VQA, put(0, "image_id", value="none.png"), "none.png is missing"),
]


@pytest.mark.parametrize(("name", "file", "change", "message"), CASES)
def test_a_bad_row_is_named(
    name: str, file: str, change: Change, message: str, fixture_of: Callable[[str], Path]
) -> None:
    folder = fixture_of(name)
    document = json.loads((folder / file).read_text())
    change(document)
    (folder / file).write_text(json.dumps(document))
    with pytest.raises(DataError) as error:
        BENCHMARKS.get(name).load(folder)
    assert re.search(message, str(error.value), re.DOTALL), error.value


ROWS: list[tuple[str, str, dict[str, Any], str]] = [
    ("geoheight", "neutral.jsonl", {"level": "sky"}, "line 1 of neutral.jsonl.*'level'"),
    ("geoheight", "neutral.jsonl", {"answer": {"type": "poem", "value": "x"}}, "'type'"),
    ("geoheight", "neutral.jsonl", {"answer": {"type": "number", "value": "high", "unit": "m"}}, "'value'"),
    ("geoheight", "neutral.jsonl", {"answer": {"type": "number", "value": 3, "unit": "furlong"}}, "'unit'"),
    ("geoheight", "neutral.jsonl", {"tolerance": 3}, "tolerance is no object"),
    (
        "geoheight",
        "neutral.jsonl",
        {"answer": {"type": "mask", "mask_rle": {"size": [4, 4], "counts": [16]}}},
        "another size",
    ),
    (
        "geoheight",
        "neutral.jsonl",
        {"answer": {"type": "mask", "mask_rle": {"size": [4, 4], "counts": [1]}}},
        "do not fill",
    ),
    (
        "geoheight",
        "neutral.jsonl",
        {"options": ["A", "B"], "answer": {"type": "ranking", "order": ["A", "A"]}},
        "'order'",
    ),
    ("geoheight", "neutral.jsonl", {"licence": ""}, "'licence'"),
    ("geochat_bench", "aid.jsonl", {"question_id": "Castle/castle_1.jpg"}, "line 1 of aid.jsonl.*'question_id'"),
    ("geochat_bench", "lrben.jsonl", {"question_id": 99}, "line 1 of lrben.jsonl.*no answer"),
    ("geochat_bench", "hrben.jsonl", {"category": "area"}, "'category'"),
    ("geochat_bench", "aid.jsonl", {"text": "What is it?"}, "'text'"),
    ("geochat_bench", "referring.jsonl", {"ground_truth": "<1><2>"}, "line 1 of referring.jsonl.*'ground_truth'"),
    ("geochat_bench", "referring.jsonl", {"ground_truth": [[[1, 2], [3]]]}, "'ground_truth'"),
    ("geochat_bench", "referring.jsonl", {"ground_truth": [[[1, "x"]]]}, "'ground_truth'"),
    ("geochat_bench", "referring.jsonl", {"size_group": "huge"}, "'size_group'"),
    ("geochat_bench", "referring.jsonl", {"type": "region"}, "'type'"),
    ("geochat_bench", "region_captioning.jsonl", {"ground_truth": ""}, "'ground_truth'"),
]


@pytest.mark.parametrize(("name", "file", "change", "message"), ROWS)
def test_a_bad_line_is_named(
    name: str, file: str, change: dict[str, Any], message: str, fixture_of: Callable[[str], Path]
) -> None:
    folder = fixture_of(name)
    first, *rest = (folder / file).read_text().splitlines()
    (folder / file).write_text("\n".join([json.dumps({**json.loads(first), **change}), *rest]))
    with pytest.raises(DataError) as error:
        BENCHMARKS.get(name).load(folder)
    assert re.search(message, str(error.value), re.DOTALL), error.value


@pytest.mark.parametrize("name", ["geoheight", "nano_probe"])
def test_a_line_that_stands_there_twice_is_refused(name: str, fixture_of: Callable[[str], Path]) -> None:
    folder = fixture_of(name)
    path = next(folder.glob("*.jsonl"))
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="two questions have one id"):
        BENCHMARKS.get(name).load(folder)


@pytest.mark.parametrize(
    ("lines", "message"),
    [("1\n1\n", "two questions"), ("1\nx\n", "line 2 of test.txt"), ("1\n9\n", "no XML file holds")],
)
def test_numbers_of_objects_are_checked(lines: str, message: str, fixture_of: Callable[[str], Path]) -> None:
    folder = fixture_of("dior_rsvg")
    (folder / "test.txt").write_text(lines)
    with pytest.raises(DataError, match=message):
        BENCHMARKS.get("dior_rsvg").load(folder)


@pytest.mark.parametrize(
    ("before", "after"),
    [("<xmin>10</xmin>", "<xmin>20</xmin>"), ("<xmin>10</xmin>", ""), ("The ship on the right", " ")],
)
def test_a_bad_object_is_named(before: str, after: str, fixture_of: Callable[[str], Path]) -> None:
    folder = fixture_of("dior_rsvg")
    path = folder / "Annotations" / "00001.xml"
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(DataError, match=r"object 1 of 00001\.xml: bad field"):
        BENCHMARKS.get("dior_rsvg").load(folder)


@pytest.mark.parametrize(
    "row", [("1.jpg",), ("1.jpg", [1, 2, 3], "x"), ("1.jpg", [9, 2, 3, 4], "x"), (1, [0, 0, 1, 1], "x")]
)
def test_a_bad_row_of_rsvg_is_named(row: Any, fixture_of: Callable[[str], Path]) -> None:
    import torch

    folder = fixture_of("rsvg")
    torch.save([("1.jpg", [0, 0, 1, 1], "x"), row], folder / "rsvg_test.pth")
    with pytest.raises(DataError, match=r"row 1 of rsvg_test\.pth"):
        BENCHMARKS.get("rsvg").load(folder)


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        ("terrascope_bench", "data/TerraScope_bench.parquet", {"answer": "E"}, "row 0 of TerraScope.*'answer'"),
        ("terrascope_bench", "data/TerraScope_bench.parquet", {"candidates": "[1]"}, "'candidates'"),
        ("terrascope_bench", "data/TerraScope_bench.parquet", {"image": {"bytes": b"", "path": "x"}}, "'image'"),
        (
            "terrascope_bench",
            "data/TerraScope_bench.parquet",
            {"mask": '{"size": [4, 4], "counts": [16]}'},
            "another size",
        ),
        ("xlrs_lite", "data/test-00000-of-00001.parquet", {"answer": "Z"}, "row 0 of test.*'answer'"),
        ("xlrs_lite", "data/test-00000-of-00001.parquet", {"category": "Poems/Odes"}, "'category'"),
    ],
)
def test_a_bad_row_of_a_table_is_named(
    name: str, file: str, change: dict[str, Any], message: str, fixture_of: Callable[[str], Path]
) -> None:
    import pyarrow
    from pyarrow import parquet

    path = fixture_of(name) / file
    rows = parquet.read_table(path).to_pylist()
    rows[0] |= change
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(DataError) as error:
        BENCHMARKS.get(name).load(path.parent.parent)
    assert re.search(message, str(error.value), re.DOTALL), error.value


@pytest.mark.parametrize(
    "choices",
    ["A. 1 B. 12 C. 3 D. 40", "A. 1\nB. 12\nC. 3\nD. 40", "A. 1; B. 12; C. 3; D. 40", "(A) 1, (B) 12, (C) 3, (D) 40"],
)
def test_choices_of_lhrs_bench_may_be_parted_in_several_ways(choices: str, fixture_of: Callable[[str], Path]) -> None:
    folder = fixture_of("lhrs_bench")
    document = json.loads((folder / "qa.json").read_text())
    document["data"][0]["qa_pairs"][1]["choices"] = choices
    (folder / "qa.json").write_text(json.dumps(document))
    targets = BENCHMARKS.get("lhrs_bench").load(folder)[1].targets
    assert targets.choices == ("A. 1", "B. 12", "C. 3", "D. 40") and targets.answer == "B. 12"


def test_without_pyarrow_it_says_what_to_install(
    fixture_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"lhrs_chat\[eval\]"):
        BENCHMARKS.get("xlrs_lite").load(fixture_of("xlrs_lite"))


def test_an_altered_set_of_classes_is_called_so() -> None:
    folder = Path(__file__).parents[2] / "data" / "benchmarks" / "scene_classification"
    subsets = {question.subset for question in BENCHMARKS.get("scene_classification").load(folder)}
    assert "AID (altered: 3 of 30 classes)" in subsets and "METER-ML (altered: 2 of 7 classes)" in subsets


def test_only_colour_pictures_of_fmow_count() -> None:
    folder = Path(__file__).parents[2] / "data" / "benchmarks" / "scene_classification"
    files = [q.images[0].name for q in BENCHMARKS.get("scene_classification").load(folder) if "fMoW" in q.subset]
    assert files == ["airport_0_0_rgb.jpg", "dam_0_0_rgb.jpg"]


@pytest.mark.parametrize(
    ("folder", "name"),
    [("BareLand", "bare land"), ("dense_residential", "dense residential"), ("denseresidential", "dense residential")],
)
def test_class_names_are_made_plain(folder: str, name: str) -> None:
    from eval.benchmarks.scene_classification import plain_name

    assert plain_name(folder) == name


def test_without_a_folder_a_suite_with_exact_heights_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LHRS_CHAT_BENCHMARKS", raising=False)
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path))
    monkeypatch.setattr(geoheight, "SCENES", 2)
    folder = geoheight.find(None)
    first = (folder / "neutral.jsonl").read_bytes()
    assert geoheight.find(None) == folder and (folder / "neutral.jsonl").read_bytes() == first
    questions = geoheight.load(folder)
    assert len(questions) == 2 * 8 * 3


def test_heights_are_taken_away_and_exchanged() -> None:
    folder = Path(__file__).parents[2] / "data" / "benchmarks" / "geoheight"
    by_id = {question.id: question for question in geoheight.load(folder)}
    real, none, other = (by_id[f"000-0{end}"] for end in ("", "@none", "@other"))
    assert (real.subset, none.subset, other.subset) == ("real height", "no height", "shuffled height")
    assert none.images == real.images[:1] and "grey level" in real.text and "grey level" not in none.text
    assert other.images[0] == real.images[0] and other.images[1] != real.images[1] and other.text == real.text
    assert real.targets == none.targets == other.targets
