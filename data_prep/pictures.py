"""Pictures that a source or builder made itself: kept as files below the data set, named by what they show.

A data set that is made from another one has them too, as further names of the same files: each folder can be moved, or
the one before it removed. Pictures of a published set or of the user stay where they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import warnings

import numpy as np
from PIL import Image as PilImage

from lhrs_chat import storage
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Image, Sample
from lhrs_chat.storage import Location

_MAGIC = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"II*\0": "tif", b"MM\0*": "tif", b"RIFF": "webp"}
_MADE = re.compile(r"images/([0-9a-f]{2})/\1[0-9a-f]{22}\.[a-z]+$")


def keep(sample: Sample, folder: Location) -> Sample:
    """Write the pixels that a row carries below `folder`, and tell all its images as they are told in this folder."""
    return dataclasses.replace(sample, images=tuple(_kept(image, sample.id, folder) for image in sample.images))


def _kept(image: Image, row: str, folder: Location) -> Image:
    if image.path is not None:
        made = _MADE.search(image.path)
        if made and storage.is_file(image.path) and not storage.is_url(folder) and not storage.is_url(image.path):
            storage.link(image.path, storage.join(folder, made[0]))
            return dataclasses.replace(image, path=made[0])
        return dataclasses.replace(image, path=storage.within(image.path, folder))
    size_px = image.size_px
    if image.array is not None:
        is_plain = image.array.dtype == np.uint8 and len(image.array) in (1, 3) and image.georef is None
        data, suffix = (_png(image.array), "png") if is_plain else (_geotiff(image, image.array), "tif")
        size_px = (image.array.shape[2], image.array.shape[1])
    else:
        data = image.data or b""
        suffix = next((suffix for magic, suffix in _MAGIC.items() if data.startswith(magic)), "")
        if not suffix:
            raise DataError(f"row {row!r} holds bytes of no known picture", found=data[:8])
    name = hashlib.sha256(data).hexdigest()[:24]
    path = f"images/{name[:2]}/{name}.{suffix}"
    place = storage.join(folder, path)
    if not storage.is_file(place):
        with storage.replacing(place) as stream:
            stream.write(data)
    return dataclasses.replace(image, array=None, data=None, path=path, size_px=size_px)


def _png(pixels: np.ndarray) -> bytes:
    """Encode `pixels`: (1 or 3, H, W), uint8."""
    stream = io.BytesIO()
    shown = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    PilImage.fromarray(np.ascontiguousarray(shown)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _geotiff(image: Image, pixels: np.ndarray) -> bytes:
    """Encode `pixels`: (C, H, W), of any type, with the place and the bands that the image tells."""
    from rasterio.crs import CRS
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile
    from rasterio.transform import Affine

    place = (
        {}
        if image.georef is None
        else {"crs": CRS.from_user_input(image.georef.crs), "transform": Affine(*image.georef.transform)}
    )
    count, height, width = pixels.shape
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(
            driver="GTiff", count=count, height=height, width=width, dtype=pixels.dtype, compress="deflate", **place
        ) as dataset:
            dataset.write(pixels)
            if len(image.bands) == count:
                dataset.descriptions = image.bands
        return bytes(memory.read())
