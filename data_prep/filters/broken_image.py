"""Images that cannot be read: missing, empty, cut off, a web page, or of another format than their name says."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from lhrs_chat.errors import LhrsError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Image, Sample

from . import Filter, FilterOptions
from ._pictures import KEPT, SIDE_PX, images

_HEAD_BYTES = 512
_PAGE = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|\?xml)", re.IGNORECASE)
_FORMATS: tuple[tuple[bytes, str, frozenset[str]], ...] = (
    (b"\xff\xd8\xff", "JPEG", frozenset({".jpg", ".jpeg", ".jpe"})),
    (b"\x89PNG\r\n\x1a\n", "PNG", frozenset({".png"})),
    (b"II*\x00", "TIFF", frozenset({".tif", ".tiff"})),
    (b"MM\x00*", "TIFF", frozenset({".tif", ".tiff"})),
    (b"II+\x00", "BigTIFF", frozenset({".tif", ".tiff"})),
    (b"MM\x00+", "BigTIFF", frozenset({".tif", ".tiff"})),
    (b"BM", "BMP", frozenset({".bmp"})),
    (b"GIF8", "GIF", frozenset({".gif"})),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000", frozenset({".jp2", ".j2k"})),
)


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge whether every image opens and can be decoded."""
    if not sample.images:
        return "the row has no image"
    for name, image in images(sample):
        reason = problem(image, decode=True)
        if reason:
            return f"{name} {reason}"
    return None


def problem(image: Image, *, decode: bool) -> str | None:
    """Tell why an image cannot be read; None where it can. Without `decode` only its head and end are looked at."""
    if image.path is None:
        return _undecodable(image, decode)
    try:
        changed = Path(image.path).stat()
        return _of_file(image.path, image.sensor, (changed.st_mtime_ns, changed.st_size), decode)
    except OSError as error:
        return f"cannot be opened: {error.strerror}"


@lru_cache(maxsize=KEPT)
def _of_file(path: str, sensor: str | None, changed: tuple[int, int], decode: bool) -> str | None:
    with Path(path).open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    return _wrong_bytes(head, Path(path).suffix.lower()) or _undecodable(Image(path=path, sensor=sensor), decode)


def _undecodable(image: Image, decode: bool) -> str | None:
    try:
        with Raster.open(image) as raster:
            if decode:
                raster.read(max_size_px=SIDE_PX)
    except LhrsError as error:
        return f"cannot be read: {error.what}"
    return None


def _wrong_bytes(head: bytes, suffix: str) -> str | None:
    """What the first bytes of a file tell against it."""
    if not head:
        return "is an empty file"
    if _PAGE.match(head):
        return "is a web page or XML, not an image"
    for start, name, suffixes in _FORMATS:
        if head.startswith(start) and suffix not in suffixes:
            return f"is {name}, but its name ends with {suffix or 'nothing'!r}"
    return None


FILTER = Filter(check)
