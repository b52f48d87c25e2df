"""Optical scenes and class rasters of the same ground, in other grids and reference systems."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_bounds
from rasterio.warp import transform_bounds

from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample

READ = SOURCES.get("worldcover").read
UTM = "EPSG:32632"
LEFT, TOP = 500000.0, 5300000.0


def write(path: Path, bands: np.ndarray, crs: str, transform: Affine, **more: object) -> None:
    path.parent.mkdir(exist_ok=True)
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=bands.dtype, crs=crs,
        transform=transform, **more,
    ) as out:  # fmt: skip
        out.write(bands)


def scene(root: Path, size: int = 64, name: str = "a", left: float = LEFT) -> None:
    """An optical scene of 10 m."""
    values = np.random.default_rng(0).integers(200, 3000, (4, size, size)).astype("uint16")
    write(root / "optical" / f"{name}.tif", values, UTM, Affine(10, 0, left, 0, -10, TOP))


def landcover(root: Path, codes: np.ndarray, gsd_m: float = 10.0, name: str = "map", left: float = LEFT) -> None:
    write(root / "landcover" / f"{name}.tif", codes[None].astype("uint8"), UTM, Affine(gsd_m, 0, left, 0, -gsd_m, TOP))


def read(root: Path, size_px: int = 64) -> list[Sample]:
    return list(READ(root, SourceOptions(size_px=size_px)))


def shares(sample: Sample) -> dict[str, float]:
    return {number.label: number.value for number in sample.targets.numbers}


def codes_of(size: int = 64) -> np.ndarray:
    codes = np.full((size, size), 40)
    codes[: size // 2] = 10
    codes[-size // 4 :, : size // 2] = 80
    return codes


def test_shares_masks_and_absence(tmp_path: Path) -> None:
    scene(tmp_path)
    landcover(tmp_path, codes_of())
    (sample,) = read(tmp_path)
    assert shares(sample) == {"tree cover": 50.0, "cropland": 37.5, "permanent water": 12.5}
    water = next(mask for mask in sample.targets.masks if mask.label == "permanent water").to_array()
    assert water[-1, 0] and not water[0, 0] and water.mean() == 0.125
    assert "mangrove forest" in sample.meta["complete"] and len(sample.meta["complete"]) == 11
    assert sample.images[0].gsd_m == 10 and sample.images[0].array is not None
    assert sample.footprint is not None and 8.9 < sample.footprint[0] < 9.1


def test_a_map_in_longitude_and_latitude_is_brought_to_the_grid_of_the_scene(tmp_path: Path) -> None:
    scene(tmp_path)
    west, south, east, north = transform_bounds(UTM, "EPSG:4326", LEFT - 300, TOP - 940, LEFT + 940, TOP + 300)
    size = 400
    place = from_bounds(west, south, east, north, size, size)
    codes = np.full((1, size, size), 40, dtype="uint8")
    rows, columns = np.mgrid[:size, :size]
    lon, lat = rasterio.transform.xy(place, rows.ravel(), columns.ravel())
    x, y = rasterio.warp.transform("EPSG:4326", UTM, lon, lat)
    inside = (np.array(x) < LEFT + 320).reshape(size, size) & (np.array(y) > TOP - 320).reshape(size, size)
    codes[0, inside] = 80
    write(tmp_path / "landcover" / "N48E009.tif", codes, "EPSG:4326", place)
    (sample,) = read(tmp_path)
    assert shares(sample)["permanent water"] == pytest.approx(25, abs=1)
    water = next(mask for mask in sample.targets.masks if mask.label == "permanent water").to_array()
    assert water[5:27, 5:27].all() and not water[37:].any() and not water[:, 37:].any()


def test_a_coarser_map_and_two_tiles_side_by_side(tmp_path: Path) -> None:
    scene(tmp_path)
    landcover(tmp_path, np.full((16, 8), 50), 40.0, "west")
    landcover(tmp_path, np.full((16, 8), 60), 40.0, "east", LEFT + 320)
    (sample,) = read(tmp_path)
    assert shares(sample) == {"built-up land": 50.0, "bare or sparsely vegetated land": 50.0}


def test_ground_that_the_map_does_not_know(tmp_path: Path) -> None:
    scene(tmp_path)
    codes = codes_of()
    codes[0, :20] = 0
    landcover(tmp_path, codes)
    (sample,) = read(tmp_path)
    assert sample.meta["complete"] == []
    assert sum(shares(sample).values()) == pytest.approx(100, abs=0.2)
    codes[:20] = 0
    landcover(tmp_path, codes)
    assert read(tmp_path) == []


def test_a_scene_is_cut_into_squares(tmp_path: Path) -> None:
    scene(tmp_path)
    landcover(tmp_path, codes_of())
    made = read(tmp_path, 32)
    assert [row.id for row in made] == ["a_0_0", "a_32_0", "a_0_32", "a_32_32"]
    assert [shares(row) for row in made[:2]] == [{"tree cover": 100.0}] * 2
    assert len({row.scene_id for row in made}) == 1


def test_another_legend(tmp_path: Path) -> None:
    scene(tmp_path)
    landcover(tmp_path, np.where(codes_of() == 40, 1, 2))
    (tmp_path / "legend.json").write_text(json.dumps({"1": "forest", "2": "water"}))
    (sample,) = read(tmp_path)
    assert set(shares(sample)) == {"forest", "water"} and sample.meta["complete"] == ["forest", "water"]
    (tmp_path / "legend.json").write_text('["forest"]')
    with pytest.raises(DataError, match="no legend"):
        read(tmp_path)


def test_codes_without_a_name_are_rejected_with_the_place(tmp_path: Path) -> None:
    scene(tmp_path)
    scene(tmp_path, name="b", left=LEFT + 640)
    landcover(tmp_path, np.full((64, 64), 33))
    landcover(tmp_path, codes_of(), name="east", left=LEFT + 640)
    rejected: list[tuple[str, str]] = []
    made = list(READ(tmp_path, SourceOptions(size_px=64, reject=lambda *row: rejected.append(row))))
    assert [row.scene_id for row in made] == ["b"]
    assert len(rejected) == 1 and "a.tif" in rejected[0][0] and "[33]" in rejected[0][1]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_scenes_without_place_or_pixels_are_rejected(tmp_path: Path) -> None:
    scene(tmp_path)
    landcover(tmp_path, codes_of())
    write(tmp_path / "optical" / "b.tif", np.ones((3, 64, 64), dtype="uint8"), "", Affine(1, 0, 0, 0, -1, 0))
    (tmp_path / "optical" / "c.tif").write_bytes(b"")
    rejected: list[tuple[str, str]] = []
    made = list(READ(tmp_path, SourceOptions(size_px=64, reject=lambda *row: rejected.append(row))))
    assert [row.scene_id for row in made] == ["a"]
    assert sorted(Path(where).name for where, _ in rejected) == ["b.tif", "c.tif"]


def test_a_folder_that_is_not_laid_out_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rasters here"):
        read(tmp_path)
    with pytest.raises(DataError, match="needs a folder"):
        list(READ(None, SourceOptions()))
