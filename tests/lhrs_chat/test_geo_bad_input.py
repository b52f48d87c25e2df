from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import rasterio
from rasterio.shutil import copy
from rasterio.transform import from_origin

from lhrs_chat.errors import GeoError, RasterError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.vector import feature_collection
from lhrs_chat.schema import Answer, Box, Georef, Image, Provenance

NOISE = np.random.default_rng(1).integers(0, 255, (3, 300, 300)).astype(np.uint8)


def tif(path: Path, array: np.ndarray, **options: object) -> Path:
    profile: dict[str, object] = {"driver": "GTiff", "crs": "EPSG:32631", "transform": from_origin(5e5, 5e6, 10, 10)}
    profile |= {"count": array.shape[0], "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
    with rasterio.open(path, "w", **profile | options) as file:
        file.write(array)
    return path


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def bare_tiff(width: int, height: int, samples: int, tile: int = 0) -> bytes:
    """Make a TIFF of 16 stored bytes that declares whatever size it is told."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8 if tile else 1), (262, 3, 1)]
    if tile:
        tags += [(277, 3, samples), (322, 4, tile), (323, 4, tile), (324, 4, 200), (325, 4, 16)]
    else:
        tags += [(273, 4, 200), (277, 3, samples), (278, 4, height), (279, 4, 16)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + body + struct.pack("<I", 0)
    return head.ljust(200, b"\0") + bytes(16)


def missing(folder: Path) -> Path:
    return folder / "nothing.tif"


def a_folder(folder: Path) -> Path:
    return folder


def empty_file(folder: Path) -> Path:
    path = folder / "empty.tif"
    path.write_bytes(b"")
    return path


def text_file(folder: Path) -> Path:
    path = folder / "text.tif"
    path.write_text("this is not an image at all\n" * 50)
    return path


def truncated_header(folder: Path) -> Path:
    return cut(tif(folder / "header.tif", NOISE), 0.0001)


def truncated_tiff(folder: Path) -> Path:
    return cut(tif(folder / "cut.tif", NOISE, compress="deflate"), 0.5)


def truncated_plain_tiff(folder: Path) -> Path:
    return cut(tif(folder / "cut.tif", NOISE), 0.5)


def truncated_cog(folder: Path) -> Path:
    """Its overviews, which come first in the file, could still be read."""
    copy(tif(folder / "plain.tif", NOISE), folder / "cut.tif", driver="COG", blocksize=128)
    with rasterio.open(folder / "cut.tif") as file:
        assert file.overviews(1)
    return cut(folder / "cut.tif", 0.9)


def truncated_jpeg(folder: Path) -> Path:
    PIL.Image.fromarray(NOISE.transpose(1, 2, 0)).save(folder / "cut.jpg")
    return cut(folder / "cut.jpg", 0.5)


def truncated_png(folder: Path) -> Path:
    PIL.Image.fromarray(NOISE.transpose(1, 2, 0)).save(folder / "cut.png")
    return cut(folder / "cut.png", 0.5)


def bomb(folder: Path) -> Path:
    path = folder / "bomb.tif"
    path.write_bytes(bare_tiff(200_000, 200_000, 1))
    return path


def bomb_of_one_block(folder: Path) -> Path:
    path = folder / "block.tif"
    path.write_bytes(bare_tiff(40_000, 40_000, 1, tile=40_000))
    return path


def zero_bands(folder: Path) -> Path:
    path = folder / "zero.tif"
    path.write_bytes(bare_tiff(10, 10, 0))
    return path


def a_list_of_files(folder: Path) -> Path:
    tif(folder / "secret.tif", NOISE)
    path = folder / "list.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{folder / 'secret.tif'}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


def all_nodata(folder: Path) -> Path:
    return tif(folder / "void.tif", np.zeros((3, 20, 20), np.uint8), nodata=0)


def all_nan(folder: Path) -> Path:
    return tif(folder / "nan.tif", np.full((1, 20, 20), np.nan, np.float32))


CASES: list[tuple[Callable[[Path], Path], str]] = [
    (missing, "no such image file"),
    (a_folder, "a folder"),
    (empty_file, "is empty"),
    (text_file, "not an image"),
    (truncated_header, "not an image"),
    (truncated_tiff, "cut off"),
    (truncated_plain_tiff, "cut off"),
    (truncated_cog, "cut off"),
    (truncated_jpeg, "cut off"),
    (truncated_png, "cut off"),
    (bomb, "far more pixels"),
    (bomb_of_one_block, "blocks too large"),
    (zero_bands, "no bands|not an image"),
    (a_list_of_files, "not an image"),
    (all_nodata, "no valid pixel"),
    (all_nan, "no valid pixel"),
]


@pytest.mark.parametrize(("make", "words"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_bad_files_give_one_clear_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: Callable[[Path], Path], words: str
) -> None:
    path = make(tmp_path)
    capfd.readouterr()
    with pytest.raises(RasterError, match=words) as caught, Raster.open(path) as raster:
        raster.rgb()
    assert caught.value.found is not None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "is empty"),
        (b"GIF? no", "not an image"),
        (np.zeros((0, 5, 5), np.uint8), "no bands"),
        (np.zeros((3, 0, 5), np.uint8), "no pixels"),
        (np.zeros(7), "three axes"),
        (np.array([[["a"]]]), "holds numbers"),
        (42, "cannot be opened from this"),
    ],
)
def test_bad_memory_gives_one_clear_error(source: object, words: str) -> None:
    with pytest.raises(RasterError, match=words):
        Raster.open(source)


def test_bytes_are_checked_like_files(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match="far more pixels"):
        Raster.open(bomb(tmp_path).read_bytes())
    with pytest.raises(RasterError, match="cut off"):
        Raster.open(truncated_jpeg(tmp_path).read_bytes())
    with pytest.raises(RasterError, match="cut off"):
        Raster.open(PIL.Image.open(io.BytesIO(truncated_png(tmp_path).read_bytes())))
    with pytest.raises(RasterError, match="not an image"):
        Raster.open(a_list_of_files(tmp_path).read_bytes())


def test_windows_bands_and_sizes_are_checked(tmp_path: Path) -> None:
    with Raster.open(tif(tmp_path / "a.tif", NOISE)) as raster:
        for window in ((5, 5, 5, 9), (9, 0, 4, 5)):
            with pytest.raises(RasterError, match="window is empty"):
                raster.read(window)
        with pytest.raises(RasterError, match="not inside"):
            raster.rgb((-1, 0, 5, 5))
        with pytest.raises(RasterError, match="not inside"):
            raster.rgb((0, 0, 301, 5))
        with pytest.raises(RasterError, match="no such band"):
            raster.read(None, [3])
        with pytest.raises(RasterError, match="too small"):
            raster.read(None, None, 0)


def test_a_read_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    grid: dict[str, object] = {"width": 15_000, "height": 15_000, "count": 3, "dtype": "uint8", "crs": "EPSG:32631"}
    grid["transform"] = from_origin(5e5, 5e6, 10, 10)
    with rasterio.open(path, "w", driver="GTiff", tiled=True, SPARSE_OK=True, **grid):
        pass
    with Raster.open(path) as raster:
        with pytest.raises(RasterError, match="too much to read at once"):
            raster.rgb()
        assert raster.read((0, 0, 100, 100)).shape == (3, 100, 100)


def test_sensors_are_checked(tmp_path: Path) -> None:
    path = tif(tmp_path / "a.tif", NOISE)
    with pytest.raises(RasterError, match="did you mean sentinel2"):
        Raster.open(path, sensor="sentinel-2")
    with pytest.raises(RasterError, match="that many bands"):
        Raster.open(path, sensor="sentinel1")
    with pytest.raises(RasterError, match="number of bands"):
        Raster.open(Image(path=str(path), bands=("red",)))


def test_no_map_answer_without_a_known_place(tmp_path: Path) -> None:
    answer = Answer("here", Provenance("m"), boxes=(Box((1, 1, 5, 5), "pixel"),))
    with Raster.open(NOISE) as raster, pytest.raises(GeoError, match="no georeference"):
        feature_collection(answer, raster.image)
    with Raster.open(tif(tmp_path / "no_crs.tif", NOISE, crs=None)) as raster:
        assert raster.image.georef is None
    site = 'LOCAL_CS["site grid",UNIT["metre",1],AXIS["X",EAST],AXIS["Y",NORTH]]'
    with Raster.open(tif(tmp_path / "site.tif", NOISE, crs=site)) as raster:
        assert raster.rgb().any()  # it can be looked at; only the map cannot be answered
        with pytest.raises(GeoError, match="longitude and latitude"):
            feature_collection(answer, raster.image)
    made_up = Image(array=NOISE, size_px=(300, 300), georef=Georef("EPSG:424242", (1, 0, 0, 0, -1, 0)))
    with pytest.raises(GeoError, match="not known"):
        feature_collection(answer, made_up)
    with Raster.open(made_up) as raster:
        assert raster.image.gsd_m is None
