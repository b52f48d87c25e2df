"""FAIR1M, and every set labelled in its XML: fine classes of aircraft, ships, vehicles, courts and roads.

Label files lie in a folder `labelXml` (or any other), pictures anywhere beside it: `train/part1/labelXml/0.xml` and
`train/part1/images/0.tif`. An object is `<possibleresult><name>` and `<points>` with four corners `x,y`, the first one
written again at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Sample, Targets

from . import Source, SourceOptions, _published, _xml

LICENCE = "CC BY-NC-SA 3.0, academic use (FAIR1M; imagery of Gaofen and Google Earth)"
GET = "gaofen-challenge.com/benchmark: labelXml/*.xml beside images/, of each part"

CLASSES = (
    *("Boeing737", "Boeing747", "Boeing777", "Boeing787", "A220", "A321", "A330", "A350", "C919", "ARJ21"),
    *("other airplane", "passenger ship", "motorboat", "fishing boat", "tugboat", "engineering ship"),
    *("liquid cargo ship", "dry cargo ship", "warship", "other ship", "small car", "bus", "cargo truck", "dump truck"),
    *("van", "trailer", "tractor", "excavator", "truck tractor", "other vehicle", "basketball court", "tennis court"),
    *("football field", "baseball field", "intersection", "roundabout", "bridge"),
)


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a picture with its oriented boxes.

    Raises:
        DataError: no folder is given, or it holds no label files.
    """
    root = _published.root("fair1m", folder, GET)
    labels = sorted(root.rglob("*.xml"))
    if not labels:
        raise _published.incomplete("fair1m", root, "labelXml/*.xml", GET)
    pictures = _published.PictureFiles(root)
    entries = ((str(path.relative_to(root)), path) for path in labels)
    yield from _published.rows(entries, lambda path: _row(path, pictures, root), options)


def _row(path: Path, pictures: _published.PictureFiles, root: Path) -> Sample:
    tree = _xml.parse(path)
    boxes = [_box(thing) for thing in tree.iter("object")]
    source = tree.find("source")
    file = pictures.find(path.stem, path)
    image = pictures.image(file, sensor=None if source is None else source.findtext("origin"))
    name = path.relative_to(root).with_suffix("").as_posix()  # numbers begin anew in each part
    return Sample(
        id=f"fair1m/{name}",
        images=(image,),
        task="facts",
        source="fair1m",
        licence=LICENCE,
        scene_id=f"fair1m/{name}",
        targets=Targets(boxes=_published.inside(boxes, image.size_px)),
        split=_published.split_of(path, root),
        meta={"image_file": pictures.relative(file), "tile": f"FAIR1M {name}", "complete": list(CLASSES)},
    )


def _box(thing: ElementTree.Element) -> Box:
    result = thing.find("possibleresult")
    label = _xml.text(thing if result is None else result, "name")
    if thing.findtext("coordinate", "pixel").strip() != "pixel":
        raise DataError("a box is not in pixels", found=thing.findtext("coordinate"), allowed="pixel")
    points = [_point(element.text or "") for element in thing.iterfind("points/point")]
    if len(points) == 5 and points[0] == points[-1]:
        points.pop()
    if len(points) != 4:
        raise DataError("an oriented box has four corners", found=len(points), allowed="4, or 5 with the first again")
    return Box.oriented(tuple(points), "pixel", _published.spoken(label))


def _point(text: str) -> tuple[float, float]:
    words = text.split(",")
    if len(words) != 2:
        raise DataError("<point> is x,y", found=text[:60])
    return _xml.as_number(words[0], "point"), _xml.as_number(words[1], "point")


SOURCE = Source(LICENCE, read, GET)
