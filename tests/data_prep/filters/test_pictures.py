from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest
import rasterio

from data_prep.filters import FILTERS, FilterOptions
from data_prep.filters.blur import sharpness
from data_prep.filters.cloud import clouds, white_and_smooth
from lhrs_chat.schema import Image, Sample
from tests.soft_scenes import save, scene

OPTIONS = FilterOptions()


def judge(name: str, row: Sample, **bounds: object) -> str | None:
    return FILTERS.get(name).check(row, replace(OPTIONS, **bounds))  # type: ignore[arg-type]


def row(*paths: Path, sensor: str | None = None, **meta: object) -> Sample:
    images = tuple(Image(path=str(path), sensor=sensor) for path in paths)
    return Sample("r", images, "facts", "s", "CC0-1.0", "s", meta=dict(meta))


def tif(path: Path, bands: np.ndarray, **profile: object) -> Path:
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=bands.dtype, **profile
    ) as file:
        file.write(bands)
    return path


@pytest.mark.parametrize("name", ["broken_image", "tiny", "blank", "nodata", "blur", "cloud"])
def test_a_good_picture_passes(name: str, tmp_path: Path) -> None:
    assert judge(name, row(save(tmp_path / "a.png", scene(0)))) is None


def test_broken_images(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png", scene(0))
    cases = {
        "gone.png": (None, "cannot be opened: No such file"),
        "empty.png": (b"", "is an empty file"),
        "page.jpg": (b"\n<!DOCTYPE html><html>404</html>", "is a web page or XML"),
        "wrong.jpg": (good.read_bytes(), "is PNG, but its name ends with '.jpg'"),
        "cut.png": (good.read_bytes()[:-900], "cannot be read: "),
        "noise.png": (b"\x01\x02\x03\x04" * 100, "cannot be read: "),
    }
    for name, (data, reason) in cases.items():
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        assert reason in (judge("broken_image", row(good, path)) or ""), name
        assert (judge("broken_image", row(good, path)) or "").startswith("image 1 (optical)")
        for other in ("tiny", "blank", "nodata", "blur", "cloud"):
            assert judge(other, row(path)) is None or name == "wrong.jpg"
    assert judge("broken_image", row()) == "the row has no image"


def test_a_cut_geotiff_is_found(tmp_path: Path) -> None:
    path = tif(tmp_path / "a.tif", np.random.default_rng(0).integers(0, 255, (3, 200, 200), np.uint8))
    path.write_bytes(path.read_bytes()[:60_000])
    assert "cannot be read" in (judge("broken_image", row(path)) or "")


def test_tiny(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", scene(0)[:20])
    assert judge("tiny", row(path)) == "the image has 192 x 20 pixels, a side of less than 32"
    assert judge("tiny", row(path), least_side_px=20) is None
    told = replace(row(path), images=(Image(path="elsewhere.png", size_px=(8, 900)),))
    assert "8 x 900" in (judge("tiny", told) or "")


def test_blank(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((64, 64, 3), 90, np.uint8))
    assert "is blank: its grey values differ by 0.0" in (judge("blank", row(path)) or "")
    assert judge("blank", row(path, image_roles=["landcover"])) is None
    assert judge("blank", row(path, sensor="height")) is None
    good = save(tmp_path / "good.png", scene(0))
    assert "is blank" in (judge("blank", row(good, path, image_roles=["optical"])) or ""), "a role was left out"


def test_nodata(tmp_path: Path) -> None:
    pixels = scene(0).transpose(2, 0, 1).clip(1, 255)
    pixels[:, :, :120] = 0
    path = tif(tmp_path / "a.tif", pixels, nodata=0)
    assert judge("nodata", row(path)) == "the image is 62% nodata, more than 50%"
    assert judge("nodata", row(path), most_nodata=0.7) is None
    plain = save(tmp_path / "a.png", pixels.transpose(1, 2, 0))
    assert judge("nodata", row(plain)) == "the image is 62% nodata, more than 50%"


def test_blur(tmp_path: Path) -> None:
    blurred = PIL.Image.fromarray(scene(0)).filter(PIL.ImageFilter.GaussianBlur(6))
    path = save(tmp_path / "a.png", np.asarray(blurred))
    assert "is blurred" in (judge("blur", row(path)) or "")
    assert judge("blur", row(path, image_roles=["sar"])) is None
    faint = (scene(0).astype(float) * 0.1 + 100).astype(np.uint8)
    assert sharpness(faint) > 10 * sharpness(np.asarray(blurred))


def test_cloud_by_colour(tmp_path: Path) -> None:
    pixels = scene(0)
    noise = np.random.default_rng(0).integers(-2, 3, (192, 140, 3))
    pixels[:, :140] = (np.full((192, 140, 3), 235) + noise).astype(np.uint8)
    reason = judge("cloud", row(save(tmp_path / "a.png", pixels))) or ""
    assert "7" in reason and "told from colours alone" in reason
    share = white_and_smooth(pixels).mean()
    assert 0.6 < share < 0.75
    roofs = np.random.default_rng(1).integers(180, 255, (64, 64, 1), np.uint8).repeat(3, axis=2)
    assert white_and_smooth(roofs).mean() == 0


def test_cloud_by_spectrum(tmp_path: Path) -> None:
    cloud, field, sand = (0.5, 0.5, 0.5, 0.55, 0.4), (0.04, 0.07, 0.05, 0.4, 0.2), (0.15, 0.25, 0.35, 0.4, 0.5)
    spectra = np.array([cloud, field, sand]).T[:, None, :]
    assert clouds(spectra).tolist() == [[True, False, False]]
    bands = np.zeros((13, 40, 40), np.uint16) + 1000
    for band, (high, low) in zip((1, 2, 3, 7, 11), zip(cloud, field, strict=True), strict=True):
        bands[band] = np.where(np.arange(40) < 30, high * 10_000, low * 10_000)
    row_of_s2 = row(tif(tmp_path / "s2.tif", bands), sensor="sentinel2")
    assert judge("cloud", row_of_s2) == "the image is 75% cloud (by the spectral test), more than 60%"
    assert judge("cloud", row_of_s2, most_cloud=0.8) is None


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    import os

    path = save(tmp_path / "a.png", scene(0))
    assert judge("blank", row(path)) is None
    save(path, np.zeros((192, 192, 3), np.uint8))
    os.utime(path, ns=(1, 1))
    assert judge("blank", row(path)) is not None
