"""What is wrong with a data set: each check judges one row and tells its findings by kind."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from lhrs_chat.errors import GeoError, LhrsError
from lhrs_chat.geo.frames import RELATIVE, convert
from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Box, Image, Mask, Sample
from lhrs_chat.storage import Location
from lhrs_chat.text import answers

from .filters.broken_image import problem
from .filters.caption_facts import absent_named
from .filters.turns import out_of_order, unshown
from .sources import SPLITS
from .whole_set import batches

Severity = Literal["error", "warning"]
Told = tuple[str, str]
"""The kind of a finding, and what was found in this row."""

KINDS: dict[str, tuple[Severity, str]] = {
    "row": ("error", "cannot be read"),
    "id": ("error", "have the id of an earlier row"),
    "licence": ("error", "have no licence"),
    "origin": ("error", "have no source or no scene id"),
    "split": ("error", "are of no known split"),
    "image": ("error", "have an image that is missing or cannot be read"),
    "roles": ("error", "do not say which role each of their images has"),
    "shown": ("error", "never show their image"),
    "turns": ("error", "have turns out of order"),
    "kind": ("error", "are facts with messages, or instructions without"),
    "outside": ("error", "have a box or mask outside their image"),
    "frame": ("error", "have a box or mask in the wrong frame"),
    "mask": ("error", "have a mask of another size than their image"),
    "index": ("error", "have boxes or masks of an image that is not there"),
    "absent": ("error", "name a class that their facts exclude"),
    "answer": ("warning", "end with another answer than their targets tell"),
    "choices": ("warning", "have an answer that is none of their choices"),
    "scale": ("warning", "have pixel boxes that look like another frame, judged over their source"),
    "edge": ("warning", "have an oriented box or a polygon that crosses the edge of their image"),
}
_OF_ONE = {"have": "has", "are": "is", "do": "does", "show": "shows", "name": "names", "end": "ends"}
_SLACK_PX = 1.0
_FAR_OUT = 1.25  # times the size of the image: what lies farther out is more likely of another frame than outside
_EXAMPLES = 5
_LEAST_BOXES = 50  # of a source, before its frame is judged
_FAR = 1.5  # times the limit of a frame that every image measures, before its boxes must have passed it


@dataclass
class Finding:
    """One kind of fault: how many rows have it, and the first of them."""

    kind: str
    severity: Severity
    count: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The sentence that is printed."""
        words = KINDS[self.kind][1]
        if self.count != 1:
            return f"{self.count} rows {words}"
        return "1 row " + re.sub(r"\b(have|are|do|show|name|end)\b", lambda verb: _OF_ONE[verb[1]], words, count=1)


@dataclass
class Report:
    """All findings of a data set."""

    rows: int
    findings: list[Finding]

    @property
    def errors(self) -> int:
        """Findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)


def validate(source: Location, *, decode: bool) -> Report:
    """Judge every row of a data set.

    Args:
        source: the data set.
        decode: decode every image whole, not only its head.

    Raises:
        DataError: there are no rows.
    """
    found = {kind: Finding(kind, severity) for kind, (severity, _) in KINDS.items()}
    seen: set[str] = set()
    scales: dict[str, _Scale] = {}
    rows = 0
    for batch in batches(source):
        rows += len(batch.rows) + len(batch.dropped)
        for dropped in batch.dropped:
            _note(found["row"], f"{dropped.id}: {dropped.reason}")
        for row in batch.rows:
            told = list(itertools.chain.from_iterable(check(row) for check in CHECKS))
            told += _image_files(row, decode)
            if row.id in seen:
                told.append(("id", "again"))
            seen.add(row.id)
            scales.setdefault(row.source, _Scale()).add(row)
            for kind, what in dict(reversed(told)).items():
                _note(found[kind], f"{row.id}: {what}" if what else row.id)
    for origin, scale in scales.items():
        if guess := scale.guess():
            found["scale"].count += scale.rows
            found["scale"].examples.append(f"source {origin}: no value above {scale.largest:g}, like {guess}")
    return Report(rows, [finding for finding in found.values() if finding.count])


@dataclass
class _Scale:
    """The pixel boxes of one source together: one of them alone may well lie in a corner."""

    rows: int = 0
    boxes: int = 0
    largest: float = 0.0
    least_side_px: int = sys.maxsize

    def add(self, row: Sample) -> None:
        """Take note of the boxes of a row."""
        boxes = [box for box in row.targets.boxes if box.frame == "pixel"]
        size_px = (row.images[0].size_px or _size_of(row.images[0].path or "")) if row.images else None
        if boxes and size_px is not None:
            self.rows += 1
            self.boxes += len(boxes)
            self.largest = max(self.largest, *(max(box.xyxy) for box in boxes))
            self.least_side_px = min(self.least_side_px, *size_px)

    def guess(self) -> str:
        """The frame that the boxes look like; empty where they look like pixels or are few."""
        if self.boxes < _LEAST_BOXES:
            return ""
        fits = (name for name, limit in RELATIVE.items() if self.largest <= limit < self.least_side_px / _FAR)
        return next(fits, "")


def _note(finding: Finding, example: str) -> None:
    finding.count += 1
    if len(finding.examples) < _EXAMPLES:
        finding.examples.append(example)


def _image_files(row: Sample, decode: bool) -> Iterator[Told]:
    if not row.images:
        yield "image", "no image"
    for number, image in enumerate(row.images):
        reason = problem(image, decode=decode)
        if reason is not None:
            yield "image", f"image {number} {reason} ({image.path})"


def _record(row: Sample) -> Iterator[Told]:
    """Where a row comes from and what it is."""
    if not row.licence.strip():
        yield "licence", ""
    if not row.source.strip() or not row.scene_id.strip():
        yield "origin", "no source" if not row.source.strip() else "no scene id"
    if row.split not in SPLITS:
        yield "split", row.split
    if (row.task == "facts") == bool(row.messages):
        yield "kind", f"task {row.task!r} with {len(row.messages)} messages"
    roles = row.meta.get("image_roles")
    if roles is not None and len(roles) != len(row.images):
        yield "roles", f"{len(roles)} roles, {len(row.images)} images"


def _conversation(row: Sample) -> Iterator[Told]:
    """The order of the turns, the images they show, and the last answer."""
    order, shown, absent = out_of_order(row), unshown(row), absent_named(row)
    if order is not None:
        yield "turns", order
    if shown is not None:
        yield "shown", shown
    if absent is not None:
        yield "absent", absent
    answer = row.targets.answer
    if answer is None or not row.messages:
        return
    if order is None and _plain(answer) != _plain(row.messages[-1].text):
        yield "answer", f"{row.messages[-1].text!r}, the targets tell {answer!r}"
    choices = row.targets.choices
    chosen = answer in choices or answers.choice(answer, choices) or answers.several(answer, choices)
    if choices and not chosen:
        yield "choices", repr(answer)


def _plain(text: str) -> str:
    """Letters and digits alone: what stands between regions and their commas differs."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _regions(row: Sample) -> Iterator[Told]:
    """Boxes and masks: their image, their frame, their place and size."""
    told: tuple[tuple[str, Sequence[Box | Mask]], ...] = (("box", row.targets.boxes), ("mask", row.targets.masks))
    for name, regions in told:
        images = row.meta.get(f"{name}_images") or [0] * len(regions)
        if len(images) != len(regions) or not all(0 <= index < len(row.images) for index in images):
            yield "index", f"{name}_images is {images}, for {len(regions)} of them and {len(row.images)} images"
            continue
        for region, index in zip(regions, images, strict=True):
            yield from _region(region, row.images[index])
    for part in (part for message in row.messages for part in message.content):
        if part.region is not None and 0 <= (part.image or 0) < len(row.images):
            yield from _region(part.region, row.images[part.image or 0])


def _region(region: Box | Mask, image: Image) -> Iterator[Told]:
    size_px = image.size_px or _size_of(image.path or "")
    if size_px is None:
        return
    if isinstance(region, Mask):
        if region.shape_px is not None and region.shape_px != (size_px[1], size_px[0]):
            yield "mask", f"{region.shape_px[1]} x {region.shape_px[0]}, the image is {size_px[0]} x {size_px[1]}"
        for ring in region.polygons or ():
            xs, ys = zip(*ring, strict=True)
            envelope = Box((min(xs), min(ys), max(xs), max(ys)), region.frame)
            yield from _placed(envelope, size_px, image, loose=True)
    else:
        yield from _placed(region, size_px, image, loose=region.points is not None)


def _placed(box: Box, size_px: tuple[int, int], image: Image, *, loose: bool) -> Iterator[Told]:
    """Whether a box lies in its image; if not, which frame its numbers look like. A loose one may cross the edge."""
    if box.frame == "model":
        yield "frame", "frame model says nothing without the model's input"
        return
    try:
        x1, y1, x2, y2 = convert(box, "pixel", size_px=size_px, georef=image.georef).xyxy
    except GeoError as error:
        yield "frame", f"frame {box.frame}: {error.what}"
        return
    width, height = size_px
    where = f"{tuple(round(v, 2) for v in box.xyxy)} in frame {box.frame}, the image is {width} x {height} pixels"
    beyond = max(-x1, -y1, x2 - width, y2 - height)
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height or beyond > _SLACK_PX:
        guess = _looks_like(box, size_px)
        if guess and (x2 > _FAR_OUT * width or y2 > _FAR_OUT * height):
            yield "frame", f"{where}; it looks like {guess}"
        elif loose and x2 > 0 and y2 > 0 and x1 < width and y1 < height:
            yield "edge", where
        else:
            yield "outside", where
    elif box.frame == "pixel" and max(box.xyxy) <= 1 and min(size_px) > 1 and x2 > x1 and y2 > y1:
        yield "frame", f"{where}; it looks like unit"


def _looks_like(box: Box, size_px: tuple[int, int]) -> str:
    """The frame in which the numbers of a box that lies outside would lie inside; empty where there is none."""
    x1, y1, x2, y2 = box.xyxy
    if min(x1, y1) < 0:
        return ""
    if box.frame == "pixel":
        return next((name for name, limit in RELATIVE.items() if limit > 1 and max(x2, y2) <= limit), "")
    larger = {name: limit for name, limit in RELATIVE.items() if limit > RELATIVE.get(box.frame, float("inf"))}
    fitting = next((name for name, limit in sorted(larger.items(), key=lambda row: row[1]) if max(x2, y2) <= limit), "")
    return fitting or ("pixel" if x2 <= size_px[0] and y2 <= size_px[1] else "")


@lru_cache(maxsize=1024)
def _size_of(path: str) -> tuple[int, int] | None:
    """Size of an image file from its head; None where it cannot be read, which is another finding."""
    if not Path(path).is_file():
        return None
    try:
        with Raster.open(path) as raster:
            return raster.size_px
    except LhrsError:
        return None


CHECKS: tuple[Callable[[Sample], Iterator[Told]], ...] = (_record, _conversation, _regions)
