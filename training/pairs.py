"""Pictures and captions for a CLIP, and regions of them: random crops, and labelled boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image as PilImage

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.geo.frames import convert
from lhrs_chat.schema import XYXY, Sample

from .boxes import check_boxes, size_px_of
from .recipe import ClipPart, DataPart
from .rows import file_of


@dataclass(frozen=True)
class Pair:
    """A picture, its captions, and its labelled boxes in shares of it."""

    id: str
    source: str
    task: str
    file: str
    captions: tuple[str, ...]
    boxes: tuple[tuple[str, XYXY], ...]


@dataclass(frozen=True)
class Visit:
    """A picture at one place of a run."""

    pair: Pair
    number: int


def pairs(part: DataPart, clip: ClipPart, split: str) -> Iterator[Pair]:
    """Read the pairs of a split.

    Raises:
        DataError: a row has no caption, or a box lies outside its picture.
    """
    for sample in samples.read(part.folder):
        if sample.split == split and part.share(sample.source):
            yield _pair(sample, clip)


def _pair(sample: Sample, clip: ClipPart) -> Pair:
    check_boxes(sample)
    said = tuple(turn.text for turn in sample.messages if turn.role == "assistant")[:1]
    captions = tuple(text for text in sample.targets.captions or said if text.strip())
    if not captions:
        raise DataError("a row for a CLIP has a caption", found=sample.id, allowed="targets.captions, or an answer")
    file = file_of(sample)
    size = size_px_of(sample.images[0]) if sample.targets.boxes else (1, 1)
    boxes = []
    for box in sample.targets.boxes:
        unit = convert(box, "unit", size_px=size, georef=sample.images[0].georef).xyxy
        area_px = (unit[2] - unit[0]) * (unit[3] - unit[1]) * size[0] * size[1]
        if box.label and clip.box_area_px[0] <= area_px <= clip.box_area_px[1]:
            boxes.append((box.label, unit))
    return Pair(sample.id, sample.source, sample.task, file, captions, tuple(boxes))


def crops(clip: ClipPart, rng: np.random.Generator) -> list[XYXY]:
    """Draw random crops: an even share of the picture's area, a shape whose logarithm is even."""
    drawn: list[XYXY] = []
    for _ in range(clip.regions):
        area = rng.uniform(*clip.crop_area)
        shape = math.exp(rng.uniform(*np.log(clip.crop_shape)))
        width, height = min(1.0, math.sqrt(area * shape)), min(1.0, math.sqrt(area / shape))
        left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        drawn.append((left, top, left + width, top + height))
    return drawn


def cut(picture: PilImage.Image, box: XYXY) -> PilImage.Image:
    """Cut a region, given in shares of the picture, at least one pixel wide."""
    width, height = picture.size
    left, top = min(int(box[0] * width), width - 1), min(int(box[1] * height), height - 1)
    right, bottom = max(left + 1, math.ceil(box[2] * width)), max(top + 1, math.ceil(box[3] * height))
    return picture.crop((left, top, min(right, width), min(bottom, height)))
