"""DIOR and DIOR-R: 800-pixel aerial pictures of 20 classes, boxes upright or oriented, in Pascal VOC files.

`Annotations/Horizontal Bounding Boxes/*.xml` or `Annotations/Oriented Bounding Boxes/*.xml` (the latter are read where
both are there), pictures in `JPEGImages-trainval` and `JPEGImages-test`, splits in `train.txt`, `val.txt`, `test.txt`
anywhere below the folder. Without these files, pictures of the folder `...-test` test and all others train.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from lhrs_chat.schema import XYXY, Box, Sample, Targets

from . import SPLITS, Source, SourceOptions, _published, _xml

LICENCE = "research use only (DIOR states no licence; imagery of Google Earth)"
GET = "gcheng-nwpu.github.io (DIOR, DIOR-R): Annotations/*/*.xml, JPEGImages-*/, Main/*.txt"

# the set writes some of its names in one word
SPOKEN = {
    "baseballfield": "baseball field",
    "basketballcourt": "basketball court",
    "golffield": "golf field",
    "groundtrackfield": "ground track field",
    "storagetank": "storage tank",
    "tenniscourt": "tennis court",
    "trainstation": "train station",
}
CLASSES = (
    *("airplane", "airport", "baseball field", "basketball court", "bridge", "chimney", "dam"),
    *("expressway service area", "expressway toll station", "golf field", "ground track field", "harbor", "overpass"),
    *("ship", "stadium", "storage tank", "tennis court", "train station", "vehicle", "windmill"),
)
_CORNERS = ("left_top", "right_top", "right_bottom", "left_bottom")


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a picture with its boxes.

    Raises:
        DataError: no folder is given, or it holds no label files.
    """
    root = _published.root("dior", folder, GET)
    labels: dict[str, Path] = {}
    for path in sorted(root.rglob("*.xml"), key=lambda path: ("riented" in path.parent.name, path)):
        labels[path.stem] = path
    if not labels:
        raise _published.incomplete("dior", root, "Annotations/*/*.xml", GET)
    pictures = _published.PictureFiles(root)
    splits = _splits(root)
    entries = ((str(path.relative_to(root)), path) for _, path in sorted(labels.items()))
    yield from _published.rows(entries, lambda path: _row(path, pictures, splits, root), options)


def _splits(root: Path) -> dict[str, str]:
    return {stem: split for split in SPLITS for path in root.rglob(f"{split}.txt") for stem in _published.listed(path)}


def _row(path: Path, pictures: _published.PictureFiles, splits: dict[str, str], root: Path) -> Sample:
    tree = _xml.parse(path)
    file = pictures.find(path.stem, path)
    image = pictures.image(file)
    boxes = [_box(thing) for thing in tree.iter("object")]
    difficult = [place for place, thing in enumerate(tree.iter("object")) if thing.findtext("difficult") == "1"]
    return Sample(
        id=f"dior/{path.stem}",
        images=(image,),
        task="facts",
        source="dior",
        licence=LICENCE,
        scene_id=f"dior/{path.stem}",
        targets=Targets(boxes=_published.inside(boxes, image.size_px)),
        split=splits.get(path.stem) or _published.split_of(file, root),
        meta={
            "image_file": pictures.relative(file),
            "tile": f"DIOR {path.stem}",
            "complete": list(CLASSES),
            "difficult": difficult,
        },
    )


def _box(thing: ElementTree.Element) -> Box:
    name = _xml.text(thing, "name")
    label = SPOKEN.get(name.lower(), _published.spoken(name))
    turned = thing.find("robndbox")
    if turned is not None:
        points = tuple((_xml.number(turned, f"x_{c}"), _xml.number(turned, f"y_{c}")) for c in _CORNERS)
        return Box.oriented(points, "pixel", label)
    upright = thing.find("bndbox")
    if upright is None:
        upright = thing
    xyxy: XYXY = (
        _xml.number(upright, "xmin"),
        _xml.number(upright, "ymin"),
        _xml.number(upright, "xmax"),
        _xml.number(upright, "ymax"),
    )
    return Box(xyxy, "pixel", label)


SOURCE = Source(LICENCE, read, GET)
