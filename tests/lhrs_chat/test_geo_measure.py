from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import LineString, Polygon

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.indices import cover_mask
from lhrs_chat.geo.measure import area_m2, length_m, pixel_area_m2
from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.reference import ground_gsd_m
from lhrs_chat.schema import Box, Georef, Mask

UTM = Georef("EPSG:32631", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))  # on the central meridian, k = 0.9996
DEGREES = Georef("EPSG:4326", (0.0001, 0.0, 3.0, 0.0, -0.0001, 52.0))
MERCATOR = Georef("EPSG:3857", (10.0, 0.0, 0.0, 0.0, -10.0, 8_399_737.89))  # latitude 60: lengths are doubled
SCENES = Path(__file__).parents[2] / "demo" / "scenes"


def test_a_square_kilometre_in_utm() -> None:
    square = Polygon([(500_000, 5_000_000), (501_000, 5_000_000), (501_000, 4_999_000), (500_000, 4_999_000)])
    truth = 1e6 / 0.9996**2
    assert area_m2(square, UTM) == pytest.approx(truth, rel=1e-6)
    assert area_m2(Box((0, 0, 100, 100), "pixel"), UTM, size_px=(200, 200)) == pytest.approx(truth, rel=1e-6)
    assert length_m([(500_000, 5_000_000), (500_000, 4_999_000)], UTM) == pytest.approx(1000 / 0.9996, rel=1e-6)
    assert length_m(LineString([(500_000, 5_000_000), (500_000, 4_999_000)]), UTM) == pytest.approx(1000.4, abs=0.01)


def test_one_square_degree_at_the_equator() -> None:
    # exact area between two parallels of the ellipsoid (Snyder 1987, equation 3-12)
    e2 = 0.00669437999014
    e = math.sqrt(e2)
    s = math.sin(math.radians(1))
    q = (1 - e2) * (s / (1 - e2 * s * s) - math.log((1 - e * s) / (1 + e * s)) / (2 * e))
    truth = 6378137.0**2 * q / 2 * math.radians(1)
    cell = Polygon([(0, 0), (1, 0), (1, 1), (0, 1)])
    assert area_m2(cell, Georef("EPSG:4326", (1, 0, 0, 0, -1, 1))) == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("georef", [UTM, DEGREES, MERCATOR])
def test_masks_sum_pixel_areas(georef: Georef) -> None:
    size = (400, 300)
    mask = np.zeros((300, 400), dtype=bool)
    mask[40:190, 100:250] = True
    as_polygon = area_m2(Box((100, 40, 250, 190), "pixel"), georef, size_px=size)
    assert area_m2(mask, georef) == pytest.approx(as_polygon, rel=1e-4)
    assert area_m2(Mask.from_array(mask), georef, size_px=size) == pytest.approx(as_polygon, rel=1e-4)
    half = mask[::2, ::2]  # a decimated view measures the same ground
    assert area_m2(half, georef, size_px=size) == pytest.approx(as_polygon, rel=1e-4)
    whole = area_m2(np.ones((300, 400), dtype=bool), georef)
    assert whole == pytest.approx(pixel_area_m2(georef, size) * 400 * 300, rel=1e-6)
    assert area_m2(np.zeros((300, 400), dtype=bool), georef) == 0


def test_a_hole_is_not_counted() -> None:
    ring = (((0, 0), (30, 0), (30, 30), (0, 30)), ((10, 10), (20, 10), (20, 20), (10, 20)))
    mask = Mask("pixel", polygons=ring)
    assert area_m2(mask, UTM, size_px=(50, 50)) == pytest.approx(800 * 100 / 0.9996**2, rel=1e-6)


def test_pixel_size_on_the_ground() -> None:
    assert ground_gsd_m(UTM, (100, 100)) == 10.0
    assert ground_gsd_m(MERCATOR, (100, 100)) == pytest.approx(5.0, rel=0.01)
    feet = Georef("EPSG:2263", (1.0, 0.0, 980_000.0, 0.0, -1.0, 200_000.0))
    assert ground_gsd_m(feet, (100, 100)) == pytest.approx(0.3048, rel=1e-4)


def test_the_flooded_plain() -> None:
    with Raster.open(SCENES / "spain_flood_s2.tif") as raster:
        georef, size = raster.image.georef, raster.size_px
        across = 0.0459938 * math.pi / 180 * 6378137 * math.cos(math.radians(38.106))
        assert pixel_area_m2(georef, size) == pytest.approx((across / 512) * 9.97, rel=0.01)
        mask, rule = cover_mask(raster, "water")
        assert rule == "MNDWI > 0 (B3, B11) and NDWI > -0.1 (B3, B8)"
        assert 0.22 < mask.mean() < 0.32  # 27 % in the hand-made mask of the source
        small, _ = cover_mask(raster, "water", 128)
        assert small.shape == (128, 128)
        assert small.mean() == pytest.approx(mask.mean(), abs=0.03)
        plants, rule = cover_mask(raster, "vegetation")
        assert rule.startswith("NDVI")
        assert not (plants & mask).any()
        assert cover_mask(raster, "buildings") is None
    with Raster.open(SCENES / "spain_flood_s1.tif") as raster:
        mask, rule = cover_mask(raster, "water")
        assert rule == "VV < -15 dB"
        assert 0.15 < mask.mean() < 0.32
        assert cover_mask(raster, "vegetation") is None
    with Raster.open(SCENES / "rotterdam_harbour.tif") as raster:
        assert cover_mask(raster, "water") is None


def test_errors() -> None:
    square = Polygon([(0, 0), (1, 0), (1, 1)])
    with pytest.raises(GeoError, match="not known"):
        area_m2(square, Georef("EPSG:999999", (1, 0, 0, 0, -1, 0)))
    with pytest.raises(GeoError, match="size of the image"):
        area_m2(Box((0, 0, 1, 1), "unit"), UTM)
    with pytest.raises(GeoError, match="two positions"):
        length_m([(0, 0)], UTM)
    with pytest.raises(GeoError, match="outside of what the CRS covers"):
        area_m2(Polygon([(1e12, 1e12), (2e12, 1e12), (2e12, 2e12)]), UTM)
    local = 'LOCAL_CS["site grid",UNIT["metre",1],AXIS["X",EAST],AXIS["Y",NORTH]]'
    with pytest.raises(GeoError, match="longitude and latitude"):
        area_m2(square, Georef(local, (1, 0, 0, 0, -1, 0)))
