"""Opening what a user hands in: files, bytes, arrays and pictures; what is refused, and with which words."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile

from lhrs_chat.errors import RasterError

# Formats that hold their own pixels. VRT and others that point at further files are left out on purpose: a picture
# that somebody uploads must not be able to name files of this machine.
DRIVERS = ("GTiff", "PNG", "JPEG", "JP2OpenJPEG", "WEBP", "BMP", "HFA")
FORMATS = "GeoTIFF, COG, JPEG 2000, PNG, JPEG, WebP, BMP, Erdas Imagine"
MAX_READ_BYTES = 512 * 2**20  # of one read; larger scenes are read by windows or decimated
MAX_BLOCK_BYTES = 2**30  # of one stored block, which is always decoded whole
BOMB_BYTES = 4 * 10**9
BOMB_RATIO = 2000
_CACHE_MB = 64
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}  # GDAL fills what is missing of these with grey and says nothing
_TAIL_BYTES = 2**20


@contextmanager
def quiet() -> Iterator[None]:
    """GDAL with a small block cache and without words of its own: its errors reach the user as RasterError."""
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
            yield


def damaged(name: str, problem: Exception) -> RasterError:
    """Return the error of a file that opens but cannot be read."""
    return RasterError(
        "the image is damaged or cut off: its pixels cannot be read",
        found=f"{name} ({problem})",
        next_step="copy or download the file again and compare its size with the source",
    )


def open_path(path: Path) -> DatasetReader:
    """Open a local file.

    Raises:
        RasterError: it is missing, empty, not an image, damaged or a bomb.
    """
    if path.is_dir():
        raise RasterError("this is a folder, not an image", found=path, allowed=FORMATS)
    if not path.is_file():
        raise RasterError(
            "no such image file", found=path, next_step="check the path; a remote file must be copied first"
        )
    stored = path.stat().st_size
    if stored == 0:
        raise RasterError("the image file is empty", found=path)
    try:
        with quiet():
            dataset = DatasetReader(os.fspath(path.resolve()), driver=list(DRIVERS))
    except RasterioError as problem:
        raise _not_an_image(str(path), problem) from problem
    except PermissionError as problem:
        raise RasterError("the image file may not be read", found=path) from problem
    _check(dataset, stored, str(path))
    with path.open("rb") as file:
        file.seek(max(0, stored - _TAIL_BYTES))
        _check_end(dataset, file.read(), stored, str(path))
    return dataset


def open_bytes(data: bytes, name: str = "bytes") -> tuple[MemoryFile, DatasetReader]:
    """Open an encoded image in memory.

    Raises:
        RasterError: it is empty, not an image, damaged or a bomb.
    """
    if not data:
        raise RasterError("the image is empty", found=f"{name}, 0 bytes")
    memory = MemoryFile(data)
    try:
        with quiet():
            dataset = memory.open(driver=list(DRIVERS))
        _check(dataset, len(data), name)
        _check_end(dataset, data[-_TAIL_BYTES:], len(data), name)
    except RasterioError as problem:
        memory.close()
        raise _not_an_image(name, problem) from problem
    except RasterError:
        memory.close()
        raise
    return memory, dataset


def open_array(array: np.ndarray, alpha: np.ndarray | None = None) -> tuple[MemoryFile, DatasetReader]:
    """Put an array behind the same reader as files.

    Args:
        array: (C, H, W), any number type.
        alpha: (H, W), uint8, or None.

    Raises:
        RasterError: it is empty or not made of numbers.
    """
    if array.ndim != 3:
        raise RasterError("an image array has three axes", found=array.shape, allowed="(C, H, W), (H, W, 3) or (H, W)")
    if array.shape[0] == 0:
        raise RasterError("the image has no bands", found=f"array of shape {array.shape}")
    if array.size == 0:
        raise RasterError("the image has no pixels", found=f"array of shape {array.shape}")
    if array.dtype.kind not in "buifc":
        raise RasterError("an image array holds numbers", found=array.dtype, allowed="bool, integer, float, complex")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    count, height, width = array.shape
    memory = MemoryFile()
    with quiet():
        bands = count + (alpha is not None)
        with memory.open(
            driver="GTiff",
            width=width,
            height=height,
            count=bands,
            dtype=array.dtype,
            BIGTIFF="IF_SAFER",
            interleave="band",
        ) as target:
            meaning = [ColorInterp.undefined] * bands
            if count == 1:
                meaning[0] = ColorInterp.gray
            if alpha is not None:
                meaning[-1] = ColorInterp.alpha
            target.colorinterp = meaning
            target.write(np.ascontiguousarray(array), list(range(1, count + 1)))
            if alpha is not None:
                target.write(alpha.astype(array.dtype), bands)
        return memory, memory.open()


def as_bands(array: np.ndarray) -> np.ndarray:
    """Bring (H, W) and (H, W, 3) to (C, H, W); three axes are otherwise taken as (C, H, W)."""
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3 and array.shape[2] == 3 and (array.shape[0] != 3 or array.shape[1] > 3):
        return np.ascontiguousarray(array.transpose(2, 0, 1))
    return array


def from_picture(picture: PIL.Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels (C, H, W) and alpha (H, W) of a PIL picture of any mode.

    Raises:
        RasterError: its file is damaged.
    """
    try:
        if picture.mode in ("PA", "La", "RGBa") or (picture.mode == "P" and "transparency" in picture.info):
            picture = picture.convert("RGBA")
        elif picture.mode in ("1",):
            picture = picture.convert("L")
        elif picture.mode not in ("L", "LA", "RGB", "RGBA", "I", "F", "I;16", "I;16B", "I;16L"):
            picture = picture.convert("RGB")
        pixels = np.asarray(picture)
    except (OSError, ValueError, SyntaxError) as problem:
        raise damaged(f"picture of mode {picture.mode}", problem) from problem
    if pixels.dtype.byteorder == ">":
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    if picture.mode in ("LA", "RGBA"):
        return np.ascontiguousarray(pixels[..., :-1].transpose(2, 0, 1)), np.ascontiguousarray(pixels[..., -1])
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)), None


def sha256_of_file(path: Path) -> str:
    """Hash the bytes of a file without holding them."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_array(array: np.ndarray) -> str:
    """Hash shape, type and values."""
    digest = hashlib.sha256(f"{array.shape} {array.dtype.str}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _not_an_image(name: str, problem: Exception) -> RasterError:
    return RasterError(
        "this is not an image that can be read, or it is damaged or cut off",
        found=f"{name} ({problem})" if name not in str(problem) else str(problem),
        allowed=FORMATS,
    )


def _check(dataset: DatasetReader, stored_bytes: int, name: str) -> None:
    """Refuse what cannot be read within sane memory, before a single pixel is read."""
    if dataset.count == 0:
        inside = len(dataset.subdatasets)
        dataset.close()
        raise RasterError(
            "the image has no bands",
            found=f"{name}: 0 bands, {inside} data sets inside",
            next_step="export one data set as GeoTIFF" if inside else "",
        )
    item = max(np.dtype(_numpy_type(text)).itemsize for text in dataset.dtypes)
    declared = dataset.width * dataset.height * dataset.count * item
    if declared > BOMB_BYTES and declared > BOMB_RATIO * stored_bytes:
        size = f"{dataset.width} x {dataset.height} x {dataset.count}"
        dataset.close()
        raise RasterError(
            "the file declares far more pixels than it can hold and is not opened",
            found=f"{name}: {size} values, {declared / 1e9:.1f} GB, in a file of {stored_bytes} bytes",
            allowed=f"up to {BOMB_RATIO} times the file size, or {BOMB_BYTES / 1e9:.0f} GB",
        )
    rows, columns = dataset.block_shapes[0]
    block = rows * columns * item * (dataset.count if dataset.interleaving is not None else 1)
    if block > MAX_BLOCK_BYTES:
        dataset.close()
        raise RasterError(
            "the image is stored in blocks too large to decode",
            found=f"{name}: blocks of {columns} x {rows} pixels",
            allowed=f"{MAX_BLOCK_BYTES / 2**20:.0f} MiB a block",
            next_step="write it as a tiled GeoTIFF, for instance with gdal_translate -co TILED=YES",
        )


def _numpy_type(name: str) -> str:
    return {"complex_int16": "complex64"}.get(name, name)


def _check_end(dataset: DatasetReader, tail: bytes, stored_bytes: int, name: str) -> None:
    """Refuse a file that was cut off, also where what is left of it could be read, such as overviews of a COG."""
    driver = dataset.driver
    if _ENDS.get(driver, b"") not in tail:
        dataset.close()
        raise damaged(name, ValueError(f"the end mark of the {driver} file is missing"))
    needed = _end_of_blocks(dataset) if driver == "GTiff" else 0
    if needed > stored_bytes:
        dataset.close()
        raise damaged(name, ValueError(f"it needs {needed} bytes at least and has {stored_bytes}"))


def _end_of_blocks(dataset: DatasetReader) -> int:
    """Where the last of the corner blocks of a GeoTIFF ends, in bytes; the last block is one of them."""
    rows, columns = dataset.block_shapes[0]
    ends = [0]
    for band in {1, dataset.count}:
        for x in {0, (dataset.width - 1) // columns}:
            for y in {0, (dataset.height - 1) // rows}:
                place = [dataset.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", band) for what in ("OFFSET", "SIZE")]
                if None not in place:
                    ends.append(sum(int(number) for number in place))
    return max(ends)
