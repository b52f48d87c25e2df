"""WebDataset: tar files `shard-00000.tar` of pictures and rows, read one after the other by any loader of the format.

A row is `NUMBER.json`, the row as this project stores it, and `NUMBER.png` or `.jpg`; of several pictures the next
ones are `NUMBER.1.png`, `NUMBER.2.png` ... `meta["pictures"]` says what was done to get each. Tar headers hold no time
and no owner, so that the same rows give the same bytes.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from lhrs_chat import storage
from lhrs_chat.samples import grouped, to_line
from lhrs_chat.schema import Sample

from . import Export, _conversations

SHARD_ROWS = 1000
RGB = ("red", "green", "blue")


def write(samples: Iterable[Sample], folder: Path) -> int:
    """Write the shards; return the number of rows.

    Raises:
        RasterError: a picture cannot be read.
    """
    count = 0
    for number, group in enumerate(grouped(samples, SHARD_ROWS)):
        with (
            storage.replacing(folder / f"shard-{number:05d}.tar") as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive,
        ):
            for sample in group:
                for name, data in _members(sample, f"{count:09d}"):
                    head = tarfile.TarInfo(name)
                    head.size = len(data)
                    archive.addfile(head, io.BytesIO(data))
                count += 1
    return count


def _members(sample: Sample, key: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of what a row becomes, the pictures first."""
    images = []
    made = []
    for place, image in enumerate(sample.images):
        picture = _conversations.encode(image)
        name = f"{key}.{place}{picture.suffix}" if place else f"{key}{picture.suffix}"
        yield name, picture.data
        made.append(picture.made)
        kept = image if picture.made == "copied" else replace(image, bands=RGB, sensor=None)
        images.append(replace(kept, path=name, data=None, array=None, size_px=picture.size_px))
    meta = {**sample.meta, "pictures": made}
    yield f"{key}.json", to_line(replace(sample, images=tuple(images), meta=meta)).encode()


EXPORT = Export(write)
