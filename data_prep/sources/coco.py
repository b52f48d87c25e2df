"""Sets in the JSON of COCO: upright boxes, polygons, run lengths, crowds, captions; one row a picture.

Every `*.json` below the folder that holds `images` and `annotations` is read; file names of pictures are looked up
below the folder. The licence of a row is the one the file names for its picture.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Pictures, Row, read_json, reason
from lhrs_chat.schema import Box, Image, Mask, Sample, Targets
from lhrs_chat.text.run_lengths import from_coco

from . import Source, SourceOptions, _published

LICENCE = "as the file names it for each picture"
GET = "a folder with annotations/*.json and the pictures that they name"
UNKNOWN = "not stated by the file: treat as research use only"


class Picture(NamedTuple):
    """One picture of a file with what is told about it."""

    file: Path
    row: Row
    annotations: list[Row]
    names: Mapping[int, str]
    licences: Mapping[int, str]
    tells_boxes: bool


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a picture of each file.

    A crowd, whose members are not told apart, is in `meta["crowd"]` (places among the boxes), and its class is not
    complete.

    Raises:
        DataError: no folder is given, or it holds no such file.
    """
    root = _published.root("coco", folder, GET)
    files = [path for path in sorted(root.rglob("*.json")) if _is_coco(path)]
    if not files:
        raise _published.incomplete("coco", root, "*.json with images and annotations", GET)
    pictures = Pictures((root, *sorted(path for path in root.rglob("*") if path.is_dir())))
    entries = ((f"{entry.row.where} of {entry.file.name}", entry) for entry in _entries(files, options))
    yield from _published.rows(entries, lambda entry: _row(entry, pictures, root), options)


def _is_coco(path: Path) -> bool:
    """Whether a file begins as an object with a key of COCO; other JSON may lie beside it."""
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        head = stream.read(4096)
    return re.match(r'\s*\{\s*"(images|annotations|categories|info|licenses|type)"', head) is not None


def _entries(files: Sequence[Path], options: SourceOptions) -> Iterator[Picture]:
    for path in files:
        try:
            table = read_json(path)
            names = {int(row.number("id")): row.text("name") for row in _rows(table, "categories")}
            licences = {int(row.number("id")): _licence(row) for row in _rows(table, "licenses")}
            found, images = table.rows("annotations"), table.rows("images")
        except DataError as error:
            options.reject(path.name, reason(error, path.name))
            continue
        annotations: dict[object, list[Row]] = defaultdict(list)
        for row in found:
            annotations[row.values.get("image_id")].append(row)
        lost = set(annotations) - {row.values.get("id") for row in images}
        for row in (row for number in lost for row in annotations[number]):
            options.reject(f"{row.where} of {path.name}", f"no such picture: image_id {row.values.get('image_id')}")
        tells_boxes = any("bbox" in row.values for row in found)
        for row in images:
            yield Picture(path, row, annotations[row.values.get("id")], names, licences, tells_boxes)


def _rows(table: Row, name: str) -> list[Row]:
    return table.rows(name) if table.values.get(name) else []


def _licence(row: Row) -> str:
    address = row.values.get("url")
    return f"{row.text('name')} ({address})" if address else row.text("name")


def _row(entry: Picture, pictures: Pictures, root: Path) -> Sample:
    path = pictures.path(entry.row.text("file_name"), entry.row.where)
    size = int(entry.row.number("width")), int(entry.row.number("height"))
    boxes: list[Box] = []
    masks: list[Mask] = []
    captions: list[str] = []
    crowd: list[int] = []
    for row in entry.annotations:
        if "caption" in row.values:
            captions.append(row.text("caption"))
            continue
        label = _label(row, entry.names)
        if row.values.get("iscrowd") == 1:
            crowd.append(len(boxes))
        boxes.append(_box(row, label))
        mask = _mask(row, label)
        if mask is not None:
            masks.append(mask)
    unsure = {boxes[place].label for place in crowd}
    complete = [_published.spoken(name) for name in entry.names.values()] if entry.tells_boxes else []
    number = entry.row.values.get("license")
    name = f"coco/{entry.file.stem}/{int(entry.row.number('id'))}"
    return Sample(
        id=name,
        images=(Image(path=str(path), size_px=size, bands=_published.RGB),),
        task="facts",
        source="coco",
        licence=entry.licences.get(number, UNKNOWN) if isinstance(number, int) else UNKNOWN,
        scene_id=f"coco/{path.relative_to(root).with_suffix('').as_posix()}",
        targets=Targets(boxes=_published.inside(boxes, size), masks=tuple(masks), captions=tuple(captions)),
        split=_published.split_of(entry.file.parent / entry.file.stem / "row", root),
        meta={
            "image_file": path.relative_to(root).as_posix(),
            "complete": [label for label in complete if label not in unsure],
            "crowd": crowd,
        },
    )


def _label(row: Row, names: Mapping[int, str]) -> str:
    category = int(row.number("category_id"))
    if category not in names:
        raise row.bad("category_id", "an id of categories")
    return _published.spoken(names[category])


def _box(row: Row, label: str) -> Box:
    values = _numbers(row.values.get("bbox"), row, "bbox")
    if len(values) != 4 or min(values[2:]) < 0:
        raise row.bad("bbox", "x, y, width, height")
    x, y, width, height = values
    return Box((x, y, x + width, y + height), "pixel", label)


def _mask(row: Row, label: str) -> Mask | None:
    held = row.values.get("segmentation")
    if not held:
        return None
    if isinstance(held, dict):
        mask = from_coco(held)
        return Mask("pixel", rle=mask.rle, shape_px=mask.shape_px, label=label)
    if not isinstance(held, list):
        raise row.bad("segmentation", "polygons or run lengths")
    rings = []
    for ring in held:
        xs = _numbers(ring, row, "segmentation")
        if len(xs) < 6 or len(xs) % 2:
            raise DataError(
                f"{row.where}: a polygon has three corners or more", found=len(xs), allowed="x, y, x, y, ..."
            )
        rings.append(tuple(zip(xs[::2], xs[1::2], strict=True)))
    return Mask("pixel", polygons=tuple(rings), label=label)


def _numbers(values: Any, row: Row, name: str) -> list[float]:
    if not isinstance(values, list) or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise row.bad(name, "a list of numbers")
    return [float(value) for value in values]


SOURCE = Source(LICENCE, read, GET)
