"""Sources of scenes with layers, on files in the published formats: xView2, LEVIR-CD, SECOND, EuroSAT, GAMUS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL.Image
import pytest
import rasterio
from rasterio.transform import from_origin

from data_prep.sources import SOURCES, SourceOptions, second
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample


def picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def rows(source: str, folder: Path) -> tuple[list[Sample], list[tuple[str, str]]]:
    rejected: list[tuple[str, str]] = []
    options = SourceOptions(reject=lambda where, why: rejected.append((where, why)))
    return list(SOURCES.get(source).read(folder, options)), rejected


@pytest.mark.parametrize("source", ["xview2", "levir_cd", "second", "eurosat", "gamus"])
def test_a_wrong_folder_says_what_to_get(source: str, tmp_path: Path) -> None:
    for folder in (None, tmp_path / "nowhere", tmp_path):
        with pytest.raises(DataError) as error:
            list(SOURCES.get(source).read(folder, SourceOptions()))
        assert error.value.next_step.startswith("get it: ")


# ---------------------------------------------------------------- xView2

WEST, NORTH, DEGREES_PX = -90.5, 14.5, 5e-6


def outline(x: float, y: float, side: float = 10) -> list[tuple[float, float]]:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]


def wkt(ring: list[tuple[float, float]]) -> str:
    return f"POLYGON (({', '.join(f'{x!r} {y!r}' for x, y in ring)}))"


def xbd(corners: list[tuple[float, float]], damage: list[str] | None) -> dict[str, Any]:
    features: dict[str, list[Any]] = {"xy": [], "lng_lat": []}
    for number, (x, y) in enumerate(corners):
        properties = {"feature_type": "building", "uid": f"b{number}"}
        if damage:
            properties["subtype"] = damage[number]
        ring = outline(x, y)
        features["xy"].append({"properties": properties, "wkt": wkt(ring)})
        place = [(WEST + px * DEGREES_PX, NORTH - py * DEGREES_PX) for px, py in ring]
        features["lng_lat"].append({"properties": properties, "wkt": wkt(place)})
    metadata = {
        "sensor": "GEOEYE01",
        "gsd": 2.1,
        "capture_date": "2018-02-18T16:37:00.000Z",
        "disaster": "guatemala-volcano",
        "disaster_type": "volcano",
        "width": 64,
        "height": 64,
    }
    return {"features": features, "metadata": metadata}


@pytest.fixture
def xview2(tmp_path: Path) -> Path:
    corners = [(4.0, 4.0), (30.0, 8.0), (50.0, 58.0)]
    damages = {"pre": None, "post": ["destroyed", "no-damage", "minor-damage"]}
    for name, found in (("guatemala-volcano_00000003", corners), ("guatemala-volcano_00000004", [])):
        for date, damage in damages.items():
            picture(tmp_path / "tier3" / "images" / f"{name}_{date}_disaster.png", np.zeros((64, 64, 3), np.uint8))
            path = tmp_path / "tier3" / "labels" / f"{name}_{date}_disaster.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(xbd(found, damage)))
    return tmp_path


def test_xview2_tells_damage_and_place(xview2: Path) -> None:
    (row, empty), rejected = rows("xview2", xview2)
    assert not rejected
    assert (row.split, row.targets.labels, row.images[1].date) == ("train", ("volcano",), "2018-02-18")
    assert row.meta["image_roles"] == ["before", "after"]
    assert row.meta["mask_images"] == row.meta["box_images"] == [0, 0, 0, 1, 1, 1]
    assert [mask.label for mask in row.targets.masks] == [
        *["building"] * 3,
        "destroyed building",
        "undamaged building",
        "building with minor damage",
    ]
    assert row.targets.boxes[0].xyxy == (4, 4, 14, 14)
    assert row.targets.boxes[5].xyxy == (50, 58, 60, 64)  # cut at the edge
    counts = {number.label: number.value for number in row.targets.numbers}
    assert counts == {"building": 3, "destroyed building": 1, "undamaged building": 1, "building with minor damage": 1}
    assert row.footprint is not None
    expected = (WEST, NORTH - 64 * DEGREES_PX, WEST + 64 * DEGREES_PX, NORTH)
    assert row.footprint == pytest.approx(expected, abs=2e-6)
    assert (empty.targets.boxes, empty.footprint) == ((), None)


def test_xview2_puts_broken_rows_aside(xview2: Path) -> None:
    labels = xview2 / "tier3" / "labels"
    (labels / "guatemala-volcano_00000003_pre_disaster.json").unlink()
    page = xbd([(1.0, 1.0)], ["rubble"])
    (labels / "guatemala-volcano_00000004_post_disaster.json").write_text(json.dumps(page))
    found, rejected = rows("xview2", xview2)
    assert found == []
    assert "cannot be read" in rejected[0][1]
    assert "subtype" in rejected[1][1]


# ---------------------------------------------------------------- pairs with label pictures


def test_levir_cd(tmp_path: Path) -> None:
    changed = np.zeros((32, 48), np.uint8)
    changed[4:12, 8:24] = 255
    for folder, pixels in (("A", np.zeros((32, 48, 3))), ("B", np.full((32, 48, 3), 9)), ("label", changed)):
        picture(tmp_path / "val" / folder / "val_1.png", pixels.astype(np.uint8))
        picture(tmp_path / "val" / folder / "val_2.png", (pixels * (folder != "label")).astype(np.uint8))
        picture(tmp_path / "test" / folder / "test_1.png", pixels.astype(np.uint8))
    picture(tmp_path / "test" / "label" / "test_1.png", changed[:16])
    picture(tmp_path / "test" / "A" / "test_2.png", np.zeros((32, 48, 3), np.uint8))
    found, rejected = rows("levir_cd", tmp_path)
    assert [(row.id, row.split) for row in found] == [
        ("levir_cd/val/A/val_1", "val"),
        ("levir_cd/val/A/val_2", "val"),
    ]
    assert (found[0].targets.masks[0].to_array() == (changed > 0)).all()
    assert found[0].targets.masks[0].label == "changed building"
    assert found[0].targets.numbers[0].value == 8.3
    assert found[0].meta["image_roles"] == ["before", "after"]
    assert found[0].meta["mask_images"] == [1]
    assert found[1].targets.masks == ()
    assert ["differ in size" in rejected[0][1], "test_2" in rejected[1][0]] == [True, True]


def test_levir_cd_in_one_folder_reads_the_split_in_the_name(tmp_path: Path) -> None:
    for folder in ("A", "B", "mask"):
        for name in ("test_2_0000_0000", "test_2_0000_0512", "train_1"):
            picture(tmp_path / folder / f"{name}.png", np.zeros((16, 16) + (3,) * (folder != "mask"), np.uint8))
    found, rejected = rows("levir_cd", tmp_path)
    assert not rejected
    assert [(row.split, row.scene_id) for row in found] == [
        ("test", "levir_cd/test_2"),
        ("test", "levir_cd/test_2"),
        ("train", "levir_cd/train_1"),
    ]


@pytest.mark.parametrize("coloured", [True, False])
def test_second(tmp_path: Path, coloured: bool) -> None:
    codes = np.zeros((2, 20, 20), np.uint8)
    codes[:, 0:10, 0:10] = np.array([3, 5])[:, None, None]  # low vegetation became a building
    colours = np.array([second.UNCHANGED, *second.COLOURS.values()], np.uint8)
    for number in (0, 1):
        shown = colours[codes[number]] if coloured else codes[number]
        picture(tmp_path / "train" / f"im{number + 1}" / "00003.png", np.zeros((20, 20, 3), np.uint8))
        picture(tmp_path / "train" / f"label{number + 1}" / "00003.png", shown)
    (row,), rejected = rows("second", tmp_path)
    assert not rejected
    assert [mask.label for mask in row.targets.masks] == ["low vegetation", "building"]
    assert row.meta["mask_images"] == [0, 1]
    assert row.targets.masks[1].to_array().sum() == 100
    assert (row.targets.numbers[0].label, row.targets.numbers[0].value) == ("changed", 25.0)
    shown = np.zeros((20, 20, 3), np.uint8)
    shown[0, 0] = (1, 200, 3)
    picture(tmp_path / "train" / "label2" / "00003.png", shown)
    found, rejected = rows("second", tmp_path)
    assert found == []
    assert "(1, 200, 3)" in rejected[0][1]


# ---------------------------------------------------------------- EuroSAT, GAMUS


def test_eurosat(tmp_path: Path) -> None:
    folder = tmp_path / "EuroSAT_MS" / "SeaLake"
    folder.mkdir(parents=True)
    values = np.arange(13, dtype=np.uint16)[:, None, None].repeat(64, 1).repeat(64, 2)
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 13, "dtype": "uint16"}
    place = {"crs": "EPSG:32632", "transform": from_origin(600000, 5200000, 10, 10)}
    with rasterio.open(folder / "SeaLake_1.tif", "w", **profile, **place) as made:
        made.write(values)
    picture(tmp_path / "2750" / "AnnualCrop" / "AnnualCrop_7.jpg", np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "2750" / "AnnualCrop" / "AnnualCrop_8.jpg").write_bytes(b"")
    (tmp_path / "eurosat-test.txt").write_text("SeaLake_1.jpg\n")
    (crop, sea), rejected = rows("eurosat", tmp_path)
    assert crop.targets.labels == ("annual crop",)
    assert crop.split == "train"
    assert (sea.targets.labels, sea.split) == (("sea or lake",), "test")
    image = sea.images[0]
    assert image.bands[8:] == ("B9", "B10", "B11", "B12", "B8A")
    assert (image.sensor, image.size_px, image.gsd_m) == ("sentinel2", (64, 64), 10.0)
    assert sea.footprint is not None
    assert 10 < sea.footprint[0] < sea.footprint[2] < 11
    assert [Path(where).name for where, _ in rejected] == ["AnnualCrop_8.jpg"]


def gamus(folder: Path, tile: str, ending: str, codes: np.ndarray) -> None:
    height = np.where(codes == 3, 12.5, 0.0).astype(np.float32)
    height[0, 0] = np.nan
    arrays = {"images": np.full((*codes.shape, 3), 7, np.uint8), "heights": height, "classes": codes.astype(np.float32)}
    for part, name in (("images", ending), ("heights", "AGL"), ("classes", "CLS")):
        path = folder / part / "val" / f"{tile}_{name}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as made:
            made["image"] = arrays[part]


def test_gamus(tmp_path: Path) -> None:
    codes = np.full((16, 24), 1)
    codes[4:8, 6:12] = 3
    gamus(tmp_path, "DC_01_25", "RGB", codes)
    gamus(tmp_path, "NYC_02", "IMG", codes)
    gamus(tmp_path, "PHL_01", "RGB", codes + 9)
    (tmp_path / "images" / "val" / "PHL_02_RGB.h5").write_text("<html>")
    found, rejected = rows("gamus", tmp_path)
    assert [(row.id, row.split) for row in found] == [("gamus/DC_01_25", "val"), ("gamus/NYC_02", "val")]
    row = found[0]
    assert row.meta["image_roles"] == ["optical", "height"]
    assert row.images[0].array is not None
    assert row.images[1].array is not None
    assert (row.images[0].array.shape, row.images[1].array.shape) == ((3, 16, 24), (1, 16, 24))
    assert row.images[1].array[0, 5, 7] == 12.5
    numbers = {(number.label, number.unit): number.value for number in row.targets.numbers}
    assert numbers["building", "%"] == 6.2
    assert numbers["maximum height", "m"] == 12.5
    assert (row.targets.masks[1].to_array() == (codes == 3)).all()
    assert [word in why for (_, why), word in zip(rejected, ("class number", "HDF5"), strict=True)] == [True, True]
