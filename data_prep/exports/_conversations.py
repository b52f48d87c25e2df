"""Conversations for other programs: a mark for each picture, boxes written out, pictures that any program opens."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import PIL.Image

from lhrs_chat import storage
from lhrs_chat.errors import DataError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Box, Image, Part, Sample
from lhrs_chat.text import grounding

log = logging.getLogger(__name__)

IMAGE = "<image>"
DIALECT = "brackets1"
PICTURES = "pictures.jsonl"
_PLAIN = {"JPEG": ".jpg", "PNG": ".png"}


class Picture(NamedTuple):
    """An encoded picture: its bytes, the suffix of its file, width and height, and what was done to get it."""

    data: bytes
    suffix: str
    size_px: tuple[int, int]
    made: str


class Shown(NamedTuple):
    """One picture as it was exported: its file in the folder, and its width and height."""

    file: str
    size_px: tuple[int, int]


class Turns(NamedTuple):
    """One row: speaker and text of each turn, and the pictures in the order of their marks."""

    said: list[tuple[str, str]]
    pictures: list[Shown]


def encode(image: Image) -> Picture:
    """Bring an image to a file that any program opens.

    JPEG and PNG files of 8 bits stay as they are. All others (GeoTIFF, many bands, more bits, pixels in memory) become
    PNG as `Raster.rgb` shows them.

    Raises:
        RasterError: it cannot be read.
    """
    if image.path is not None:
        try:
            data = Path(image.path).read_bytes()
            with PIL.Image.open(io.BytesIO(data)) as opened:
                if opened.mode in ("RGB", "L") and opened.format in _PLAIN:
                    return Picture(data, _PLAIN[opened.format], opened.size, "copied")
        except (OSError, PIL.Image.DecompressionBombError) as error:
            log.debug("%s is left to the raster reader: %s", image.path, error)
    with Raster.open(image) as raster:
        stream = io.BytesIO()
        PIL.Image.fromarray(raster.rgb()).save(stream, "PNG")
        return Picture(stream.getvalue(), ".png", raster.size_px, raster.composite)


class Album:
    """The pictures of an export, each written once below `images/`; `pictures.jsonl` says what was done to each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_path: dict[str, Shown] = {}
        self._notes: dict[str, dict[str, Any]] = {}

    def add(self, image: Image) -> Shown:
        """Write a picture, unless it is there.

        Raises:
            RasterError: it cannot be read.
        """
        if image.path is not None and image.path in self._by_path:
            return self._by_path[image.path]
        made = encode(image)
        shown = Shown(f"images/{hashlib.sha256(made.data).hexdigest()[:24]}{made.suffix}", made.size_px)
        if shown.file not in self._notes:
            with storage.replacing(self._folder / shown.file) as stream:
                stream.write(made.data)
            origin = image.path or "pixels of the row"
            self._notes[shown.file] = {"file": shown.file, "from": origin, "made": made.made, "size_px": made.size_px}
        if image.path is not None:
            self._by_path[image.path] = shown
        return shown

    def close(self) -> None:
        """Write `pictures.jsonl`."""
        with storage.replacing(self._folder / PICTURES) as stream:
            for note in self._notes.values():
                stream.write(json.dumps(note, ensure_ascii=False).encode() + b"\n")


def turns(sample: Sample, album: Album, write_box: Callable[[Box, Shown], str]) -> Turns:
    """Write out the messages of a row.

    A picture of the row that no turn shows is shown before the first question.

    Args:
        sample: a row with messages.
        album: takes the pictures.
        write_box: writes a region of a picture.

    Raises:
        DataError: the row has no messages, or a text holds the mark of a picture.
        RasterError: a picture cannot be read.
    """
    if not sample.messages:
        raise DataError(
            "a row without a conversation", found=f"{sample.id}, task {sample.task}", next_step="build questions first"
        )
    exported = [album.add(image) for image in sample.images]
    parts = [part for message in sample.messages for part in message.content if part.type == "image"]
    order = [part.image or 0 for part in parts] or list(range(len(exported)))
    said: list[tuple[str, str]] = []
    for message in sample.messages:
        pieces = [_text(part, exported, write_box, sample.id) for part in message.content]
        if not parts and message.role == "user" and all(role != "user" for role, _ in said):
            pieces = [*[f"{IMAGE}\n"] * len(exported), *pieces]
        said.append((message.role, "".join(pieces).strip()))
    return Turns(said, [exported[number] for number in order])


def _text(part: Part, pictures: list[Shown], write_box: Callable[[Box, Shown], str], row: str) -> str:
    if part.type == "image":
        return f"{IMAGE}\n"
    if part.region is not None:
        return write_box(part.region, pictures[part.image or 0])
    if IMAGE in part.text:
        raise DataError(f"a text holds the mark of a picture, {IMAGE}", found=f"{row}: {part.text[:80]}")
    return part.text


def in_text(box: Box, shown: Shown) -> str:
    """A box as LLaVA writes it: shares of width and height, three decimals."""
    return grounding.write(box, DIALECT, shown.size_px)


def about(sample: Sample) -> dict[str, str]:
    """What a row is and may be used for: readers of the format pass over these keys."""
    return {
        "task": sample.task,
        "source": sample.source,
        "licence": sample.licence,
        "scene_id": sample.scene_id,
        "split": sample.split,
    }


def write_list(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write a JSON list row by row, wholly or not at all; return the number of rows."""
    count = 0
    with storage.replacing(path) as stream:
        for row in rows:
            stream.write(b",\n" if count else b"[\n")
            stream.write(json.dumps(row, ensure_ascii=False).encode())
            count += 1
        stream.write(b"\n]\n" if count else b"[]\n")
    return count


def exported(
    samples: Iterable[Sample], folder: Path, row: Callable[[Sample, Album], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Make the row of each sample, and the list of pictures at the end."""
    album = Album(folder)
    for sample in samples:
        yield row(sample, album)
    album.close()
