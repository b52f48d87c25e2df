"""DOTA 1.0, 1.5 and 2.0: aerial pictures with oriented boxes of 15, 16 or 18 classes, in `labelTxt` files.

A folder `train` and a folder `val`, each with `images/` and `labelTxt*/`, as the archives unpack. A label file may
begin with the lines `imagesource:` and `gsd:`; then each line is `x1 y1 x2 y2 x3 y3 x4 y4 class difficult`. Folders of
upright boxes (`..._reclabelTxt`, `..._hbb`) are passed over; of several versions the newest is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Sample, Targets

from . import Source, SourceOptions, _published

LICENCE = "academic use only (DOTA; imagery of Google Earth, GF-2, JL-1 and CycloMedia under their own terms)"
GET = "captain-whu.github.io/DOTA: folders train and val, each with images/ and labelTxt*/"

CLASSES_1_0 = (
    *("baseball diamond", "basketball court", "bridge", "ground track field", "harbor", "helicopter", "large vehicle"),
    *("plane", "roundabout", "ship", "small vehicle", "soccer ball field", "storage tank", "swimming pool"),
    "tennis court",
)
CLASSES = {
    "1.0": CLASSES_1_0,
    "1.5": (*CLASSES_1_0, "container crane"),
    "2.0": (*CLASSES_1_0, "airport", "container crane", "helipad"),
}
# Version 1.0 leaves out things of about ten pixels and less, so that these may be there untold.
UNTOLD_IN_1_0 = ("small vehicle", "ship")


class Labels(NamedTuple):
    """One label file, and the version of the set that it belongs to ("" where no folder names it)."""

    path: Path
    version: str
    split: str


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a picture with its boxes; a difficult one is named in `meta["difficult"]` by its place.

    Raises:
        DataError: no folder is given, or it holds no label files.
    """
    root = _published.root("dota", folder, GET)
    files = _label_files(root)
    if not files:
        raise _published.incomplete("dota", root, "labelTxt folder with .txt files", GET)
    pictures = _published.PictureFiles(root)
    entries = ((str(labels.path.relative_to(root)), labels) for labels in files)
    yield from _published.rows(entries, lambda labels: _row(labels, pictures), options)


def _label_files(root: Path) -> list[Labels]:
    by_split: dict[str, dict[str, list[Labels]]] = {}
    for path in sorted(root.rglob("*.txt")):
        folders = path.parent.relative_to(root.parent).as_posix()
        if "labelTxt" not in folders or "reclabelTxt" in folders or "hbb" in folders.lower():
            continue
        named = re.findall(r"v(\d\.\d)", folders)
        version = named[-1] if named else ""
        split = _published.split_of(path, root)
        by_split.setdefault(split, {}).setdefault(version, []).append(Labels(path, version, split))
    return [labels for versions in by_split.values() for labels in versions[max(versions)]]


def _row(labels: Labels, pictures: _published.PictureFiles) -> Sample:
    head, boxes, difficult = parse(labels.path.read_text(encoding="utf-8-sig"))
    path = pictures.find(labels.path.stem, labels.path)
    image = pictures.image(path, gsd_m=_gsd_m(head.get("gsd", "")), sensor=head.get("imagesource"))
    tile = labels.path.stem
    complete = list(CLASSES.get(labels.version, CLASSES_1_0))
    if labels.version in ("", "1.0"):
        complete = [label for label in complete if label not in UNTOLD_IN_1_0]
    meta = {
        "image_file": pictures.relative(path),
        "tile": tile,
        "complete": complete,
        "difficult": difficult,
        "labels_version": labels.version,
    }
    return Sample(
        id=f"dota/{tile}",
        images=(image,),
        task="facts",
        source="dota",
        licence=LICENCE,
        scene_id=f"dota/{tile}",
        targets=Targets(boxes=_published.inside(boxes, image.size_px)),
        split=labels.split,
        meta=meta,
    )


def parse(text: str) -> tuple[dict[str, str], list[Box], list[int]]:
    """Read a label file: its head (imagesource, gsd), its oriented boxes, and which of them are difficult.

    Raises:
        DataError: a line is neither.
        GeoError: a corner is not finite.
    """
    head: dict[str, str] = {}
    boxes: list[Box] = []
    difficult: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        key, colon, value = line.partition(":")
        words = line.split()
        if not words:
            continue
        if colon and not boxes and len(words) <= 2:
            head[key.strip().lower()] = value.strip()
            continue
        try:
            xs = [float(word) for word in words[:8]]
        except ValueError as error:
            raise DataError(f"line {number} is no box", found=line[:100]) from error
        if not 9 <= len(words) <= 10:
            raise DataError(f"line {number} is no box", found=line[:100], allowed="eight numbers, class, difficult")
        if words[9:] and words[9] != "0":
            difficult.append(len(boxes))
        corners = tuple(zip(xs[::2], xs[1::2], strict=True))
        boxes.append(Box.oriented(corners, "pixel", _published.spoken(words[8])))
    return head, boxes, difficult


def _gsd_m(text: str) -> float | None:
    """Metres a pixel, None where the head says `null` or nothing."""
    return float(text) if re.fullmatch(r"\d*\.?\d+(e-?\d+)?", text) and float(text) > 0 else None


SOURCE = Source(LICENCE, read, GET)
