"""The folder of real data sets, in miniature: the published layout with pictures of a few pixels."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image as PilImage
from rasterio.transform import from_origin

from data_prep.builders.nano import build
from data_prep.sources import SOURCES, SourceOptions, _aid_words, _chips
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Georef, Sample

PLANES = [
    "many planes are parked near a building .",
    "many planes are parked near a building .",
    "an airport like a bee .",
]
DUNES = ["a piece of yellow desert .", "there is no plant in the desert .", "a train crosses the desert ."]


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_picture(path: Path, width: int, height: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    PilImage.fromarray(pixels).save(path)


def write_raster(path: Path, values: np.ndarray, crs: str = "EPSG:32630") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    step = 10.0 if crs != "EPSG:4326" else 0.0001
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[1],
        width=values.shape[2],
        count=values.shape[0],
        dtype=values.dtype,
        crs=crs,
        transform=from_origin(500_000 if step > 1 else -0.78, 4_200_000 if step > 1 else 38.1, step, step),
    ) as out:
        out.write(values)


def read(name: str, root: Path, **options: Any) -> list[Sample]:
    return list(SOURCES.get(name).read(root, SourceOptions(**options)))


@pytest.fixture
def aid(tmp_path: Path) -> Path:
    folder = tmp_path / "aid_rsicd"
    rows = []
    for number in range(24):
        label, captions = (("airport", PLANES), ("desert", DUNES))[number % 2]
        file = f"images/{label.replace(' ', '')}_{number}.jpg"
        split = ("train", "val", "test")[number % 3]
        rows.append({"id": f"aid_{number}", "file": file, "split": split, "label": label, "captions": captions})
        rows[-1]["size"] = [20, 20]
        write_picture(folder / file, 20, 20, number)
    write_rows(folder, rows)
    return folder


def test_aid_keeps_splits_classes_and_distinct_clean_captions(aid: Path) -> None:
    rows = read("aid_rsicd", aid)
    assert Counter(row.split for row in rows) == {"train": 8, "val": 8, "test": 8}
    airport = next(row for row in rows if row.targets.labels == ("airport",))
    assert airport.targets.captions == ("Many planes are parked near a building.", "An airport like a bee.")
    assert airport.task == "facts" and not airport.messages and "research" in airport.licence
    assert Path(str(airport.images[0].path)).is_file()
    assert all(row.split == "val" for row in read("aid_rsicd", aid, split="val"))
    assert len(read("aid_rsicd", aid, count=5)) == 5 and read("aid_rsicd", aid, count=0) == []


def test_aid_order_is_drawn_from_the_seed(aid: Path) -> None:
    first, again, other = ([row.id for row in read("aid_rsicd", aid, seed=seed)] for seed in (3, 3, 4))
    assert first == again != other and sorted(first) == sorted(other)


def test_things_of_captions_are_present_and_ruled_out_things_absent() -> None:
    assert _aid_words.present("airport", PLANES) == ["airplane", "building"]
    assert "airplane" not in _aid_words.present("mountain", ["a plane flies over a mountain ."])
    assert {"airplane", "tree", "ship"} <= set(_aid_words.absent("desert", DUNES))
    assert "train" not in _aid_words.absent("desert", DUNES), "named in a caption"
    assert "tree" not in _aid_words.present("desert", ["there is no tree in the desert ."])
    assert "tree" not in _aid_words.absent("desert", ["there is no tree in the desert ."])
    assert _aid_words.named(["some residential plants"], plain_only=True) == set(), "words are matched whole"


def test_no_class_rules_out_what_it_holds_and_all_things_have_words() -> None:
    for label, things in _aid_words.RULED_OUT.items():
        assert not set(things) & set(_aid_words.CLASS_HOLDS.get(label, ())), label
        assert set(things) <= set(_aid_words.FORMS), label
    assert len(_aid_words.RULED_OUT) == 30


def test_balanced_tells_things_both_ways_alike() -> None:
    pictures = [(["tree"], ["airplane", "ship"])] * 300 + [(["airplane"], ["tree"])] * 100
    random.Random(0).shuffle(pictures)
    kept = _aid_words.balanced(pictures, seed=0)
    yes, no = Counter(t for there, _ in kept for t in there), Counter(t for _, gone in kept for t in gone)
    assert no["ship"] == 0, "never present, so the word alone would be the answer"
    for thing in ("airplane", "tree"):
        assert 0.6 < yes[thing] / no[thing] < 1.6, (thing, yes, no)
    assert kept == _aid_words.balanced(pictures, seed=0)


def test_captions_that_deny_ask_or_stammer_are_left_out() -> None:
    texts = ["what is not a piece of bare land .", "bareland .", "a  termial near the the  bareland , here ."]
    assert _aid_words.clean_captions(texts) == ("A terminal near the bare land, here.",)


def test_rsscn7(tmp_path: Path) -> None:
    folder = tmp_path / "rsscn7"
    row = {"id": "rsscn7_a", "file": "images/a.jpg", "split": "train", "label": "parking", "scale_level": 2}
    write_rows(folder, [{**row, "size": [40, 40]}, {**row, "id": "b", "label": "forest", "size": [40, 40]}])
    rows = {sample.targets.labels[0]: sample for sample in read("rsscn7", folder)}
    assert rows["parking"].meta["present"] == ["parking lot"] == rows["forest"].meta["complete"]


@pytest.fixture
def vehicles(tmp_path: Path) -> Path:
    folder = tmp_path / "vehicles_aerial"
    rows = []
    for number, split in enumerate(("train", "train", "test")):
        file = f"images/f{number}.jpg"
        write_picture(folder / file, 400, 300, number)
        boxes = [{"label": "car", "xyxy": [40 * k, 30 * k, 40 * k + 24, 30 * k + 12]} for k in range(1, 9)]
        boxes.append({"label": "bus", "xyxy": [300, 20, 360, 36]})
        row = {"id": f"v{number}", "file": file, "split": split, "scene": f"street_{split}", "licence": "CC BY 3.0"}
        rows.append({**row, "size": [400, 300], "boxes": boxes})
    write_rows(folder, rows)
    return folder


def test_vehicle_chips_hold_whole_boxes_that_are_counted(vehicles: Path) -> None:
    chips = read("vehicles_aerial", vehicles, size_px=96)
    assert len(chips) >= 6 and len({chip.id for chip in chips}) == len(chips)
    for chip in chips:
        image = chip.images[0].array
        assert image is not None and image.shape == (3, 96, 96) and image.dtype == np.uint8
        counted = {n.label: n.value for n in chip.targets.numbers}
        assert counted == {**dict.fromkeys(counted, 0), **Counter(box.label for box in chip.targets.boxes)}
        assert all(0 <= box.xyxy[0] < box.xyxy[2] <= 96 and box.xyxy[1] >= 0 for box in chip.targets.boxes)
        assert chip.scene_id == f"street_{chip.split}" and chip.licence == "CC BY 3.0"
    assert {chip.split for chip in read("vehicles_aerial", vehicles, split="test")} == {"test"}
    assert [chip.id for chip in chips] == [chip.id for chip in read("vehicles_aerial", vehicles, size_px=96)]


def test_a_chip_box_lies_where_the_frame_box_lies() -> None:
    boxes = [Box((110, 60, 130, 80), "pixel", "car"), Box((190, 90, 230, 100), "pixel", "car")]
    kept, unclear = _chips.boxes_in(boxes, (100, 50, 200, 150), 50)
    assert [box.xyxy for box in kept] == [(5, 5, 15, 15)] and unclear == 1, "the second is a quarter inside"
    assert _chips.boxes_in(boxes, (0, 0, 100, 100), 50) == ((), 0)


def test_neon_trees_are_test_only_and_carry_the_georeference(tmp_path: Path) -> None:
    folder = tmp_path / "neon_trees"
    values = np.random.default_rng(0).integers(0, 255, (3, 120, 120), dtype=np.uint8)
    write_raster(folder / "images" / "a.tif", values)
    boxes = [{"label": "dead tree", "xyxy": [50, 50, 70, 70]}]
    write_rows(folder, [{"id": "neon_a", "file": "images/a.tif", "split": "test", "size": [120, 120], "boxes": boxes}])
    chips = read("neon_trees", folder, size_px=64)
    assert chips and {chip.split for chip in chips} == {"test"}
    assert all({box.label for box in chip.targets.boxes} == {"tree"} for chip in chips)
    georef = chips[0].images[0].georef
    x0, y0, x1, _ = chips[0].meta["window"]
    scale = (x1 - x0) / 64
    assert georef == Georef("EPSG:32630", (10 * scale, 0, 500_000 + 10 * x0, 0, -10 * scale, 4_200_000 - 10 * y0))
    assert chips[0].footprint is not None and chips[0].footprint[0] == pytest.approx(-3, abs=0.1)
    assert read("neon_trees", folder, split="train") == []


def spacenet(folder: Path) -> Path:
    mask = np.zeros((1, 260, 600), dtype=np.uint8)
    mask[0, 100:130, 80:120] = 1
    write_raster(folder / "pan.tif", np.arange(260 * 600, dtype=np.uint16).reshape(1, 260, 600) % 997)
    write_raster(folder / "mask.tif", mask)
    row = {"id": "sn_town", "file": "pan.tif", "mask": "mask.tif", "mask_values": {"0": "background", "1": "building"}}
    boxes = [{"label": "building", "xyxy": [80, 100, 120, 130]}]
    write_rows(folder, [{**row, "boxes": boxes}, {"id": "sn_roads", "file": "pan.tif", "mask": "mask.tif"}])
    return folder


def test_spacenet_west_trains_and_east_tests(tmp_path: Path) -> None:
    chips = read("spacenet_samples", spacenet(tmp_path / "spacenet_samples"), size_px=110)
    assert {chip.scene_id for chip in chips} == {"sn_town/train", "sn_town/test"}
    ends = [chip.meta["window"][2] for chip in chips if chip.split == "train"]
    starts = [chip.meta["window"][0] for chip in chips if chip.split == "test"]
    assert max(ends) + 59 <= min(starts)
    shown = next(chip for chip in chips if chip.targets.boxes)
    numbers = {n.unit: n for n in shown.targets.numbers}
    assert numbers[""].value == 1 and numbers["%"].value == round(100 * 30 * 40 / 220**2, 1)
    assert shown.targets.masks[0].to_array().mean() == pytest.approx(numbers["%"].value / 100, abs=0.005)
    assert all(chip.meta["present"] == [] for chip in chips if not chip.targets.boxes)


BANDS = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12"]


def flood(folder: Path, bands: list[str]) -> Path:
    size = 400
    water = np.zeros((1, size, size), dtype=np.int16)
    water[0, :60, :] = 1
    water[0, -10:, :] = -1
    rng = np.random.default_rng(0)
    write_raster(folder / "w.tif", water, "EPSG:4326")
    write_raster(folder / "s2.tif", rng.integers(200, 3000, (len(bands), size, size)).astype(np.int16), "EPSG:4326")
    write_raster(folder / "s1.tif", rng.normal(-12, 3, (2, size, size)).astype(np.float32), "EPSG:4326")
    row: dict[str, Any] = {"id": "s1f11_a", "files": {"sar": "s1.tif", "optical": "s2.tif"}, "mask": "w.tif"}
    row |= {"bands": {"sar": ["VV", "VH"], "optical": bands}, "dates": {"sar": "2019-09-17", "optical": "2019-09-18"}}
    write_rows(folder, [row])
    return folder


def test_flood_shares_come_from_the_mask(tmp_path: Path) -> None:
    chips = read("sen1floods11_sample", flood(tmp_path / "sen1floods11_sample", BANDS), size_px=64)
    assert {chip.images[0].sensor for chip in chips} == {"Sentinel-1", "Sentinel-2"}
    assert {chip.images[0].bands for chip in chips} == {("B4", "B3", "B2"), ("B12", "B8", "B4"), ("VV", "VH", "VV/VH")}
    top = next(chip for chip in chips if chip.meta["window"][1] == 0)
    assert top.targets.numbers[0].value == round(100 * 60 / 128, 1)
    assert top.targets.masks[0].to_array()[:29].all() and not top.targets.masks[0].to_array()[31:].any()
    assert all(chip.meta["window"][3] <= 393 for chip in chips), "rows without a label are left out"
    assert top.images[0].gsd_m == pytest.approx(11.1 * 2, abs=0.2)


def test_flood_without_the_bands_is_an_error(tmp_path: Path) -> None:
    folder = flood(tmp_path / "sen1floods11_sample", BANDS[:8])
    with pytest.raises(DataError, match="lacks bands"):
        read("sen1floods11_sample", folder)


def test_shared_sets_mixes_what_is_there(aid: Path, vehicles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = read("shared_sets", aid.parent, size_px=96)
    assert [row.source for row in mixed[:4]] == ["aid_rsicd", "vehicles_aerial"] * 2
    assert len({row.id for row in mixed}) == len(mixed)
    splits: dict[str, set[str]] = {}
    for row in mixed:
        splits.setdefault(row.scene_id, set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values()), "no scene is in two splits"
    monkeypatch.setenv("LHRS_CHAT_SHARED_DATA", str(aid.parent))
    source = SOURCES.get("shared_sets")
    assert [row.id for row in source.read(None, SourceOptions(count=3))] == [row.id for row in mixed[:3]]


def test_questions_can_be_made_of_the_rows(aid: Path, vehicles: Path) -> None:
    rng = np.random.default_rng(0)
    asked = Counter(q.task for row in read("shared_sets", aid.parent, size_px=96) for q in build(row, rng))
    assert {"caption", "scene_class", "count", "presence"} <= set(asked)


def test_a_missing_folder_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LHRS_CHAT_SHARED_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="set LHRS_CHAT_SHARED_DATA"):
        list(SOURCES.get("shared_sets").read(None, SourceOptions()))
    for name in ("aid_rsicd", "rsscn7", "vehicles_aerial", "neon_trees", "spacenet_samples", "sen1floods11_sample"):
        with pytest.raises(DataError, match="needs the folder"):
            list(SOURCES.get(name).read(None, SourceOptions()))
        with pytest.raises(DataError, match="no annotations"):
            list(SOURCES.get(name).read(tmp_path, SourceOptions()))


def test_broken_rows_and_pictures_are_named(aid: Path, vehicles: Path) -> None:
    (vehicles / "images" / "f0.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"f0\.jpg"):
        read("vehicles_aerial", vehicles)
    lines = (aid / "annotations.jsonl").read_text()
    for broken, said in (('{"id": ', "no JSON"), ('{"file": "x"}', "has no id"), ('{"id": "x"}', "lacks a field")):
        (aid / "annotations.jsonl").write_text(lines + broken)
        with pytest.raises(DataError, match=said):
            read("aid_rsicd", aid)


def test_options_are_not_changed_by_reading(aid: Path) -> None:
    options = SourceOptions(count=2, split="train")
    before = replace(options)
    assert len(list(SOURCES.get("shared_sets").read(aid.parent, options))) == 2
    assert options == before
