"""Square pictures cut from larger frames, with the boxes, masks and georeference that belong to them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image as PilImage
from rasterio.warp import transform_bounds

from lhrs_chat.errors import DataError
from lhrs_chat.geo.reference import part_of
from lhrs_chat.geo.stretch import PERCENTILES, limits, to_uint8
from lhrs_chat.schema import Box, Georef, Image, Mask, Number, Sample, Targets

from . import SourceOptions

Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the frame
NEEDS = "annotations.jsonl, and the pictures that it names"
TRAIN_SHARE = 0.55  # of a frame's width, from the left
TEST_FROM = 0.65  # the strip between the two belongs to neither
WHOLE = 0.9  # a box with this share of its area inside a chip counts as whole
SLIVER = 0.1  # a box with less than this share inside is not seen


@dataclass(frozen=True)
class Frame:
    """One picture to cut from. `rgb`: (H, W, 3) uint8."""

    rgb: np.ndarray
    georef: Georef | None = None
    sensor: str | None = None
    date: str | None = None


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Read `annotations.jsonl` of a set.

    Raises:
        DataError: the file is missing or a line is no JSON object with an id.
    """
    path = folder / "annotations.jsonl"
    if not path.is_file():
        raise DataError("this set has no annotations", found=str(path), next_step="give the folder of the set")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number} is no JSON", found=error.msg) from error
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            raise DataError(f"{path}, line {number} has no id", found=line[:80], allowed='{"id": "...", ...}')
        rows.append(row)
    return rows


def field(row: dict[str, Any], name: str) -> Any:
    """Return a field that a row must have.

    Raises:
        DataError: the row lacks it.
    """
    if name not in row:
        raise DataError(f"row {row['id']} lacks a field", found=", ".join(row), allowed=name)
    return row[name]


def take(samples: Iterable[Sample], options: SourceOptions) -> Iterator[Sample]:
    """Keep the samples of the wanted split, at most `options.count` of them."""
    left = math.inf if options.count is None else options.count
    if left == 0:
        return
    for sample in samples:
        if options.split is not None and sample.split != options.split:
            continue
        yield sample
        left -= 1
        if left <= 0:
            return


def shuffled(rows: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Return the rows in an order drawn from the seed, so that a small count holds many classes."""
    mixed = list(rows)
    random.Random(seed).shuffle(mixed)
    return mixed


def picture(path: Path) -> np.ndarray:
    """Open a JPEG or PNG as (H, W, 3) uint8.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        with PilImage.open(path) as opened:
            return np.asarray(opened.convert("RGB"))
    except (FileNotFoundError, OSError) as error:
        raise DataError("a picture of the set cannot be read", found=f"{path}: {error}") from error


def raster(path: Path, size_px: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray, Georef | None]:
    """Read a GeoTIFF or JPEG 2000: values (C, H, W) as float32, valid pixels (H, W) and the georeference.

    With `size_px` (width, height) the nearest pixels are taken to fill that size; the georeference is the file's own.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        with rasterio.open(path) as opened:
            shape = (opened.count, *(size_px[::-1] if size_px else (opened.height, opened.width)))
            values = opened.read(out_shape=shape).astype("float32")
            valid = (opened.dataset_mask(out_shape=shape[1:]) > 0) & np.isfinite(values).all(axis=0)
            crs = opened.crs.to_string() if opened.crs else ""
            georef = Georef(crs, tuple(opened.transform)[:6]) if crs else None
    except rasterio.errors.RasterioIOError as error:
        raise DataError("a raster of the set cannot be read", found=f"{path}: {error}") from error
    return values, valid, georef


def stretch(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Bring 1 or 3 bands (C, H, W) to (H, W, 3) uint8, stretched as `lhrs_chat.geo` does it."""
    shown = np.ma.masked_array(values, np.broadcast_to(~valid, values.shape))
    low, high = limits(shown, PERCENTILES["percentile"])
    scaled = to_uint8(shown, low, high).transpose(1, 2, 0)
    return np.ascontiguousarray(np.repeat(scaled, 3, axis=2) if scaled.shape[2] == 1 else scaled)


def grid(area: Window, side_px: int, stride_px: int) -> list[Window]:
    """List the square windows that fit into `area`, row by row; the last of a line touches its edge."""
    x0, y0, x1, y1 = area
    if x1 - x0 < side_px or y1 - y0 < side_px:
        return []
    columns = sorted({*range(x0, x1 - side_px + 1, stride_px), x1 - side_px})
    lines = sorted({*range(y0, y1 - side_px + 1, stride_px), y1 - side_px})
    return [(x, y, x + side_px, y + side_px) for y in lines for x in columns]


def halves(width: int, height: int, *, rows: bool = False) -> dict[str, Window]:
    """Divide one frame into a west part that trains and an east part that tests (`rows`: north and south).

    The strip between the two, a tenth of the frame, belongs to neither.
    """
    length = height if rows else width
    first, second = int(length * TRAIN_SHARE), math.ceil(length * TEST_FROM)
    if rows:
        return {"train": (0, 0, width, first), "test": (0, second, width, height)}
    return {"train": (0, 0, first, height), "test": (second, 0, width, height)}


def cut(rgb: np.ndarray, window: Window, size_px: int) -> np.ndarray:
    """Cut a window of `rgb` (H, W, 3) and bring it to (3, size_px, size_px) uint8."""
    x0, y0, x1, y1 = window
    piece = PilImage.fromarray(np.ascontiguousarray(rgb[y0:y1, x0:x1]))
    if piece.size != (size_px, size_px):
        piece = piece.resize((size_px, size_px), PilImage.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(piece).transpose(2, 0, 1))


def boxes_in(boxes: Sequence[Box], window: Window, size_px: int) -> tuple[tuple[Box, ...], int]:
    """Carry frame boxes into a chip; also tell how many its edge cuts so that it is unclear whether they count."""
    x0, y0, x1, y1 = window
    scale = size_px / (x1 - x0)
    kept: list[Box] = []
    unclear = 0
    for box in boxes:
        left, top, right, bottom = box.xyxy
        inside = (max(left, x0), max(top, y0), min(right, x1), min(bottom, y1))
        area = (right - left) * (bottom - top)
        if area <= 0 or inside[0] >= inside[2] or inside[1] >= inside[3]:
            continue
        share = (inside[2] - inside[0]) * (inside[3] - inside[1]) / area
        if share < SLIVER:
            continue
        if share < WHOLE:
            unclear += 1
        if share >= 0.5:
            a, b, c, d = inside
            moved = ((a - x0) * scale, (b - y0) * scale, (c - x0) * scale, (d - y0) * scale)
            kept.append(Box(moved, "pixel", box.label))
    return tuple(kept), unclear


def best_window(candidates: Sequence[Window], boxes: Sequence[Box], size_px: int) -> Window:
    """Return the window that cuts through the fewest boxes; the first of equals."""
    return min(candidates, key=lambda window: boxes_in(boxes, window, size_px)[1])


def counts(boxes: Sequence[Box], labels: Sequence[str]) -> tuple[Number, ...]:
    """Count the boxes of each label, zeros included."""
    return tuple(Number(sum(box.label == label for box in boxes), "", "computed", label) for label in labels)


def in_turn(readers: Sequence[Iterator[Sample]]) -> Iterator[Sample]:
    """Yield one row of each reader in turn until all are read."""
    waiting = list(readers)
    while waiting:
        left: list[Iterator[Sample]] = []
        for reader in waiting:
            sample = next(reader, None)
            if sample is not None:
                left.append(reader)
                yield sample
        waiting = left


def share(mask: np.ndarray, label: str) -> Number:
    """Return how much of `mask` (H, W) bool is set, in percent of its area with one decimal."""
    return Number(round(100 * float(mask.mean()), 1), "%", "computed", label)


def chip_mask(mask: np.ndarray, window: Window, size_px: int, label: str) -> Mask:
    """Cut `mask` (H, W) bool to a window and bring it to the size of the chip."""
    x0, y0, x1, y1 = window
    piece = PilImage.fromarray(np.ascontiguousarray(mask[y0:y1, x0:x1]))
    return Mask.from_array(np.asarray(piece.resize((size_px, size_px), PilImage.Resampling.NEAREST)), label)


def chip_image(frame: Frame, window: Window, size_px: int) -> Image:
    """Cut a chip and give it the georeference of its own pixels."""
    georef = None
    gsd_m = None
    if frame.georef is not None:
        scale = (window[2] - window[0]) / size_px
        georef = part_of(frame.georef, window[0], window[1], scale)
        gsd_m = ground_px_m(georef)
    return Image(
        array=cut(frame.rgb, window, size_px),
        size_px=(size_px, size_px),
        bands=("red", "green", "blue"),
        sensor=frame.sensor,
        gsd_m=gsd_m,
        date=frame.date,
        georef=georef,
    )


def whole_picture(
    root: Path, row: dict[str, Any], source: str, licence: str, targets: Targets, meta: dict[str, Any]
) -> Sample:
    """Make the sample of a colour picture that is taken as it is: one row of a set's annotations is one scene."""
    width, height = field(row, "size")
    file = str(field(row, "file"))
    return Sample(
        id=str(row["id"]),
        images=(Image(path=str(root / file), size_px=(width, height), bands=("red", "green", "blue")),),
        task="facts",
        source=source,
        licence=licence,
        scene_id=str(row["id"]),
        targets=targets,
        split=str(field(row, "split")),
        meta={"image_file": file, **meta},
    )


def ground_px_m(georef: Georef) -> float | None:
    """Return the height of a pixel on the ground in metres; degrees count 111,320 m."""
    crs = rasterio.crs.CRS.from_user_input(georef.crs)
    step = math.hypot(georef.transform[1], georef.transform[4])
    if crs.is_geographic:
        return round(step * 111_320, 3)
    return round(step * float(crs.linear_units_factor[1]), 3)


def footprint(image: Image) -> tuple[float, float, float, float] | None:
    """Return the lon/lat bounds (west, south, east, north) of a georeferenced picture."""
    if image.georef is None or image.size_px is None:
        return None
    a, b, c, d, e, f = image.georef.transform
    width, height = image.size_px
    xs = [c, c + a * width, c + b * height, c + a * width + b * height]
    ys = [f, f + d * width, f + e * height, f + d * width + e * height]
    west, south, east, north = transform_bounds(image.georef.crs, "EPSG:4326", min(xs), min(ys), max(xs), max(ys))
    return (round(west, 6), round(south, 6), round(east, 6), round(north, 6))
