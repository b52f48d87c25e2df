"""OpenStreetMap extracts: nodes, ways and multipolygons of a real PBF, in the pixels of a raster."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import shapely

from data_prep.sources import SOURCES, SourceOptions, _osm_kinds, osm
from lhrs_chat.errors import DataError, MissingExtraError
from lhrs_chat.geo.shapes import polygons
from lhrs_chat.schema import Mask, Sample
from tests.data_prep.mapped import Extract, town, write_raster

READ = SOURCES.get("osm").read


def read(folder: Path, **options: object) -> list[Sample]:
    return list(READ(folder, SourceOptions(**{"size_px": 200, **options})))  # type: ignore[arg-type]


def shape(mask: Mask, size_px: int = 200) -> shapely.Geometry:
    return shapely.union_all(polygons(mask, size_px=(size_px, size_px)))


def named(sample: Sample) -> dict[str, shapely.Geometry]:
    return {mask.label: shape(mask) for mask in sample.targets.masks}


def test_the_town_lies_where_it_was_drawn(tmp_path: Path) -> None:
    (sample,) = read(town(tmp_path))
    found = named(sample)
    assert set(found) == {
        "residential area", "park", "church", "building", "residential street", "pond", "tree",
    }  # fmt: skip
    assert found["park"].bounds == pytest.approx((20, 20, 80, 60), abs=0.2)
    assert found["church"].bounds == pytest.approx((140, 20, 170, 50), abs=0.2)
    assert found["pond"].area == pytest.approx(60 * 60 - 20 * 20, rel=0.01)  # the island is no water
    assert found["residential street"].bounds == pytest.approx((0, 97, 200, 103), abs=0.2)
    assert found["tree"].bounds == pytest.approx((94, 144, 106, 156), abs=0.3)
    west, south, east, north = sample.footprint or (0, 0, 0, 0)
    assert 24.9 < west < east < 25.0 and 60.1 < south < north < 60.2
    assert sample.scene_id == "town" and "ODbL" in sample.licence and "complete" not in sample.meta


def test_only_what_can_be_seen_is_kept_of_the_tags(tmp_path: Path) -> None:
    (sample,) = read(town(tmp_path))
    notes = {mask.label: note for mask, note in zip(sample.targets.masks, sample.meta["osm"], strict=True)}
    assert notes["church"]["tags"] == {"building": "church", "building:levels": "2"}
    assert notes["residential street"]["tags"] == {"highway": "residential", "surface": "cobblestone"}
    assert notes["park"]["tags"] == {"leisure": "park"}
    assert "Kruununhaka" not in str(sample) and "Q1" not in str(sample)


def test_an_object_at_the_edge_is_clipped_and_not_whole(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    extract = Extract()
    extract.ring(150, 150, 250, 250, leisure="park")
    extract.ring(10, 10, 50, 50, natural="wood")
    extract.write(tmp_path / "a.osm.pbf")
    (sample,) = read(tmp_path)
    found = named(sample)
    assert found["park"].bounds == pytest.approx((150, 150, 200, 200), abs=0.2)
    whole = {mask.label: note["whole"] for mask, note in zip(sample.targets.masks, sample.meta["osm"], strict=True)}
    assert whole == {"park": False, "forest": True}


def test_what_is_visible_depends_on_the_pixel_size(tmp_path: Path) -> None:
    for gsd_m, expected in ((1.0, {"building", "main road", "footpath"}), (10.0, {"building", "main road"})):
        folder = tmp_path / str(gsd_m)
        folder.mkdir()
        write_raster(folder / "a.tif", (200, 200), gsd_m)
        extract = Extract()
        extract.ring(10, 10, 90, 90, building="yes")
        extract.line((0, 95), (400, 95), highway="primary")
        extract.line((0, 120), (400, 120), highway="footway")
        extract.write(folder / "a.osm.pbf")
        (sample,) = read(folder)
        assert set(named(sample)) == expected


def test_a_scene_is_cut_and_the_map_with_it(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", (220, 100))
    extract = Extract()
    extract.ring(90, 10, 130, 50, leisure="park")
    extract.write(tmp_path / "a.osm.pbf")
    left, right = read(tmp_path, size_px=100)
    assert named(left)["park"].bounds == pytest.approx((90, 10, 100, 50), abs=0.2)
    assert named(right)["park"].bounds == pytest.approx((0, 10, 30, 50), abs=0.2)
    assert left.images[0].georef != right.images[0].georef and left.scene_id == right.scene_id
    assert left.images[0].array is not None and left.images[0].array.shape == (3, 100, 100)
    assert read(tmp_path, size_px=100, count=1) == [left]


def test_a_way_whose_nodes_are_missing_is_left_out(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    extract = Extract()
    extract.ring(10, 10, 50, 50, leisure="park")
    extract.way_of([9001, 9002], highway="primary")
    extract.way_of([9001, 9002, 9003, 9001], building="yes")
    extract.write(tmp_path / "a.osm.pbf")
    (sample,) = read(tmp_path)
    assert set(named(sample)) == {"park"}


def test_xml_is_read_too_and_extracts_add_up(tmp_path: Path) -> None:
    town(tmp_path)
    more = Extract()
    more.ring(100, 60, 140, 90, leisure="playground")
    more.write(tmp_path / "more.osm")
    assert "playground" in named(read(tmp_path)[0])


def test_a_raster_elsewhere_has_no_rows_and_one_without_place_is_rejected(tmp_path: Path) -> None:
    town(tmp_path)
    (tmp_path / "broken.tif").write_bytes(b"no raster")
    rejected: list[tuple[str, str]] = []
    rows = list(READ(tmp_path, SourceOptions(size_px=200, reject=lambda *row: rejected.append(row))))
    assert [row.id for row in rows] == ["town_0_0"]
    assert [Path(where).name for where, _ in rejected] == ["broken.tif"]


def test_a_damaged_extract_is_told(tmp_path: Path) -> None:
    town(tmp_path)
    whole = (tmp_path / "town.osm.pbf").read_bytes()
    (tmp_path / "town.osm.pbf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "town.osm.pbf").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)


def test_a_folder_without_extract_or_raster(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 extracts and 0 rasters"):
        read(tmp_path)
    with pytest.raises(DataError, match="needs a folder"):
        list(READ(None, SourceOptions()))


def test_without_osmium_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "osmium", None)
    with pytest.raises(MissingExtraError, match=r"lhrs_chat\[osm\]"):
        next(osm.objects(tmp_path / "a.osm.pbf"))


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ({"leisure": "pitch", "sport": "tennis"}, "tennis court"),
        ({"leisure": "pitch"}, "sports field"),
        ({"natural": "water", "water": "lake"}, "lake"),
        ({"building": "hotel"}, "building"),
        ({"building": "no"}, None),
        ({"building": "yes", "layer": "-1"}, None),
        ({"amenity": "parking", "parking": "underground"}, None),
        ({"amenity": "restaurant", "name": "Ravintola"}, None),
        ({"landuse": "military"}, None),
    ],
)
def test_names_of_areas(tags: dict[str, str], name: str | None) -> None:
    kind = _osm_kinds.area(tags)
    assert (kind.name if kind else None) == name


@pytest.mark.parametrize(("width", "metres"), [("7.5", 7.5), ("8 m", 8.0), ("wide", 6.0), ("9999", 6.0), ("-2", 6.0)])
def test_a_mapped_width_wins_where_it_can_be_one(width: str, metres: float) -> None:
    kind = _osm_kinds.line({"highway": "residential", "width": width})
    assert kind is not None and kind.width_m == metres


def test_a_closed_way_is_an_area_or_a_line_but_not_both(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    extract = Extract()
    extract.ring(10, 10, 60, 60, highway="pedestrian", area="yes")
    extract.ring(80, 10, 130, 60, highway="pedestrian")
    extract.ring(10, 100, 60, 130, man_made="pier")
    extract.write(tmp_path / "a.osm.pbf")
    (sample,) = read(tmp_path)
    found = [
        (mask.label, note["geometry"]) for mask, note in zip(sample.targets.masks, sample.meta["osm"], strict=True)
    ]
    assert sorted((label, "Polygon" in geometry) for label, geometry in found) == [
        ("pedestrian square", True), ("pedestrian street", False), ("pier", True),
    ]  # fmt: skip


def test_every_key_that_names_something_is_read() -> None:
    for table in (_osm_kinds.AREAS, _osm_kinds.LINES, _osm_kinds.POINTS):
        assert set(table) <= set(_osm_kinds.KEYS)
    assert np.all([width > 0 for kinds in _osm_kinds.LINES.values() for _, width in kinds.values()])
