from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import from_origin

from lhrs_chat.geo import opening
from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Georef, Image

SCENES = Path(__file__).parents[2] / "demo" / "scenes"
RNG = np.random.default_rng(0)


def write(path: Path, array: np.ndarray, **options: object) -> Path:
    profile: dict[str, object] = {"driver": "GTiff", "crs": "EPSG:32631", "transform": from_origin(5e5, 5e6, 10, 10)}
    profile |= {"count": array.shape[0], "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
    colours = options.pop("colours", None)
    with rasterio.open(path, "w", **profile | options) as file:
        if colours:
            file.colorinterp = colours
        file.write(array)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_any_type_and_number_of_bands(tmp_path: Path, dtype: str, count: int) -> None:
    array = RNG.integers(0, 120, (count, 30, 40)).astype(dtype)
    with Raster.open(write(tmp_path / "a.tif", array)) as raster:
        assert raster.size_px == raster.image.size_px == (40, 30)
        assert len(raster.image.bands) == count
        assert raster.image.gsd_m == 10.0
        assert raster.image.georef == Georef("EPSG:32631", (10.0, 0.0, 5e5, 0.0, -10.0, 5e6))
        np.testing.assert_array_equal(raster.read().data, array)
        assert raster.read().dtype == dtype
        picture = raster.rgb()
        assert picture.shape == (30, 40, 3)
        assert picture.dtype == np.uint8
        assert picture.any()
        assert raster.valid().all()


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
def test_complex_values_become_amplitudes(tmp_path: Path, dtype: str) -> None:
    array = (RNG.integers(1, 9, (1, 20, 20)) * (3 + 4j)).astype(np.complex64)
    with Raster.open(write(tmp_path / "slc.tif", array, dtype=dtype)) as raster:
        assert raster.profile.name in ("sar", "sentinel1")
        np.testing.assert_allclose(raster.read().data, np.abs(array), rtol=1e-6)
        assert "amplitude to dB" in raster.composite


def test_windows_equal_crops_of_the_full_read(tmp_path: Path) -> None:
    array = RNG.integers(100, 4000, (4, 90, 120)).astype(np.uint16)
    array[:, :10] = 0
    path = write(tmp_path / "a.tif", array, nodata=0, tiled=True, blockxsize=32, blockysize=16)
    with Raster.open(path) as raster:
        full, picture, valid = raster.read(), raster.rgb(), raster.valid()
    for x0, y0, x1, y1 in ((0, 0, 120, 90), (7, 5, 50, 33), (100, 80, 120, 90), (0, 0, 30, 9)):
        with Raster.open(path) as raster:  # a fresh one: the first window must not decide the stretch
            np.testing.assert_array_equal(raster.rgb((x0, y0, x1, y1)), picture[y0:y1, x0:x1])
            part = raster.read((x0, y0, x1, y1), [2])
            np.testing.assert_array_equal(part.filled(9), full.filled(9)[2:3, y0:y1, x0:x1])
            np.testing.assert_array_equal(raster.valid((x0, y0, x1, y1)), valid[y0:y1, x0:x1])
    assert not valid[:10].any()
    assert not picture[:10].any()
    assert valid[10:].all()


def test_nodata_alpha_and_nan_are_respected(tmp_path: Path) -> None:
    values = RNG.uniform(5, 50, (1, 16, 16)).astype(np.float32)
    values[0, :4] = np.nan
    values[0, 4:6] = -3.4028234663852886e38
    with Raster.open(write(tmp_path / "dem.tif", values, nodata=-3.4028234663852886e38)) as raster:
        assert raster.profile.name == "height"
        assert not raster.valid()[:6].any()
        assert raster.valid()[6:].all()
        assert raster.rgb()[6:].max() == 255
        assert not raster.rgb()[:6].any()
    colours = RNG.integers(50, 200, (4, 16, 16)).astype(np.uint8)
    colours[3] = 255
    colours[3, :, :8] = 0
    alpha = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    with Raster.open(write(tmp_path / "rgba.tif", colours, colours=alpha)) as raster:
        assert raster.image.bands == ("red", "green", "blue")
        assert raster.read().shape == (3, 16, 16)
        assert not raster.valid()[:, :8].any()
        np.testing.assert_array_equal(raster.rgb()[:, 8:], colours[:3, :, 8:].transpose(1, 2, 0))
        assert not raster.rgb()[:, :8].any()
    one_band_missing = np.full((3, 8, 8), 90, dtype=np.uint8)
    one_band_missing[0, 0, 0] = 255
    with Raster.open(write(tmp_path / "white.tif", one_band_missing, nodata=255)) as raster:
        assert raster.valid().all()  # a pixel is missing when all of its bands are
        assert np.ma.getmaskarray(raster.read()).sum() == 1


def test_decimated_reads_average(tmp_path: Path) -> None:
    array = RNG.integers(0, 1000, (2, 64, 96)).astype(np.float32)
    array[:, :2, :2] = np.nan
    with Raster.open(write(tmp_path / "a.tif", array)) as raster:
        small = raster.read(None, None, 48)
        truth = np.nanmean(array.reshape(2, 32, 2, 48, 2)[:, 1:, :, 1:], axis=(2, 4))
        np.testing.assert_allclose(small.data[:, 1:, 1:], truth, rtol=1e-5)
        assert np.ma.getmaskarray(small)[:, 0, 0].all()
        assert raster.rgb(max_size_px=10).shape == (7, 10, 3)
        assert raster.valid((3, 3, 90, 20), 30).shape == (6, 30)


def test_decimation_does_not_depend_on_the_stored_blocks(tmp_path: Path) -> None:
    array = RNG.integers(0, 255, (3, 517, 703)).astype(np.uint8)
    plain = write(tmp_path / "a.tif", array)
    tiled = write(tmp_path / "b.tif", array, tiled=True, blockxsize=16, blockysize=32)
    with Raster.open(plain) as one, Raster.open(tiled) as other:
        np.testing.assert_array_equal(one.read(None, None, 37), other.read(None, None, 37))


def test_overviews_are_used(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif", np.full((1, 256, 256), 10, dtype=np.uint8), tiled=True, blockxsize=64, blockysize=64
    )
    with rasterio.open(path, "r+") as file:
        file.build_overviews([4], Resampling.nearest)
        file.write(np.full((1, 256, 256), 200, dtype=np.uint8))  # the overview keeps the old values
    with Raster.open(path) as raster:
        assert raster.read(None, None, 64).max() == 10
        assert raster.read(None, None, 200).min() == 200


def test_stretches_by_kind(tmp_path: Path) -> None:
    plain = RNG.integers(40, 60, (3, 20, 20)).astype(np.uint8)
    with Raster.open(write(tmp_path / "rgb.tif", plain)) as raster:
        np.testing.assert_array_equal(raster.rgb(), plain.transpose(1, 2, 0))
        assert "as stored" in raster.composite
    deep = RNG.integers(500, 900, (13, 20, 20)).astype(np.int16)
    with Raster.open(write(tmp_path / "x.tif", deep)) as raster:
        assert raster.composite.startswith("bands B4, B3, B2 of 13 as red, green, blue")
        assert "2-98 % stretch" in raster.composite
        for channel, band in enumerate((3, 2, 1)):
            low, high = np.percentile(deep[band], (2, 98))
            want = np.clip(np.rint((deep[band] - low) / (high - low) * 255), 0, 255)
            np.testing.assert_allclose(raster.rgb()[..., channel], want, atol=1)
    power = RNG.uniform(0.001, 1, (2, 20, 20)).astype(np.float32)
    with (
        Raster.open(write(tmp_path / "s1.tif", power)) as linear,
        Raster.open(write(tmp_path / "s1_db.tif", 10 * np.log10(power))) as decibels,
    ):
        assert "power to dB" in linear.composite
        assert "VV, VH and VV/VH" in linear.composite
        assert "power" not in decibels.composite
        np.testing.assert_allclose(linear.rgb().astype(int), decibels.rgb().astype(int), atol=1)
    many = RNG.integers(0, 999, (25, 8, 8)).astype(np.uint16)
    with Raster.open(write(tmp_path / "cube.tif", many)) as raster:
        assert raster.profile.name == "unknown"
        assert "band 1, band 2, band 3 of 25" in raster.composite
        assert "not known" in raster.composite
    flat = np.full((1, 8, 8), 7, dtype=np.uint16)
    with Raster.open(write(tmp_path / "flat.tif", flat)) as raster:
        assert (raster.rgb() == 127).all()


def test_colour_tables_are_applied(tmp_path: Path) -> None:
    classes = RNG.integers(0, 3, (1, 40, 40)).astype(np.uint8)
    path = write(tmp_path / "classes.tif", classes)
    table = {0: (9, 8, 7, 255), 1: (200, 0, 0, 255), 2: (0, 0, 250, 255)}
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, table)
    with Raster.open(path) as raster:
        colours = np.array([table[i][:3] for i in range(3)], dtype=np.uint8)
        np.testing.assert_array_equal(raster.rgb(), colours[classes[0]])
        small = raster.rgb(max_size_px=9).reshape(-1, 3)
        assert {tuple(c) for c in small.tolist()} <= {tuple(c) for c in colours.tolist()}  # no mixed classes


def test_bytes_arrays_and_pictures() -> None:
    pixels = RNG.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    picture = PIL.Image.fromarray(pixels)
    stored = io.BytesIO()
    picture.save(stored, "PNG")
    sources = [pixels, pixels.transpose(2, 0, 1), picture, stored.getvalue(), Image(array=pixels.transpose(2, 0, 1))]
    for source in sources:
        with Raster.open(source) as raster:
            np.testing.assert_array_equal(raster.rgb(), pixels)
            assert raster.image.georef is None
            assert raster.image.gsd_m is None
            assert raster.image.size_px == (30, 20)
            assert len(raster.sha256) == 64
    with Raster.open(stored.getvalue()) as raster:
        assert raster.sha256 == hashlib.sha256(stored.getvalue()).hexdigest()
    with Raster.open(pixels) as one, Raster.open(picture) as two, Raster.open(np.flipud(pixels)) as three:
        assert one.sha256 == two.sha256 != three.sha256
    see_through = picture.convert("RGBA")
    see_through.putalpha(0)
    see_through.paste(picture.crop((0, 0, 10, 20)), (0, 0))
    with Raster.open(see_through) as raster:
        assert raster.valid()[:, :10].all()
        assert not raster.valid()[:, 10:].any()
    for mode in ("1", "L", "P", "CMYK", "YCbCr", "I", "F", "I;16", "LA", "HSV"):
        made = PIL.Image.new("I;16", (6, 5), 900) if mode == "I;16" else picture.convert("L").convert(mode)
        with Raster.open(made) as raster:
            assert raster.rgb().shape[2] == 3
    for dtype in (bool, np.float16, np.int64):
        with Raster.open(np.eye(9).astype(dtype)) as raster:
            assert raster.read().shape == (1, 9, 9)


@pytest.mark.parametrize(
    ("driver", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("JP2OpenJPEG", "jp2"), ("COG", "tif")]
)
def test_formats(tmp_path: Path, driver: str, suffix: str) -> None:
    yy, xx = np.mgrid[:64, :64]
    array = np.stack([yy * 3, xx * 3, yy + xx]).astype(np.uint8)
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
    path = write(tmp_path / f"a.{suffix}", array, driver=driver, **lossless)
    with Raster.open(path) as raster:
        np.testing.assert_allclose(raster.rgb().astype(int), array.transpose(1, 2, 0), atol=8)
        assert raster.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_the_user_states_wins(tmp_path: Path) -> None:
    array = RNG.integers(0, 99, (4, 8, 8)).astype(np.uint8)
    path = write(tmp_path / "a.tif", array)
    mine = Georef("EPSG:32632", (2.0, 0.0, 4e5, 0.0, -2.0, 5e6))
    stated = Image(path=str(path), bands=("blue", "green", "red", "nir"), georef=mine, date="2020-01-02")
    with Raster.open(stated) as raster:
        assert raster.profile.name == "worldview4"
        assert raster.image.georef == mine
        assert raster.image.gsd_m == 2.0
        assert raster.image.date == "2020-01-02"
        np.testing.assert_array_equal(raster.rgb(), array[[2, 1, 0]].transpose(1, 2, 0))
    with Raster.open(path, sensor="rgbn") as raster:
        assert raster.image.bands[3] == "nir"


def test_a_near_infrared_band_marked_as_alpha_is_a_band(tmp_path: Path) -> None:
    array = RNG.integers(0, 255, (4, 40, 40)).astype(np.uint8)
    path = write(tmp_path / "chip.tif", array)
    with rasterio.open(path) as file:
        assert file.colorinterp[3] == ColorInterp.alpha  # what common writers do
    with Raster.open(path) as raster:
        assert raster.profile.name == "rgbn"
        assert raster.valid().all()
        np.testing.assert_array_equal(raster.read().data, array)
        assert "assumed" in raster.composite


def test_the_real_scenes() -> None:
    with Raster.open(SCENES / "spain_flood_s2.tif") as raster:
        assert raster.profile.name == "sentinel2"
        assert raster.image.bands[8] == "B8A"
        assert raster.image.gsd_m == pytest.approx(8.86, abs=0.01)
        assert 60 < raster.rgb(max_size_px=128).mean() < 200
    with Raster.open(SCENES / "spain_flood_s1.tif") as raster:
        assert raster.profile.name == "sentinel1"
        assert "in dB" in raster.composite
    with Raster.open(SCENES / "netherlands_town.tif") as raster:
        assert raster.image.gsd_m == pytest.approx(9.9, abs=0.1)


def test_no_warning_and_no_words_of_gdal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Raster.open(RNG.integers(0, 9, (3, 9, 9)).astype(np.uint8)) as raster:
            raster.rgb()
        path = tmp_path / "a.png"
        PIL.Image.new("RGB", (9, 9)).save(path)
        with Raster.open(path) as raster:
            raster.rgb()
    assert capfd.readouterr() == ("", "")


# VmHWM: ru_maxrss would also count the memory of the process that starts this one.
MEMORY = """
import sys
from pathlib import Path
from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.tiles import plan
with Raster.open(sys.argv[1]) as raster:
    seen = 0
    for tile in plan(raster.size_px, 2048, 0):
        seen += int(raster.read(tile.window).any())
    raster.rgb((8192, 8192, 12288, 12288))
    shape = raster.rgb(max_size_px=512).shape
peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
print(seen, *shape, int(peak) // 1024)
"""


def test_a_scene_of_20000_pixels_stays_under_500_mb(tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=20_000, height=20_000, count=3, dtype="uint8", crs="EPSG:32631",
        transform=from_origin(5e5, 5e6, 1, 1), tiled=True, blockxsize=512, blockysize=512, SPARSE_OK=True,
    ) as file:  # fmt: skip
        file.write(np.full((3, 512, 512), 77, np.uint8), window=rasterio.windows.Window(9216, 9216, 512, 512))
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    seen, *shape, megabytes = done.stdout.split()
    assert int(seen) >= 1
    assert shape == ["512", "512", "3"]
    assert int(megabytes) < 500, megabytes


def test_a_dense_read_goes_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", RNG.integers(0, 255, (3, 700, 900)).astype(np.uint8), tiled=True, blockxsize=64,
                 blockysize=64)  # fmt: skip
    monkeypatch.setattr("lhrs_chat.geo.decimate._CHUNK_BYTES", 64 * 64 * 3)
    largest = 0
    with Raster.open(path) as raster:
        stored = raster._stored

        def watch(extent: tuple[int, int, int, int], *rest: object) -> np.ma.MaskedArray:
            nonlocal largest
            largest = max(largest, (extent[2] - extent[0]) * (extent[3] - extent[1]))
            return stored(extent, *rest)

        monkeypatch.setattr(raster, "_stored", watch)
        assert raster.read(None, None, 100).shape == (3, 78, 100)
    assert largest == 64 * 64
    assert opening.MAX_READ_BYTES < 2**30


def test_one_bit_pictures_are_black_and_white(tmp_path: Path) -> None:
    drawn = np.zeros((40, 60), dtype=bool)
    drawn[10:20, 10:30] = True
    PIL.Image.fromarray(drawn).save(tmp_path / "drawn.png")
    with Raster.open(tmp_path / "drawn.png") as raster:
        assert "one-bit" in raster.composite
        np.testing.assert_array_equal(raster.rgb()[..., 0], drawn * 255)
