"""xView2 (xBD): pairs of pictures before and after a disaster, every building outlined and its damage told.

`images/NAME_pre_disaster.png`, `images/NAME_post_disaster.png` and `labels/` of the same names with `.json`, in folders
such as `train`, `tier3`, `hold` and `test`. A label file tells each outline twice, in pixels and in longitude and
latitude; the place of the picture is fitted to the two.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Row, read_json
from lhrs_chat.geo.frames import clip
from lhrs_chat.schema import Box, Georef, Image, Mask, Number, Sample, Targets

from . import Source, SourceOptions, _chips, _published

LICENCE = "CC BY-NC-SA 4.0 (xBD; imagery of the Maxar Open Data programme)"
GET = "xview2.org/dataset: labels/*_disaster.json beside images/, of train, tier3, hold and test"

DAMAGE = {
    "no-damage": "undamaged building",
    "minor-damage": "building with minor damage",
    "major-damage": "building with major damage",
    "destroyed": "destroyed building",
    "un-classified": "building of unknown damage",
}
FIT_PX = 2.0  # a place that misses an outline by more is not taken


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a pair: buildings of the first picture, the same with their damage in the second, counts.

    Raises:
        DataError: no folder is given, or it holds no label files.
    """
    root = _published.root("xview2", folder, GET)
    labels = sorted(root.rglob("*_post_disaster.json"))
    if not labels:
        raise _published.incomplete("xview2", root, "labels/*_post_disaster.json", GET)
    pictures = _published.PictureFiles(root)
    entries = ((str(path.relative_to(root)), path) for path in labels)
    yield from _published.rows(entries, lambda path: _row(path, pictures, root), options)


def _row(after: Path, pictures: _published.PictureFiles, root: Path) -> Sample:
    name = after.name.removesuffix("_post_disaster.json")
    before = after.with_name(f"{name}_pre_disaster.json")
    pages = read_json(before), read_json(after)
    images = tuple(_image(path, page, pictures) for path, page in zip((before, after), pages, strict=True))
    masks: list[Mask] = []
    boxes: list[Box] = []
    place: list[int] = []
    for number, (page, image) in enumerate(zip(pages, images, strict=True)):
        for mask in _buildings(page, damage=number == 1):
            box = _box(mask, image.size_px)
            if box is not None:
                masks.append(mask)
                boxes.append(box)
                place.append(number)
    disaster = pages[1].row("metadata")
    counts = Counter(box.label for box, number in zip(boxes, place, strict=True) if number == 1)
    numbers = [Number(counts[label], "", "computed", label) for label in DAMAGE.values() if counts[label]]
    unknown = counts[DAMAGE["un-classified"]] > 0
    return Sample(
        id=f"xview2/{name}",
        images=images,
        task="facts",
        source="xview2",
        licence=LICENCE,
        scene_id=f"xview2/{name}",
        targets=Targets(
            labels=(_published.spoken(disaster.text("disaster_type")),),
            boxes=tuple(boxes),
            masks=tuple(masks),
            numbers=(Number(place.count(0), "", "computed", "building"), *numbers),
        ),
        split=_published.split_of(after, root),
        footprint=_chips.footprint(images[0]),
        meta={
            "image_roles": ["before", "after"],
            "image_file": pictures.relative(Path(images[0].path or "")),
            "tile": name,
            "disaster": disaster.values.get("disaster", ""),
            "mask_images": place,
            "box_images": place,
            "complete": ["building"] if unknown else ["building", *list(DAMAGE.values())[:4]],
        },
    )


def _image(labels: Path, page: Row, pictures: _published.PictureFiles) -> Image:
    about = page.row("metadata")
    path = pictures.find(labels.stem, labels)
    gsd = about.values.get("gsd")
    return Image(
        path=str(path),
        size_px=(int(about.number("width")), int(about.number("height"))),
        bands=_published.RGB,
        sensor=str(about.values["sensor"]) if about.values.get("sensor") else None,
        gsd_m=float(gsd) if isinstance(gsd, int | float) and gsd > 0 else None,
        date=str(about.values.get("capture_date", ""))[:10] or None,
        georef=_place(page),
    )


def _outlines(page: Row, frame: str) -> dict[str, shapely.Polygon]:
    outlines = {}
    for row in page.row("features").rows(frame):
        try:
            shape = shapely.from_wkt(row.text("wkt"))
        except shapely.errors.GEOSException as error:
            raise row.bad("wkt", "a polygon as well-known text") from error
        if not isinstance(shape, shapely.Polygon) or shape.is_empty:
            raise row.bad("wkt", "a polygon")
        outlines[row.row("properties").text("uid")] = shape
    return outlines


def _buildings(page: Row, damage: bool) -> Iterator[Mask]:
    told = {row.row("properties").text("uid"): row.row("properties") for row in page.row("features").rows("xy")}
    for uid, shape in _outlines(page, "xy").items():
        label = "building"
        if damage:
            label = DAMAGE[told[uid].one_of("subtype", DAMAGE)] if "subtype" in told[uid].values else label
        rings = (shape.exterior, *shape.interiors)
        yield Mask("pixel", polygons=tuple(tuple((x, y) for x, y in ring.coords[:-1]) for ring in rings), label=label)


def _box(mask: Mask, size_px: tuple[int, int] | None) -> Box | None:
    """The box around an outline, cut at the edge; None for an outline without extent inside the picture."""
    if size_px is None or not mask.polygons:
        return None
    xs, ys = zip(*mask.polygons[0], strict=True)
    x1, x2 = max(0.0, min(xs)), min(float(size_px[0]), max(xs))
    y1, y2 = max(0.0, min(ys)), min(float(size_px[1]), max(ys))
    return clip(Box((x1, y1, x2, y2), "pixel", mask.label), size_px) if x1 < x2 and y1 < y2 else None


def _place(page: Row) -> Georef | None:
    """Fit the affine from pixels to longitude and latitude; None where the outlines are too few or do not agree."""
    pixels, places = _outlines(page, "xy"), _outlines(page, "lng_lat")
    pairs = [
        (shapely.get_coordinates(pixels[uid]), shapely.get_coordinates(places[uid]))
        for uid in pixels
        if uid in places and len(pixels[uid].exterior.coords) == len(places[uid].exterior.coords)
    ]
    if not pairs:
        return None
    try:
        xy, lonlat = (np.concatenate(part) for part in zip(*pairs, strict=True))
        design = np.column_stack([xy, np.ones(len(xy))])
        fitted, _, rank, _ = np.linalg.lstsq(design, lonlat, rcond=None)
    except ValueError as error:
        raise DataError("the outlines in pixels and in degrees do not agree", found=str(error)) from error
    if rank < 3:
        return None
    (a, d), (b, e), (c, f) = (tuple(float(v) for v in row) for row in fitted)
    degrees_px = math.sqrt(abs(a * e - b * d))
    off_px = float(np.abs(design @ fitted - lonlat).max()) / degrees_px if degrees_px else math.inf
    return Georef("EPSG:4326", (a, b, c, d, e, f)) if off_px <= FIT_PX else None


SOURCE = Source(LICENCE, read, GET)
