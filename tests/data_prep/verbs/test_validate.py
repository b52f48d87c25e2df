from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from data_prep.__main__ import main
from data_prep.validation import KINDS, Report, validate
from lhrs_chat import samples
from lhrs_chat.schema import Box, Image, Mask, Message, Number, Sample, Targets


@pytest.fixture
def good(tmp_path: Path) -> Sample:
    """A row of a picture of 60 x 40 pixels without any fault."""
    PIL.Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.png")
    messages = (Message.of("user", "Where is the ship?", (0,)), Message.of("assistant", "At the quay."))
    targets = Targets("At the quay.", boxes=(Box((1, 2, 59, 39), "pixel", "ship"),))
    image = Image(path=str(tmp_path / "a.png"), size_px=(60, 40))
    return Sample("good", (image,), "grounding", "s", "CC0-1.0", "scene", messages, targets)


def kinds(folder: Path, *rows: Sample, decode: bool = False) -> dict[str, tuple[int, list[str]]]:
    samples.write(folder / "rows.jsonl", rows)
    return {each.kind: (each.count, each.examples) for each in validate(folder / "rows.jsonl", decode=decode).findings}


def with_boxes(row: Sample, *boxes: Box) -> Sample:
    return replace(row, targets=replace(row.targets, boxes=boxes))


def with_masks(row: Sample, *masks: Mask) -> Sample:
    return replace(row, targets=replace(row.targets, masks=masks))


def faults(good: Sample, folder: Path) -> dict[str, Sample]:
    user, assistant = good.messages
    (folder / "page.png").write_text("<!DOCTYPE html><html></html>")
    facts = replace(good, task="facts", messages=())
    square = Mask.from_array(np.ones((60, 60), bool))
    ship = Targets("Ships.", numbers=(Number(0, "", "computed", "ship"),))
    return {
        "licence": replace(good, licence=" "),
        "origin": replace(good, scene_id=""),
        "split": replace(good, split="dev"),
        "image": replace(good, images=(Image(path=str(folder / "page.png"), size_px=(60, 40)),)),
        "roles": replace(good, meta={"image_roles": ["optical", "sar"]}),
        "shown": replace(good, messages=(Message.of("user", "Where?"), assistant)),
        "turns": replace(good, messages=(user, assistant, assistant)),
        "kind": replace(facts, task="vqa"),
        "outside": with_boxes(good, Box((50, 10, 66, 20), "pixel")),
        "frame": with_boxes(good, Box((300, 100, 900, 800), "pixel")),
        "mask": with_masks(good, square),
        "index": replace(good, meta={"box_images": [1]}),
        "absent": replace(
            good,
            messages=(user, Message.of("assistant", "Ships.")),
            targets=ship,
            meta={"complete": ["ship"]},
        ),
        "answer": replace(good, targets=replace(good.targets, answer="Elsewhere.")),
        "choices": replace(good, targets=replace(good.targets, choices=("left", "right"))),
        "edge": with_boxes(good, Box.oriented(((-4, 5), (9, 1), (12, 9), (2, 12)), "pixel")),
    }


def test_a_good_row_has_no_finding(good: Sample, tmp_path: Path) -> None:
    assert kinds(tmp_path, good) == {}


def test_each_fault_is_found_alone(good: Sample, tmp_path: Path) -> None:
    made = faults(good, tmp_path)
    assert set(made) == set(KINDS) - {"row", "id", "scale"}
    for kind, row in made.items():
        assert {name: count for name, (count, _) in kinds(tmp_path, row).items()} == {kind: 1}, kind


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (Box((1, 2, 60.9, 40), "pixel"), None),
        (Box((0.1, 0.2, 0.5, 0.9), "pixel"), "frame"),
        (Box((0.1, 0.2, 0.5, 0.9), "unit"), None),
        (Box((10, 20, 50, 90), "unit"), "frame"),
        (Box((10, 20, 50, 90), "per100"), None),
        (Box((10, 20, 500, 900), "per100"), "frame"),
        (Box((10, 20, 500, 900), "per1000"), None),
        (Box((10, 20, 500, 1900), "per1000"), "outside"),
        (Box((-9, 20, 50, 30), "pixel"), "outside"),
        (Box((1, 2, 3, 4), "model"), "frame"),
        (Box((1, 2, 3, 4), "map"), "frame"),
    ],
)
def test_frames_of_boxes(good: Sample, tmp_path: Path, box: Box, kind: str | None) -> None:
    assert list(kinds(tmp_path, with_boxes(good, box))) == ([kind] if kind else [])


def test_regions_in_the_text_are_judged_too(good: Sample, tmp_path: Path) -> None:
    from lhrs_chat.schema import Part

    user, assistant = good.messages
    region = Part("region", region=Box((10, 20, 500, 900), "per100"))
    row = replace(good, messages=(replace(user, content=(*user.content, region)), assistant))
    assert "it looks like per1000" in kinds(tmp_path, row)["frame"][1][0]


def test_a_source_whose_boxes_are_of_another_frame(good: Sample, tmp_path: Path) -> None:
    PIL.Image.fromarray(np.zeros((400, 600, 3), np.uint8)).save(tmp_path / "a.png")
    image = replace(good.images[0], size_px=(600, 400))
    boxes = [Box((n, n, n + 40, n + 40), "pixel") for n in range(60)]
    rows = [replace(with_boxes(good, box), id=str(n), images=(image,)) for n, box in enumerate(boxes)]
    assert kinds(tmp_path, *rows)["scale"] == (60, ["source s: no value above 99, like per100"])
    assert kinds(tmp_path, *rows[:40]) == {}
    assert kinds(tmp_path, *rows, replace(with_boxes(good, Box((1, 1, 300, 300), "pixel")), images=(image,))) == {}


def test_broken_rows_and_duplicate_ids(good: Sample, tmp_path: Path) -> None:
    samples.write(tmp_path / "rows.jsonl", [good, good, good])
    with (tmp_path / "rows.jsonl").open("a") as stream:
        stream.write('{"id": "x"}\n{"id": "half\n')
    report = validate(tmp_path / "rows.jsonl", decode=False)
    assert {each.kind: each.count for each in report.findings} == {"row": 2, "id": 2}
    assert report.rows == 5 and report.errors == 2
    assert report.findings[0].examples[0].startswith("line 4 of ")


def test_a_cut_file_is_found_when_decoded(good: Sample, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / "a.tif")
    data = (tmp_path / "a.tif").read_bytes()
    middle = len(data) // 2
    (tmp_path / "a.tif").write_bytes(data[:middle])
    row = replace(good, images=(Image(path=str(tmp_path / "a.tif"), size_px=(60, 40)),))
    assert "image" in kinds(tmp_path, row, decode=True)


def test_the_command(good: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unshown = replace(good, messages=(Message.of("user", "Where?"), good.messages[1]))
    rows = [replace(unshown, id=str(n)) for n in range(12)]
    samples.write(tmp_path / "rows.jsonl", [good, *rows, replace(faults(good, tmp_path)["answer"], id="w")])
    assert main(["validate", str(tmp_path / "rows.jsonl")]) == 2
    printed = capsys.readouterr().out
    assert "error   12 rows never show their image\n" in printed
    assert "warning 1 row ends with another answer" in printed
    assert printed.endswith("rows: 14; not fit to train on before the errors are mended\n")
    assert main(["validate", str(tmp_path / "rows.jsonl"), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["errors"] == 1 and found["findings"][0]["count"] == 12
    samples.write(tmp_path / "rows.jsonl", [good])
    assert main(["validate", str(tmp_path / "rows.jsonl")]) == 0
    assert capsys.readouterr().out == "rows: 1; fit to train on\n"
    assert Report(0, []).errors == 0
