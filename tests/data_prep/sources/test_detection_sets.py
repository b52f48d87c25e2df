"""Sources of boxes, on files in the published formats: DOTA, DIOR, FAIR1M, COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Sample


def picture(path: Path, width: int = 60, height: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def rows(source: str, folder: Path, **options: Any) -> tuple[list[Sample], list[tuple[str, str]]]:
    rejected: list[tuple[str, str]] = []
    found = SOURCES.get(source).read(
        folder, SourceOptions(reject=lambda where, why: rejected.append((where, why)), **options)
    )
    return list(found), rejected


@pytest.mark.parametrize("source", ["dota", "dior", "fair1m", "coco"])
def test_a_wrong_folder_says_what_to_get(source: str, tmp_path: Path) -> None:
    for folder in (None, tmp_path / "nowhere", tmp_path):
        with pytest.raises(DataError) as error:
            list(SOURCES.get(source).read(folder, SourceOptions()))
        assert error.value.next_step.startswith("get it: ")


# ---------------------------------------------------------------- DOTA

HEAD = "imagesource:GoogleEarth\ngsd:0.25\n"
LINES = "10.0 5.0 30.0 5.0 30.0 15.0 10.0 15.0 small-vehicle 0\n40 20 50 10 58 18 48 28 plane 1\n"


@pytest.fixture
def dota(tmp_path: Path) -> Path:
    for number, split in enumerate(("train", "val")):
        picture(tmp_path / split / "images" / f"P000{number}0.png")
        write(tmp_path / split / "labelTxt-v1.5" / f"DOTA-v1.5_{split}" / f"P000{number}0.txt", HEAD + LINES)
        write(tmp_path / split / "labelTxt-v1.5" / f"DOTA-v1.5_{split}_hbb" / f"P000{number}0.txt", "wrong\n")
        write(tmp_path / split / "labelTxt-v1.0" / "labelTxt" / f"P000{number}0.txt", LINES)
    return tmp_path


def test_dota_reads_oriented_boxes_of_the_newest_version(dota: Path) -> None:
    found, rejected = rows("dota", dota)
    assert not rejected
    assert [(row.id, row.split, row.meta["tile"]) for row in found] == [
        ("dota/P00000", "train", "P00000"),
        ("dota/P00010", "val", "P00010"),
    ]
    car, plane = found[0].targets.boxes
    assert (car.label, car.xyxy) == ("small vehicle", (10, 5, 30, 15))
    assert plane.points == ((40, 20), (50, 10), (58, 18), (48, 28))
    assert plane.xyxy == (40, 10, 58, 28)
    assert found[0].meta["difficult"] == [1]
    assert "container crane" in found[0].meta["complete"]
    assert "airport" not in found[0].meta["complete"]
    image = found[0].images[0]
    assert (image.size_px, image.gsd_m, image.sensor) == ((60, 40), 0.25, "GoogleEarth")
    assert Path(image.path or "").is_file()
    assert found[0].meta["image_file"] == "train/images/P00000.png"


def test_dota_without_head_and_version(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "P0007.png")
    write(tmp_path / "labelTxt" / "P0007.txt", "gsd:null\n" + LINES + "\n")
    (row,), _ = rows("dota", tmp_path)
    assert row.images[0].gsd_m is None
    assert "plane" in row.meta["complete"]
    assert "small vehicle" not in row.meta["complete"]  # version 1.0 leaves out the smallest


def test_dota_puts_broken_rows_aside(dota: Path) -> None:
    labels = dota / "train" / "labelTxt-v1.5" / "DOTA-v1.5_train"
    picture(dota / "train" / "images" / "P0100.png")
    write(labels / "P0100.txt", "1 2 3 4 5 6 7 8 plane 0\n10 20 30 plane 0\n")
    write(labels / "P0101.txt", LINES)  # no picture
    picture(dota / "train" / "images" / "P0102.png")
    write(labels / "P0102.txt", "200 5 300 5 300 15 200 15 plane 0\n")  # outside of the picture
    (dota / "train" / "images" / "P0103.png").write_text("<html>")
    write(labels / "P0103.txt", LINES)
    found, rejected = rows("dota", dota)
    assert len(found) == 2
    assert [Path(where).stem for where, _ in rejected] == ["P0100", "P0101", "P0102", "P0103"]
    told = [why for _, why in rejected]
    assert all(word in why for why, word in zip(told, ("line 2", "missing", "outside", "read"), strict=True))
    with pytest.raises(DataError, match="is no row"):
        list(SOURCES.get("dota").read(dota, SourceOptions()))


def test_a_folder_of_one_split_is_that_split(dota: Path) -> None:
    assert [row.split for row in rows("dota", dota / "val")[0]] == ["val"]


def test_split_and_count_are_kept(dota: Path) -> None:
    assert [row.id for row in rows("dota", dota, split="val")[0]] == ["dota/P00010"]
    assert len(rows("dota", dota, count=1)[0]) == 1
    assert rows("dota", dota, count=0)[0] == []


# ---------------------------------------------------------------- DIOR


def voc(*things: str) -> str:
    size = "<size><width>60</width><height>40</height><depth>3</depth></size>"
    return f"<annotation><filename>x.jpg</filename>{size}{''.join(things)}</annotation>"


def upright(name: str, *xyxy: int) -> str:
    inner = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), xyxy, strict=True))
    return f"<object><name>{name}</name><difficult>0</difficult><bndbox>{inner}</bndbox></object>"


def turned(name: str, *numbers: int) -> str:
    names = [f"{axis}_{corner}" for corner in ("left_top", "right_top", "right_bottom", "left_bottom") for axis in "xy"]
    inner = "".join(f"<{k}>{v}</{k}>" for k, v in zip(names, numbers, strict=True))
    return f"<object><name>{name}</name><robndbox>{inner}</robndbox><angle>0.5</angle></object>"


@pytest.fixture
def dior(tmp_path: Path) -> Path:
    for stem, folder in (("00001", "trainval"), ("00002", "trainval"), ("11726", "test")):
        picture(tmp_path / f"JPEGImages-{folder}" / f"{stem}.jpg")
        things = upright("golffield", 1, 2, 30, 20), upright("Expressway-Service-area", 5, 5, 60, 40)
        write(tmp_path / "Annotations" / "Horizontal Bounding Boxes" / f"{stem}.xml", voc(*things))
    oriented = voc(turned("golffield", 10, 0, 20, 10, 10, 20, 0, 10))
    write(tmp_path / "Annotations" / "Oriented Bounding Boxes" / "00002.xml", oriented)
    write(tmp_path / "Main" / "train.txt", "00001\n")
    write(tmp_path / "Main" / "val.txt", "00002\n")
    return tmp_path


def test_dior_reads_upright_and_oriented_boxes(dior: Path) -> None:
    found, rejected = rows("dior", dior)
    assert not rejected
    assert [(row.id, row.split) for row in found] == [
        ("dior/00001", "train"),
        ("dior/00002", "val"),
        ("dior/11726", "test"),
    ]
    assert found[0].targets.boxes[:1] == (Box((1, 2, 30, 20), "pixel", "golf field"),)
    assert found[0].targets.boxes[1].label == "expressway service area"
    assert {box.label for box in found[0].targets.boxes} <= set(found[0].meta["complete"])
    assert found[1].targets.boxes[0].points == ((10, 0), (20, 10), (10, 20), (0, 10))


def test_dior_puts_broken_rows_aside(dior: Path) -> None:
    folder = dior / "Annotations" / "Horizontal Bounding Boxes"
    for stem, text in (
        ("00003", "<annotation><object>"),
        ("00004", voc("<object><name>ship</name><bndbox><xmin>1</xmin></bndbox></object>")),
        ("00005", voc(upright("ship", 9, 9, 1, 1))),
    ):
        picture(dior / "JPEGImages-trainval" / f"{stem}.jpg")
        write(folder / f"{stem}.xml", text)
    found, rejected = rows("dior", dior)
    assert len(found) == 3
    reasons = ["no XML", "ymin", "x1 <= x2"]
    assert all(word in why for (_, why), word in zip(rejected, reasons, strict=True))


# ---------------------------------------------------------------- FAIR1M


def fair(name: str, points: str, coordinate: str = "pixel") -> str:
    listed = "".join(f"<point>{point}</point>" for point in points.split())
    return (
        "<annotation><source><filename>1.tif</filename><origin>GF2/GF3</origin></source><objects><object>"
        f"<coordinate>{coordinate}</coordinate><type>rectangle</type><possibleresult><name>{name}</name>"
        f"</possibleresult><points>{listed}</points></object></objects></annotation>"
    )


def test_fair1m_reads_closed_rings_and_keeps_parts_apart(tmp_path: Path) -> None:
    for part in ("train/part1", "train/part2", "validation"):
        picture(tmp_path / part / "images" / "1.tif")
        write(tmp_path / part / "labelXml" / "1.xml", fair("Small Car", "10,5 30,5 30,15 10,15 10,5"))
    found, rejected = rows("fair1m", tmp_path)
    assert not rejected
    assert [(row.meta["image_file"], row.split) for row in found] == [
        ("train/part1/images/1.tif", "train"),
        ("train/part2/images/1.tif", "train"),
        ("validation/images/1.tif", "val"),
    ]
    assert len({row.id for row in found}) == len({row.scene_id for row in found}) == 3
    box = found[0].targets.boxes[0]
    assert (box.label, box.xyxy, box.points) == (
        "small car",
        (10, 5, 30, 15),
        ((10, 5), (30, 5), (30, 15), (10, 15)),
    )
    assert found[0].images[0].sensor == "GF2/GF3"


def test_fair1m_puts_broken_rows_aside(tmp_path: Path) -> None:
    texts = (
        fair("Boeing737", "1,1 2,2 3,3"),
        fair("Boeing737", "1;1 2,2 3,3 4,4"),
        fair("Van", "1,1 2,2 3,3 4,4", "GeographyLatLon"),
    )
    for number, text in enumerate((*texts, fair("Boeing737", "10,5 30,5 30,15 10,15"))):
        picture(tmp_path / "images" / f"{number}.tif")
        write(tmp_path / "labelXml" / f"{number}.xml", text)
    found, rejected = rows("fair1m", tmp_path)
    assert [box.label for row in found for box in row.targets.boxes] == ["Boeing737"]
    assert [word in why for (_, why), word in zip(rejected, ("four corners", "x,y", "pixels"), strict=True)] == [
        True
    ] * 3


# ---------------------------------------------------------------- COCO

COCO: dict[str, Any] = {
    "info": {"year": 2026},
    "licenses": [{"id": 3, "name": "CC BY 2.0", "url": "https://creativecommons.org/licenses/by/2.0/"}],
    "categories": [{"id": 1, "name": "Storage-Tank"}, {"id": 5, "name": "ship"}],
    "images": [
        {"id": 7, "file_name": "a.png", "width": 60, "height": 40, "license": 3},
        {"id": 8, "file_name": "b.png", "width": 60, "height": 40},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 1,
            "bbox": [10, 5, 20, 10],
            "iscrowd": 0,
            "segmentation": [[10, 5, 30, 5, 30, 15], [12, 12, 14, 12, 14, 14]],
        },
        {
            "id": 2,
            "image_id": 7,
            "category_id": 5,
            "bbox": [0, 0, 2, 40],
            "iscrowd": 1,
            "segmentation": {"size": [40, 60], "counts": [0, 80, 2320]},
        },
    ],
}


def coco(folder: Path, table: dict[str, Any], name: str = "instances_val2017.json") -> None:
    write(folder / "annotations" / name, json.dumps(table))
    for stem in "ab":
        picture(folder / "val2017" / f"{stem}.png")


def test_coco_reads_polygons_run_lengths_and_crowds(tmp_path: Path) -> None:
    coco(tmp_path, COCO)
    write(tmp_path / "other.json", '{"model": 1}')
    (full, empty), rejected = rows("coco", tmp_path)
    assert not rejected
    assert (full.id, full.split, full.licence) == (
        "coco/instances_val2017/7",
        "val",
        "CC BY 2.0 (https://creativecommons.org/licenses/by/2.0/)",
    )
    tank, ships = full.targets.boxes
    assert (tank.label, tank.xyxy) == ("storage tank", (10, 5, 30, 15))
    outline, crowd = full.targets.masks
    assert outline.polygons is not None
    assert [len(ring) for ring in outline.polygons] == [3, 3]
    inside = crowd.to_array()
    assert inside.shape == (40, 60)
    assert inside[:, :2].all()
    assert inside.sum() == 80
    assert full.meta["crowd"] == [1]
    assert full.meta["complete"] == ["storage tank"]  # a crowd is not told one by one
    assert ships.label == "ship"
    assert empty.targets.boxes == ()
    assert empty.meta["complete"] == ["storage tank", "ship"]
    assert "not stated" in empty.licence


def test_coco_reads_captions(tmp_path: Path) -> None:
    captions = [{"id": 1, "image_id": 7, "caption": "A tank."}, {"id": 2, "image_id": 7, "caption": "One tank."}]
    coco(tmp_path, {**COCO, "annotations": captions}, "captions_train2017.json")
    found, _ = rows("coco", tmp_path)
    assert found[0].targets.captions == ("A tank.", "One tank.")
    assert found[0].meta["complete"] == []


def test_coco_puts_broken_rows_aside(tmp_path: Path) -> None:
    table = json.loads(json.dumps(COCO))
    table["annotations"][0]["category_id"] = 99
    table["images"].append({"id": 9, "file_name": "gone.png", "width": 60, "height": 40})
    table["annotations"].append({"id": 3, "image_id": 1234, "category_id": 1, "bbox": [1, 1, 2, 2]})
    coco(tmp_path, table)
    write(tmp_path / "annotations" / "half.json", json.dumps(COCO)[:100])
    found, rejected = rows("coco", tmp_path)
    assert [row.id for row in found] == ["coco/instances_val2017/8"]
    told = " | ".join(f"{where}: {why}" for where, why in rejected)
    for word in ("half.json", "1234", "category_id", "gone.png"):
        assert word in told
    assert len(rejected) == 4
