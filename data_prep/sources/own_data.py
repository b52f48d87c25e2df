"""Your own data: georeferenced rasters, and GeoJSON or GeoPackage files that tell what is where.

Every raster of the folder is cut into square tiles of `size_px`; every thing of every vector file is brought from its
own reference system into the pixels of the tiles it touches. Polygons become masks and boxes, points are counted. A
thing that the edge of a tile cuts stays, with the share that is seen, in `meta["cut"]`. `own_data.yaml` in the folder,
if there is one, holds `Settings`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import shapely

from lhrs_chat.config import load_yaml
from lhrs_chat.errors import DataError, GeoError, LhrsError, RasterError
from lhrs_chat.formats.rows import reason
from lhrs_chat.geo.frames import convert_xy
from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.reference import part_of
from lhrs_chat.geo.tiles import Tile, plan
from lhrs_chat.schema import Box, Image, Mask, Number, Sample, Targets

from . import Source, SourceOptions, _chips, _features, _published
from ._grounds import inner_bounds

LICENCE = "own data, all rights with their owner"
GET = "put GeoTIFF files, and GeoJSON or GeoPackage files of the same place, into one folder"
SETTINGS = "own_data.yaml"
RASTERS = (".tif", ".tiff", ".jp2", ".img")
LABELS = ("label", "class", "class_name", "category", "name", "type")  # attributes tried in this order
HALF_SEEN = 0.5  # a class of which a thing is seen by less is not counted as told in full
LEAST_PX = 0.5  # area of what a tile must show of a thing


@dataclass(frozen=True)
class Settings:
    """What `own_data.yaml` may say.

    Args:
        licence: of rasters and vector files, for every row.
        label: the attribute that names the class; left out, the first of `LABELS` that a layer has, else the layer's
            own name.
        exhaustive: whether every thing of a class is in the vector files. If not, nothing is counted or called absent.
        overlap_px: pixels shared by neighbouring tiles.
        scene: what must not be divided between training and test: each tile, or the whole raster.
        values: `shown`, 8-bit colours with the stretch of the whole raster, as models are shown a scene; or `stored`,
            all bands as they are.
        least_valid: share of a tile that must hold values.
    """

    licence: str = LICENCE
    label: str = ""
    exhaustive: bool = True
    overlap_px: int = 0
    scene: Literal["tile", "raster"] = "tile"
    values: Literal["shown", "stored"] = "shown"
    least_valid: float = 0.5

    def __post_init__(self) -> None:
        if not self.licence.strip():
            raise DataError("the licence is not empty", allowed="an SPDX name or a sentence")
        if not 0 <= self.least_valid <= 1:
            raise DataError("least_valid is a share", found=self.least_valid, allowed="0 to 1")


@dataclass
class Entry:
    """One feature, its class, and whether a raster was found below it."""

    feature: _features.Feature
    label: str
    placed: bool = False


class Thing(NamedTuple):
    """One thing in pixels of a raster."""

    shape: shapely.Geometry
    label: str


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a tile. Tiles without values, and things that cannot be placed, go to `options.reject`.

    Raises:
        DataError: no folder is given, or it holds no raster or no vector file.
        ConfigError: `own_data.yaml` holds what it should not.
    """
    root = _published.root("own_data", folder, GET)
    settings = load_yaml(root / SETTINGS, Settings) if (root / SETTINGS).is_file() else Settings()
    rasters = [path for path in sorted(root.iterdir()) if path.suffix.lower() in RASTERS]
    vectors = [path for path in sorted(root.iterdir()) if path.suffix.lower() in _features.SUFFIXES]
    for found, lacks in ((rasters, "raster (.tif)"), (vectors, "vector file (.geojson, .gpkg)")):
        if not found:
            raise _published.incomplete("own_data", root, lacks, GET)
    entries = list(_labelled(vectors, settings, options))
    named = {path.stem: path for path in reversed(rasters)}
    for path in rasters:
        if named[path.stem] != path:
            options.reject(path.name, f"{named[path.stem].name} has the same name")
    tiles = (row for path in sorted(named.values()) for row in _tiles(path, entries, settings, options))
    yield from _chips.take(tiles, options)
    for entry in entries:
        if not entry.placed:
            options.reject(
                entry.feature.where,
                f"it lies on none of the rasters, read as {entry.feature.crs[:60]};"
                " a GeoJSON without a member crs is in longitude and latitude",
            )


def _labelled(vectors: Sequence[Path], settings: Settings, options: SourceOptions) -> Iterator[Entry]:
    """The features of all files with their class."""
    for path in vectors:
        held: list[_features.Feature] = []
        try:
            for found in _features.read(path):
                if isinstance(found, _features.Feature):
                    held.append(found)
                else:
                    options.reject(*found)
        except LhrsError as error:
            options.reject(path.name, reason(error, path.name))
        attribute = {layer: _attribute(held, layer, settings) for layer in {feature.layer for feature in held}}
        for feature in held:
            name = attribute[feature.layer]
            label = _published.spoken(str(feature.attributes.get(name) or "") if name else feature.layer)
            if not label:
                options.reject(feature.where, f"the attribute {name!r} is empty")
            elif feature.shape.geom_type.removeprefix("Multi") not in ("Polygon", "Point", "GeometryCollection"):
                options.reject(feature.where, f"a {feature.shape.geom_type}: make polygons of lines, e.g. by a buffer")
            else:
                yield Entry(feature, label)


def _attribute(features: Sequence[_features.Feature], layer: str, settings: Settings) -> str:
    """The attribute that names the class in a layer; "" where the layer's name does."""
    if settings.label:
        return settings.label
    rows = [feature.attributes for feature in features if feature.layer == layer]
    return next((name for name in LABELS if any(row.get(name) for row in rows)), "")


def _tiles(path: Path, entries: Sequence[Entry], settings: Settings, options: SourceOptions) -> Iterator[Sample]:
    name = path.name
    try:
        with Raster.open(path) as raster:
            if raster.image.georef is None:
                raise GeoError("the raster has no georeference", next_step="give it a CRS and an affine")
            things = _placed(entries, raster)
            tree = shapely.STRtree([thing.shape for thing in things])
            for tile in plan(raster.size_px, options.size_px, settings.overlap_px):
                where = f"tile {tile.window} of {name}"
                near = [things[int(i)] for i in sorted(tree.query(shapely.box(*tile.window)))]
                labels = sorted({thing.label for thing in things})
                try:
                    valid = float(raster.valid(tile.window).mean())
                    if valid < settings.least_valid or valid == 0:
                        options.reject(where, f"nodata: {valid:.0%} of the tile holds values")
                        continue
                    yield _row(raster, tile, near, labels, name, settings)
                except RasterError as error:
                    options.reject(where, reason(error, where))
    except (RasterError, GeoError) as error:
        options.reject(name, reason(error, name))


def _placed(entries: Sequence[Entry], raster: Raster) -> list[Thing]:
    """The things that touch a raster, in its pixels."""
    georef, size = raster.image.georef, raster.size_px
    if georef is None:
        return []
    whole = shapely.box(0, 0, *size)
    things = []
    for entry in entries:
        try:
            moved = entry.feature.moved(georef.crs)
        except GeoError:  # another part of the world; `read` tells of things that lie on no raster at all
            continue
        shape = shapely.transform(moved, lambda xy: convert_xy(xy, "map", "pixel", size_px=size, georef=georef))
        for part in shapely.get_parts(shape if shape.is_valid else shapely.make_valid(shape)):
            if part.geom_type in ("Polygon", "MultiPolygon", "Point") and part.intersects(whole):
                things.append(Thing(part, entry.label))
                entry.placed = True
    return things


def _row(
    raster: Raster, tile: Tile, near: Sequence[Thing], labels: Sequence[str], name: str, settings: Settings
) -> Sample:
    boxes: list[Box] = []
    masks: list[Mask] = []
    points: list[tuple[float, float, str]] = []
    cut: list[tuple[int, float]] = []
    counts: Counter[str] = Counter()
    for thing in near:
        seen = shapely.intersection(thing.shape, shapely.box(*tile.window))
        if isinstance(thing.shape, shapely.Point):
            if not (tile.x0 <= thing.shape.x < tile.x1 and tile.y0 <= thing.shape.y < tile.y1):
                continue
            points.append((thing.shape.x - tile.x0, thing.shape.y - tile.y0, thing.label))
        elif seen.area >= LEAST_PX:
            if seen.area < thing.shape.area * 0.999:
                cut.append((len(boxes), round(seen.area / thing.shape.area, 3)))
            mask = _mask(seen, tile, thing.label)
            masks.append(mask)
            boxes.append(_around(mask))
        else:
            continue
        counts[thing.label] += 1
    image = _image(raster, tile, settings)
    half_seen = {boxes[place].label for place, share in cut if share < HALF_SEEN}
    tile_id = f"{Path(name).stem}/{tile.x0}-{tile.y0}"
    return Sample(
        id=f"own_data/{tile_id}",
        images=(image,),
        task="facts",
        source="own_data",
        licence=settings.licence,
        scene_id=f"own_data/{tile_id if settings.scene == 'tile' else Path(name).stem}",
        targets=Targets(
            boxes=tuple(boxes),
            masks=tuple(masks),
            numbers=tuple(Number(counts[label], "", "computed", label) for label in labels),
        ),
        footprint=inner_bounds(image),
        meta={
            "image_file": name,
            "tile": tile_id,
            "window": list(tile.window),
            "sensor": raster.profile.name,
            "gsd_m": raster.image.gsd_m,
            "complete": [label for label in labels if label not in half_seen] if settings.exhaustive else [],
            "cut": [list(entry) for entry in cut],
            "points": [list(entry) for entry in points],
        },
    )


def _mask(seen: shapely.Geometry, tile: Tile, label: str) -> Mask:
    """Rings of what is seen, in pixels of the tile: each outline, then its holes."""
    rings = []
    for part in shapely.get_parts(seen):
        if isinstance(part, shapely.Polygon) and part.area > 0:
            for ring in (part.exterior, *part.interiors):
                rings.append(tuple((float(x) - tile.x0, float(y) - tile.y0) for x, y in ring.coords[:-1]))
    return Mask("pixel", polygons=tuple(rings), label=label)


def _around(mask: Mask) -> Box:
    xy = np.concatenate([np.array(ring) for ring in mask.polygons or ()])
    (x1, y1), (x2, y2) = xy.min(axis=0), xy.max(axis=0)
    return Box((float(x1), float(y1), float(x2), float(y2)), "pixel", mask.label)


def _image(raster: Raster, tile: Tile, settings: Settings) -> Image:
    """The pixels of a tile with their own georeference."""
    about = raster.image
    georef = None if about.georef is None else part_of(about.georef, tile.x0, tile.y0)
    shown = settings.values == "shown"
    return Image(
        array=raster.rgb(tile.window).transpose(2, 0, 1) if shown else _stored(raster, tile),
        size_px=(tile.x1 - tile.x0, tile.y1 - tile.y0),
        bands=_published.RGB if shown else about.bands,
        sensor="rgb" if shown else about.sensor,
        gsd_m=about.gsd_m,
        date=about.date,
        georef=georef,
    )


def _stored(raster: Raster, tile: Tile) -> np.ndarray:
    """All bands as they are: (C, H, W); what holds no value is NaN, or 0 in a raster of whole numbers."""
    values = raster.read(tile.window)
    return np.asarray(values.filled(np.nan if values.dtype.kind == "f" else 0))


SOURCE = Source(LICENCE, read, GET)
