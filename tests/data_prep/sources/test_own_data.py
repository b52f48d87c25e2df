"""Own rasters and vector files become tiles: things lie where they lie on the map, and none is lost at an edge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.transform import Affine

from data_prep.sources import SOURCES, SourceOptions, _features, own_data
from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.geo import geopackage
from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.shapes import polygons
from lhrs_chat.schema import Sample

UTM = "EPSG:32631"
AFFINE = Affine(2.0, 0.0, 600000.0, 0.0, -2.0, 5200000.0)


def raster(path: Path, values: np.ndarray, **options: Any) -> Path:
    profile = {"driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2]}
    given = {"crs": UTM, "transform": AFFINE, "dtype": values.dtype, **options}
    with rasterio.open(path, "w", **profile, **given) as made:
        made.write(values)
    return path


def on_map(shape: shapely.Geometry, affine: Affine = AFFINE) -> shapely.Geometry:
    """A shape in pixels of the raster, in its CRS."""
    return shapely.transform(shape, lambda xy: np.array([affine @ (x, y) for x, y in xy]))


def lonlat(shape: shapely.Geometry) -> shapely.Geometry:
    to = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    return shapely.transform(shape, lambda xy: np.column_stack(to.transform(xy[:, 0], xy[:, 1])))


def geojson(path: Path, things: list[tuple[shapely.Geometry | None, dict[str, Any]]], **members: Any) -> None:
    features = [
        {"type": "Feature", "geometry": shape and json.loads(shapely.to_geojson(shape)), "properties": properties}
        for shape, properties in things
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **members}))


def rows(folder: Path, size_px: int = 32, **options: Any) -> tuple[list[Sample], list[tuple[str, str]]]:
    rejected: list[tuple[str, str]] = []
    taken = SourceOptions(size_px=size_px, reject=lambda where, why: rejected.append((where, why)), **options)
    return list(SOURCES.get("own_data").read(folder, taken)), rejected


PIXELS = np.random.default_rng(0).integers(1, 255, (3, 64, 96)).astype(np.uint8)
HOUSE = shapely.box(10, 4, 20, 12)
CUT = shapely.box(28, 40, 48, 50)  # 4 of 20 pixels in the tile at the left


def test_tiles_carry_place_pixels_and_things(tmp_path: Path) -> None:
    path = raster(tmp_path / "town.tif", PIXELS)
    geojson(tmp_path / "things.geojson", [(lonlat(on_map(s)), {"class": "House"}) for s in (HOUSE, CUT)])
    found, rejected = rows(tmp_path)
    assert not rejected
    assert len(found) == 6
    first = found[0]
    assert first.id == "own_data/town/0-0"
    assert first.targets.boxes[0].label == "house"
    assert first.targets.boxes[0].xyxy == pytest.approx(HOUSE.bounds, abs=0.01)
    with Raster.open(path) as opened:
        for row in found:
            image = row.images[0]
            assert image.array is not None
            assert (image.array == opened.read(tuple(row.meta["window"])).data).all()
            assert image.georef is not None
            x0, y0 = row.meta["window"][:2]
            assert image.georef.transform == tuple(AFFINE @ Affine.translation(x0, y0))[:6]
            west, south, east, north = row.footprint or (0, 0, 0, 0)
            corner = lonlat(on_map(shapely.Point(x0 + 16, y0 + 16)))
            assert west < corner.x < east
            assert south < corner.y < north
    left, right = (row for row in found if row.meta["cut"])
    assert [left.meta["window"], right.meta["window"]] == [[0, 32, 32, 64], [32, 32, 64, 64]]
    assert left.targets.boxes[0].xyxy == pytest.approx((28, 8, 32, 18), abs=0.01)
    assert right.targets.boxes[0].xyxy == pytest.approx((0, 8, 16, 18), abs=0.01)
    assert (left.meta["cut"], right.meta["cut"]) == ([[0, 0.2]], [[0, 0.8]])
    assert left.meta["complete"] == []  # whether a fifth of a house is a house, nobody can tell
    assert right.meta["complete"] == ["house"]
    assert [number.value for row in found for number in row.targets.numbers] == [1, 0, 0, 1, 1, 0]


@pytest.mark.parametrize("crs", [UTM, "EPSG:3857", "EPSG:4326"])
@pytest.mark.parametrize("kind", ["geojson", "gpkg"])
def test_any_reference_system_gives_the_same_boxes(tmp_path: Path, crs: str, kind: str) -> None:
    raster(tmp_path / "town.tif", PIXELS)
    to = Transformer.from_crs(UTM, crs, always_xy=True)
    shape = shapely.transform(on_map(HOUSE), lambda xy: np.column_stack(to.transform(xy[:, 0], xy[:, 1])))
    if kind == "geojson":
        named = {"type": "name", "properties": {"name": "urn:ogc:def:crs:" + crs.replace(":", "::")}}
        members = {} if crs == "EPSG:4326" else {"crs": named}
        geojson(tmp_path / "things.geojson", [(shape, {"label": "house"})], **members)
    else:
        geopackage.write_layer(
            tmp_path / "things.gpkg", "roofs", crs, [(shape, {"label": "house"})], "2026-01-01T00:00:00Z"
        )
    found, rejected = rows(tmp_path)
    assert not rejected
    assert found[0].targets.boxes[0].label == "house"
    assert found[0].targets.boxes[0].xyxy == pytest.approx(HOUSE.bounds, abs=0.01)


def test_a_turned_raster_and_a_hole(tmp_path: Path) -> None:
    turned = AFFINE @ Affine.rotation(20)
    raster(tmp_path / "town.tif", PIXELS, transform=turned)
    ring = shapely.Polygon([(2, 2), (28, 2), (28, 28), (2, 28)], [[(10, 10), (20, 10), (20, 20), (10, 20)]])
    geojson(tmp_path / "lake.geojson", [(lonlat(on_map(ring, turned)), {"depth": 3})])
    found, _ = rows(tmp_path)
    assert found[0].targets.boxes[0].label == "lake"  # no attribute names the class: the layer does
    (part,) = polygons(found[0].targets.masks[0], size_px=(32, 32))
    assert part.area == pytest.approx(26 * 26 - 100, abs=0.5)


def test_points_are_counted_once(tmp_path: Path) -> None:
    raster(tmp_path / "town.tif", PIXELS)
    spots = [shapely.Point(32, 16), shapely.Point(5, 5), shapely.Point(6, 6)]
    crs = {"type": "name", "properties": {"name": UTM}}
    geojson(tmp_path / "trees.json", [(on_map(s), {}) for s in spots], crs=crs)
    found, rejected = rows(tmp_path)
    assert not rejected
    assert [number.value for row in found for number in row.targets.numbers] == [2, 1, 0, 0, 0, 0]
    assert found[0].meta["points"] == [[5, 5, "trees"], [6, 6, "trees"]]
    assert found[0].targets.boxes == ()


def test_tiles_without_values_are_named(tmp_path: Path) -> None:
    values = PIXELS.copy()
    values[:, :, 40:] = 0
    raster(tmp_path / "town.tif", values, nodata=0)
    geojson(tmp_path / "things.geojson", [(lonlat(on_map(HOUSE)), {"class": "house"})])
    found, rejected = rows(tmp_path)
    assert [row.meta["window"] for row in found] == [[0, 0, 32, 32], [0, 32, 32, 64]]
    assert len(rejected) == 4
    assert rejected[0] == ("tile (32, 0, 64, 32) of town.tif", "nodata: 25% of the tile holds values")


def test_settings(tmp_path: Path) -> None:
    values = (PIXELS.astype(np.uint16) * 20)[[0, 1, 2, 0]]
    raster(tmp_path / "town.tif", values)
    things = [(lonlat(on_map(HOUSE)), {"class": "house", "use": "School_Building"})]
    geojson(tmp_path / "things.geojson", things)
    settings = tmp_path / "own_data.yaml"
    settings.write_text(
        "licence: CC-BY-4.0\nlabel: use\nexhaustive: false\noverlap_px: 16\nscene: raster\nvalues: stored\n"
    )
    found, _ = rows(tmp_path)
    assert {row.licence for row in found} == {"CC-BY-4.0"}
    assert {row.scene_id for row in found} == {"own_data/town"}
    assert len(found) == 15
    assert found[0].targets.boxes[0].label == "school building"
    assert all(row.meta["complete"] == [] for row in found)
    image = found[0].images[0]
    assert image.array is not None
    assert (image.array == values[:, :32, :32]).all()
    settings.write_text("overlapp_px: 16\n")
    with pytest.raises(ConfigError, match="overlap_px"):
        rows(tmp_path)
    settings.write_text("licence: ''\n")
    with pytest.raises(DataError, match="licence"):
        rows(tmp_path)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    raster(tmp_path / "town.tif", PIXELS)
    raster(tmp_path / "town.tiff", PIXELS)
    raster(tmp_path / "bare.tif", PIXELS, crs=None, transform=Affine.identity())
    (tmp_path / "web.tif").write_text("<html>")
    line = shapely.LineString([(1, 1), (20, 20)])
    geojson(
        tmp_path / "things.geojson",
        [
            (lonlat(on_map(HOUSE)), {"class": "house"}),
            (None, {"class": "house"}),
            (lonlat(on_map(line)), {"class": "road"}),
            (lonlat(on_map(HOUSE)), {"class": None}),
            (shapely.box(600010, 5199990, 600020, 5199999), {"class": "not in degrees"}),
        ],
    )
    (tmp_path / "half.geojson").write_text('{"type": "FeatureCollection", "features": [')
    (tmp_path / "empty.gpkg").write_bytes(b"")
    found, rejected = rows(tmp_path)
    assert {row.meta["image_file"] for row in found} == {"town.tif"}
    told = [f"{where}: {why}" for where, why in rejected]
    for words in (
        "feature 1 of things.geojson: an empty geometry",
        "feature 2 of things.geojson: a LineString",
        "feature 3 of things.geojson: the attribute 'class' is empty",
        "feature 4 of things.geojson: it lies on none of the rasters",
        "half.geojson: is no GeoJSON",
        "empty.gpkg: is no GeoPackage",
        "bare.tif: the raster has no georeference",
        "web.tif: ",
        "town.tiff: town.tif has the same name",
    ):
        assert any(line.startswith(words) for line in told), (words, told)
    assert len(told) == 9


def test_a_folder_without_data_says_what_to_put_there(tmp_path: Path) -> None:
    for lacks in ("folder", "raster", "vector file"):
        with pytest.raises(DataError) as error:
            rows(tmp_path / "nowhere" if lacks == "folder" else tmp_path)
        assert lacks in str(error.value)
        if lacks == "raster":
            raster(tmp_path / "town.tif", PIXELS)


@given(
    st.tuples(st.floats(-10, 90), st.floats(-10, 60), st.floats(1, 60), st.floats(1, 60)),
    st.integers(20, 70),
    st.integers(0, 15),
)
def test_nothing_is_lost_at_edges(place: tuple[float, float, float, float], size_px: int, overlap_px: int) -> None:
    """The parts that the tiles show make up all that the raster shows of a thing."""
    x, y, width, height = place
    shape = shapely.box(x, y, x + width, y + height)
    whole = shapely.intersection(shape, shapely.box(0, 0, 96, 64))
    seen = []
    for tile in own_data.plan((96, 64), size_px, overlap_px):
        clipped = shapely.intersection(shape, shapely.box(*tile.window))
        if clipped.area > 0:
            mask = own_data._mask(clipped, tile, "thing")
            box = own_data._around(mask).xyxy
            assert min(box) >= 0
            assert box[2] <= tile.x1 - tile.x0
            assert box[3] <= tile.y1 - tile.y0
            (part,) = polygons(mask, size_px=(size_px, size_px))
            seen.append(shapely.affinity.translate(part, tile.x0, tile.y0))
    assert shapely.union_all(seen).symmetric_difference(whole).area == pytest.approx(0, abs=1e-6)


def test_features_of_a_geopackage_keep_their_attributes(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    entries = [(shapely.box(1, 2, 3, 4), {"name": "a", "floors": 3}), (shapely.Point(5, 6), {"name": "b"})]
    geopackage.write_layer(path, "odd name", UTM, entries, "2026-01-01T00:00:00Z")
    found = [feature for feature in _features.read(path) if isinstance(feature, _features.Feature)]
    assert [feature.shape for feature in found] == [shape for shape, _ in entries]
    assert [(f.attributes["name"], f.attributes["floors"], f.crs) for f in found] == [("a", 3, UTM), ("b", None, UTM)]
