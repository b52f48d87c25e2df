from __future__ import annotations

import json
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import shapely
from pyproj import CRS, Transformer
from shapely.geometry import shape

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.shapes import polygons
from lhrs_chat.geo.vector import check_place, feature_collection, footprint, write_geojson, write_gpkg
from lhrs_chat.schema import Answer, Box, Georef, Image, Mask, Number, Provenance

SIZE = (120, 80)
ARRAY = np.zeros((3, 80, 120), np.uint8)
UTM = Georef("EPSG:32631", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
ROTATED = Georef("EPSG:32631", (8.0, 3.0, 500_000.0, 2.5, -9.0, 5_000_000.0))
DEGREES = Georef("EPSG:4326", (0.001, 0.0, 3.0, 0.0, -0.001, 52.0))
PLACES = [UTM, ROTATED, DEGREES]
SCENES = Path(__file__).parents[2] / "demo" / "scenes"
BOXES = (
    Box((10, 20, 60, 50), "pixel", "hall", 0.75),
    Box((50, 25, 75, 75), "per100", "field"),
    Box.oriented(((60, 10), (80, 30), (70, 40), (50, 20)), "pixel", "ship", 0.5),
)


def ring_mask() -> np.ndarray:
    mask = np.zeros((80, 120), dtype=bool)
    mask[10:40, 20:70] = True
    mask[20:30, 30:50] = False
    mask[60:70, 90:100] = True
    return mask


def answer(**more: object) -> Answer:
    made = Provenance("lhrs-nano", image_sha256="ab", prompt="where?", time="2024-05-06T07:08:09Z")
    return Answer("there", made, **more)


def image(georef: Georef | None) -> Image:
    return Image(array=ARRAY, size_px=SIZE, georef=georef)


def to_pixels(lonlat: np.ndarray, georef: Georef) -> np.ndarray:
    x, y = Transformer.from_crs("EPSG:4326", georef.crs, always_xy=True).transform(lonlat[:, 0], lonlat[:, 1])
    a, b, c, d, e, f = georef.transform
    return np.linalg.solve(np.array([[a, b], [d, e]]), np.stack([x - c, y - f])).T


@pytest.mark.parametrize("georef", PLACES)
def test_geojson_is_right_handed_and_lands_on_the_pixels(tmp_path: Path, georef: Georef) -> None:
    mask = Mask.from_array(ring_mask(), "water", 0.25)
    said = answer(boxes=BOXES, masks=(mask,), numbers=(Number(3, "%", "computed", "water"),))
    path = write_geojson(tmp_path / "out.geojson", said, image(georef))
    read = json.loads(path.read_text())
    assert read == json.loads(json.dumps(feature_collection(said, image(georef))))
    assert set(read) == {"type", "bbox", "features"}  # no crs member: RFC 7946
    assert [f["properties"]["label"] for f in read["features"]] == ["hall", "field", "ship", "water"]
    for feature in read["features"]:
        geometry = shape(feature["geometry"])
        assert geometry.is_valid
        for part in shapely.get_parts(geometry):
            assert part.exterior.is_ccw
            assert not any(hole.is_ccw for hole in part.interiors)
        assert shapely.box(*read["bbox"]).covers(geometry)
        xy = shapely.get_coordinates(geometry)
        np.testing.assert_array_equal(xy, np.round(xy, 7))
        properties = feature["properties"]
        assert properties["answer"] == "there"
        assert {"model": "lhrs-nano", "image_sha256": "ab", "prompt": "where?"}.items() <= properties[
            "provenance"
        ].items()
        assert properties["provenance"]["time"] == "2024-05-06T07:08:09Z"
        assert properties["area_m2"] > 0
    evidence = [f["properties"]["evidence"] for f in read["features"]]
    assert evidence == ["model", "model", "model", "computed"]
    assert [f["properties"]["frame"] for f in read["features"]] == ["pixel", "per100", "pixel", "pixel"]
    hall, field, ship, water = (
        shapely.transform(shape(f["geometry"]), lambda xy: to_pixels(xy, georef)) for f in read["features"]
    )
    assert hall.bounds == pytest.approx((10, 20, 60, 50), abs=0.01)
    assert field.bounds == pytest.approx((60, 20, 90, 60), abs=0.01)
    assert ship.equals_exact(ship.convex_hull, 1e-9)
    assert ship.area == pytest.approx(400, rel=1e-3)
    assert water.area == pytest.approx(ring_mask().sum(), rel=1e-3)
    assert len(water.geoms) == 2


def test_masks_of_polygons_and_decimated_masks() -> None:
    ring = Mask("per100", polygons=(((0, 0), (50, 0), (50, 50), (0, 50)), ((10, 10), (20, 10), (20, 20), (10, 20)),
                                    ((60, 60), (90, 60), (90, 90))), label="m")  # fmt: skip
    first, second = polygons(ring, size_px=(100, 100))
    assert first.area == 2400
    assert second.area == 450
    small = Mask.from_array(np.eye(2, dtype=bool))
    parts = polygons(small, size_px=(100, 60))
    assert sorted(part.bounds for part in parts) == [(0, 0, 50, 30), (50, 30, 100, 60)]
    assert polygons(Box((3, 3, 3, 9), "pixel"), size_px=(10, 10)) == []


@pytest.mark.parametrize("georef", PLACES)
def test_an_answer_without_regions_is_on_the_footprint(georef: Georef) -> None:
    empty = Mask.from_array(np.zeros((80, 120), dtype=bool), "water")
    said = answer(masks=(empty,), numbers=(Number(0.0, "%", "computed", "water"),))
    (only,) = feature_collection(said, image(georef))["features"]
    assert only["properties"]["label"] == "footprint"
    assert only["properties"]["answer"] == "there"
    assert only["properties"]["numbers"] == [{"value": 0.0, "unit": "%", "evidence": "computed", "label": "water"}]
    corners = shapely.transform(shape(only["geometry"]), lambda xy: to_pixels(xy, georef))
    assert corners.bounds == pytest.approx((0, 0, *SIZE), abs=0.02)
    assert footprint(image(georef)).area > 0


def test_boxes_without_extent_are_points_and_lines() -> None:
    said = answer(boxes=(Box((5, 5, 5, 5), "pixel"), Box((5, 5, 9, 5), "pixel")))
    kinds = [f["geometry"]["type"] for f in feature_collection(said, image(UTM))["features"]]
    assert kinds == ["Point", "LineString"]


@pytest.mark.parametrize("georef", [UTM, DEGREES, Georef(CRS.from_proj4("+proj=laea +lat_0=1 +lon_0=3").to_wkt(),
                                                         (10.0, 0.0, 0.0, 0.0, -10.0, 0.0))])  # fmt: skip
def test_geopackage_reads_back(tmp_path: Path, georef: Georef) -> None:
    said = answer(boxes=BOXES, masks=(Mask.from_array(ring_mask(), "water"),))
    path = tmp_path / "out.gpkg"
    path.write_text("an older file")
    write_gpkg(path, said, image(georef))
    head = path.read_bytes()[:100]
    assert head.startswith(b"SQLite format 3\0")
    assert head[68:72] == b"GPKG"
    assert struct.unpack(">I", head[60:64]) == (10301,)
    with closing(sqlite3.connect(path)) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert base.execute("PRAGMA foreign_key_check").fetchall() == []
        (table, kind, *extent, srs) = base.execute(
            "SELECT table_name, data_type, min_x, min_y, max_x, max_y, srs_id FROM gpkg_contents"
        ).fetchone()
        assert (table, kind) == ("answer", "features")
        assert base.execute("SELECT column_name, srs_id, z, m FROM gpkg_geometry_columns").fetchone() == (
            "geom",
            srs,
            0,
            0,
        )
        known = dict(base.execute("SELECT srs_id, definition FROM gpkg_spatial_ref_sys"))
        assert {-1, 0, 4326, srs} == set(known)
        assert CRS.from_wkt(known[srs]).equals(CRS.from_user_input(georef.crs), ignore_axis_order=True)
        rows = base.execute("SELECT geom, label, score, model, time, area_m2, xyxy FROM answer ORDER BY fid").fetchall()
    assert [row[1] for row in rows] == ["hall", "field", "ship", "water"]
    assert [row[2] for row in rows] == [0.75, None, 0.5, None]
    assert json.loads(rows[0][6]) == [10, 20, 60, 50]
    for blob, *_ in rows:
        assert blob[:4] == b"GP\0\3"
        code, x1, x2, y1, y2 = struct.unpack("<i4d", blob[4:40])
        geometry = shapely.from_wkb(blob[40:])
        assert code == srs
        assert geometry.bounds == (x1, y1, x2, y2)
        assert shapely.box(*extent).covers(geometry)
    want = polygons(BOXES[0], "map", size_px=SIZE, georef=georef)[0]
    assert shapely.from_wkb(rows[0][0][40:]).equals(want)


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    said = answer(boxes=BOXES)
    target = tmp_path / "kept.geojson"
    target.write_text("old")
    with pytest.raises(GeoError, match="no georeference"):
        write_geojson(target, said, image(None))
    lost = Image(array=ARRAY, size_px=SIZE, georef=Georef("EPSG:999999", UTM.transform))
    with pytest.raises(GeoError, match="not known"):
        write_gpkg(target, said, lost)
    assert target.read_text() == "old"
    with pytest.raises(GeoError, match="cannot be written"):
        write_geojson(tmp_path / "no" / "folder.geojson", said, image(UTM))
    with pytest.raises(GeoError, match="cannot be written"):
        write_gpkg(tmp_path / "no" / "folder.gpkg", said, image(UTM))
    with pytest.raises(GeoError, match="size of the image"):
        write_gpkg(target, said, Image(array=ARRAY, georef=UTM))
    with pytest.raises(GeoError, match="placement"):
        feature_collection(answer(boxes=(Box((0, 0, 1, 1), "model"),)), image(UTM))
    assert [p.name for p in tmp_path.iterdir()] == ["kept.geojson"]


def test_the_sample_scenes_are_listed_and_credited() -> None:
    rows = [json.loads(line) for line in (SCENES / "scenes.jsonl").read_text().splitlines()]
    files = {p.name for p in SCENES.iterdir()} - {"scenes.jsonl", "CREDITS.md"}
    assert {row["file"] for row in rows} == files
    listed = (SCENES / "CREDITS.md").read_text()
    assert sum(p.stat().st_size for p in SCENES.iterdir()) < 4 * 2**20
    for row in rows:
        assert f"| {row['file']} |" in listed
        assert row["licence"]
        assert row["credit"]
        assert len(row["questions"]) == 3
        with Raster.open(SCENES / row["file"]) as raster:
            assert raster.image.sensor == row["sensor"]
            assert raster.rgb(max_size_px=64).any()
            if raster.image.georef is not None:
                assert feature_collection(answer(), raster.image)["features"]


ACROSS = [  # 64 x 64 km around the antimeridian, the right half of it west of 180
    Georef("EPSG:32660", (1000.0, 0.0, 705_000.0, 0.0, -1000.0, 5_000_000.0)),
    Georef("EPSG:4326", (0.01, 0.0, 179.68, 0.0, -0.01, 10.0)),
    Georef("EPSG:3832", (1000.0, 0.0, 3_307_584.0, 0.0, -1000.0, 0.0)),
]


@pytest.mark.parametrize("georef", ACROSS, ids=[georef.crs for georef in ACROSS])
def test_a_scene_across_the_antimeridian_is_cut_there(georef: Georef) -> None:
    array = np.zeros((64, 64), dtype=bool)
    array[10:30, 5:60] = True
    array[15:20, 20:50] = False
    boxes = (Box((2, 2, 60, 60), "pixel", "across"), Box((1, 1, 9, 9), "pixel", "left"), Box((58, 58, 64, 64), "pixel"))
    scene = Image(array=np.zeros((1, 64, 64), np.uint8), size_px=(64, 64), georef=georef)
    read = feature_collection(answer(boxes=boxes, masks=(Mask.from_array(array, "water"),)), scene)
    west, south, east, north = read["bbox"]
    assert 179 < west < 180 and -180 < east < -179 and south < north
    kinds = []
    for feature in read["features"]:
        place = shape(feature["geometry"])
        kinds.append(place.geom_type)
        assert place.is_valid
        for part in shapely.get_parts(place):
            assert part.exterior.is_ccw
            x1, _, x2, _ = part.bounds
            assert (west <= x1 and x2 <= 180) or (x1 >= -180 and x2 <= east)
    assert kinds == ["MultiPolygon", "Polygon", "Polygon", "MultiPolygon"]


@pytest.mark.parametrize(
    ("georef", "words"),
    [
        (None, "no georeference"),
        (Georef('LOCAL_CS["site",UNIT["metre",1]]', UTM.transform), "no way from"),
        (Georef("EPSG:999999", UTM.transform), "not known"),
        (Georef("EPSG:32631", (10.0, 0.0, 5e9, 0.0, -10.0, 5e12)), "outside of what the CRS covers"),
    ],
)
def test_an_image_without_a_place_is_told(georef: Georef | None, words: str) -> None:
    with pytest.raises(GeoError, match=words):
        check_place(image(georef))


def test_an_image_with_a_place_passes() -> None:
    for georef in PLACES:
        check_place(image(georef))
