"""Referring segmentation in RefCOCO's layout: `instances.json` with the regions, `refs(unc).p` with the expressions."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from rasterio.features import rasterize

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Row, read_json
from lhrs_chat.schema import Mask
from lhrs_chat.text import run_lengths

INSTANCES, REFS = "instances.json", "refs(unc).p"


@dataclass(frozen=True)
class Expression:
    """One expression: its place among all, the file of its picture, its words and the region it means."""

    place: int
    file: str
    text: str
    mask: Mask
    where: str


class _Plain(pickle.Unpickler):
    """Reads lists, dictionaries, texts and numbers; a file that names anything else is refused, so nothing runs."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read(folder: Path, split: str) -> Iterator[Expression]:
    """Yield the expressions of a split.

    Raises:
        DataError: a file is damaged or holds more than plain values, or a row is broken.
    """
    published = read_json(folder / INSTANCES)
    images = {row.word("id"): row for row in published.rows("images")}
    regions = {row.word("id"): row for row in published.rows("annotations")}
    with (folder / REFS).open("rb") as file:
        refs = _load(file, folder / REFS)
    place = 0
    for number, values in enumerate(refs):
        ref = Row(values, f"row {number} of {REFS}")
        if ref.text("split") != split:
            continue
        if ref.word("image_id") not in images:
            raise ref.bad("image_id", f"an id of images in {INSTANCES}")
        image = images[ref.word("image_id")]
        mask = _mask(ref, image, regions)
        for sentence in ref.rows("sentences"):
            yield Expression(place, image.text("file_name"), sentence.text("sent"), mask, sentence.where)
            place += 1


def _load(file: IO[bytes], path: Path) -> list[Any]:
    try:
        refs = _Plain(file, encoding="utf-8").load()
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, IndexError, KeyError, TypeError) as error:
        raise DataError(f"{path.name} cannot be read", found=str(error)[:200], allowed="plain values") from error
    if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
        raise DataError(f"{path.name} holds no list of rows", found=type(refs).__name__)
    return refs


def _mask(ref: Row, image: Row, regions: dict[str, Row]) -> Mask:
    """The region of an expression: of one annotation or of several joined; -1 stands for nothing at all."""
    ids = ref.values.get("ann_id")
    size = (int(image.number("height")), int(image.number("width")))
    inside = np.zeros(size, dtype=bool)
    for found in ids if isinstance(ids, list) else [ids]:
        if found == -1:
            continue
        if str(found) not in regions:
            raise ref.bad("ann_id", f"an id of annotations in {INSTANCES}")
        inside |= _inside(regions[str(found)], size)
    return Mask.from_array(inside)


def _inside(region: Row, size: tuple[int, int]) -> np.ndarray:
    """Polygons [[x, y, x, y, ...], ...] or run lengths as an array; a pixel is inside where its centre is."""
    parts = region.values.get("segmentation")
    inside = np.zeros(size, dtype=bool)
    try:
        for part in parts if isinstance(parts, list) else [parts]:
            if isinstance(part, dict):
                array = run_lengths.from_coco(part).to_array()
            else:
                ring = np.asarray(part, dtype=float).reshape(-1, 2)
                shape = {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]}
                array = rasterize([shape], out_shape=size).astype(bool)
            inside |= array
    except (DataError, ValueError, TypeError, IndexError) as error:
        raise region.bad("segmentation", "polygons or run lengths of the picture's size") from error
    return inside
