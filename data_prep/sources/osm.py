"""Georeferenced rasters and an OpenStreetMap extract of their ground: what is mapped and can be seen, in pixels.

The folder holds one extract or more (`*.osm.pbf`; OpenStreetMap's XML, `*.osm`, is read too) and rasters in any CRS.
Extracts are read with osmium (extra `osm`) in one stream, nodes, ways and multipolygons; objects are kept where they
lie in a picture, clipped to it, and dropped where they are too small to be seen. A map never tells all there is, so
`complete` stays empty: nothing is denied on its word.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import Transformer

from lhrs_chat.errors import DataError, GeoError, MissingExtraError, RasterError
from lhrs_chat.geo.frames import convert_xy
from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.reference import WGS84, crs_of, ground_gsd_m
from lhrs_chat.geo.vector import footprint
from lhrs_chat.schema import Image, Mask, Sample, Targets

from . import Source, SourceOptions, _chips, _osm_kinds, _scenes
from ._grounds import inner_bounds
from ._osm_kinds import Kind

log = logging.getLogger(__name__)

LICENCE = "map: OpenStreetMap contributors, ODbL 1.0; imagery: as its owner gives it"
LEAST_AREA_PX = 36.0  # of an area or point
LEAST_LENGTH_PX = 24.0  # of a line
LEAST_WIDTH_PX = 0.8  # of a line
WHOLE = 0.98  # of an area: with so much of it in the picture, its size is that of the object
_ROUND = 1  # decimals of a pixel that are kept


@dataclass(frozen=True)
class Mapped:
    """One object of the map. `shape` is in longitude and latitude."""

    kind: Kind
    shape: shapely.Geometry


def read(root: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield the squares of all rasters that something mapped can be seen in.

    Raises:
        DataError: the folder is not given or lacks an extract or rasters, or an extract cannot be read.
        MissingExtraError: osmium is not installed.
    """
    if root is None:
        raise DataError("osm needs a folder", allowed="a folder with *.osm.pbf and georeferenced rasters")
    extracts = sorted([*root.glob("*.pbf"), *root.glob("*.osm")])
    scenes = _scenes.rasters(root)
    if not extracts or not scenes:
        raise DataError(
            "the source osm needs an extract and rasters",
            found=f"{len(extracts)} extracts and {len(scenes)} rasters in {root}",
            allowed="*.osm.pbf or *.osm, and " + ", ".join(_scenes.SUFFIXES),
            next_step="cut an extract of your area, for instance at download.geofabrik.de or extract.bbbike.org",
        )
    yield from _chips.take(_all(extracts, scenes, options), options)


def _all(extracts: Sequence[Path], scenes: Sequence[Path], options: SourceOptions) -> Iterator[Sample]:
    grounds: list[tuple[Path, shapely.Polygon]] = []
    for path in scenes:
        try:
            with Raster.open(path) as scene:
                _scenes.placed(scene)
                grounds.append((path, _lonlat(footprint(scene.image), scene.image)))
        except (RasterError, GeoError) as error:
            options.reject(str(path), str(error))
    tree = shapely.STRtree([ground for _, ground in grounds])
    held: list[list[Mapped]] = [[] for _ in grounds]
    for extract in extracts:
        for mapped in objects(extract):
            for number in tree.query(mapped.shape, predicate="intersects"):
                held[int(number)].append(mapped)
    for (path, _), found in zip(grounds, held, strict=True):
        with Raster.open(path) as scene:
            for chip in _scenes.chips(scene, path, options.size_px):
                yield from _sample(chip, found)


def _lonlat(shape: shapely.Geometry, image: Image) -> shapely.Geometry:
    if image.georef is None:
        raise GeoError("this scene has no georeference", found=image.path)
    return _moved(shape, Transformer.from_crs(crs_of(image.georef.crs), WGS84, always_xy=True))


def _moved(shape: shapely.Geometry, way: Transformer) -> shapely.Geometry:
    return shapely.transform(shape, lambda xy: np.stack(way.transform(xy[:, 0], xy[:, 1]), axis=1))


def objects(extract: Path) -> Iterator[Mapped]:
    """Read what can be seen of an extract: areas (closed ways and multipolygons), lines and points.

    Objects whose nodes the extract does not hold, and areas whose rings do not close, are left out.

    Raises:
        DataError: the file is missing, damaged or of another format.
        MissingExtraError: osmium is not installed.
    """
    try:
        import osmium
    except ModuleNotFoundError as error:
        raise MissingExtraError("osmium", "osm", "reading OpenStreetMap extracts") from error

    factory = osmium.geom.WKBFactory()
    ways_to_read: dict[type, tuple[Callable[[Any], Kind | None], Callable[[Any], str]]] = {
        osmium.osm.Node: (_osm_kinds.point, factory.create_point),
        osmium.osm.Way: (_osm_kinds.line, factory.create_linestring),
        osmium.osm.Area: (_osm_kinds.area, factory.create_multipolygon),
    }
    broken = 0
    try:
        stream = osmium.FileProcessor(str(extract)).with_locations().with_areas()
        for found in stream.with_filter(osmium.filter.KeyFilter(*_osm_kinds.KEYS)):
            if type(found) not in ways_to_read:
                continue
            name, draw = ways_to_read[type(found)]
            tags = dict(found.tags)
            kind = name(tags)
            if kind is None or (isinstance(found, osmium.osm.Way) and found.is_closed() and _osm_kinds.area(tags)):
                continue  # not to be seen, or told as an area
            try:
                yield Mapped(kind, shapely.from_wkb(draw(found)))
            except (osmium.InvalidLocationError, RuntimeError):
                broken += 1
    except RuntimeError as error:
        raise DataError("this OpenStreetMap extract cannot be read", found=f"{extract}: {error}") from error
    if broken:
        log.info("%s: %d objects without a whole geometry left out", extract, broken)


def _sample(chip: _scenes.Chip, found: Sequence[Mapped]) -> Iterator[Sample]:
    gsd_m = ground_gsd_m(chip.georef, chip.size_px)
    to_map = Transformer.from_crs(WGS84, crs_of(chip.georef.crs), always_xy=True)
    masks: list[Mask] = []
    notes: list[dict[str, Any]] = []
    for mapped in found:
        shape = shapely.transform(
            _moved(mapped.shape, to_map),
            lambda xy: convert_xy(xy, "map", "pixel", size_px=chip.size_px, georef=chip.georef),
        )
        seen = _seen(shape, mapped.kind.width_m / gsd_m, chip.size_px)
        if seen is not None:
            inside, whole = seen
            rings = tuple(_ring(ring) for part in inside for ring in (part.exterior, *part.interiors))
            masks.append(Mask("pixel", polygons=rings, label=mapped.kind.name))
            notes.append({"tags": mapped.kind.tags, "whole": whole, "geometry": shape.geom_type})
    if masks:
        image = chip.image()
        yield Sample(
            id=chip.id,
            images=(image,),
            task="facts",
            source="osm",
            licence=LICENCE,
            scene_id=chip.path.stem,
            targets=Targets(masks=tuple(masks)),
            footprint=inner_bounds(image),
            meta={**chip.meta, "gsd_m": gsd_m, "osm": notes},
        )


def _seen(
    shape: shapely.Geometry, width_px: float, size_px: tuple[int, int]
) -> tuple[list[shapely.Polygon], bool] | None:
    """Clip an object to the picture: its polygons there, and whether all of it is there; None where it is not seen."""
    frame = shapely.box(0, 0, *size_px)
    if shape.geom_type == "LineString":
        if width_px < LEAST_WIDTH_PX or shape.intersection(frame).length < LEAST_LENGTH_PX:
            return None
        drawn = shape.buffer(max(width_px, 1.0) / 2, cap_style="flat", join_style="mitre", mitre_limit=2)
    elif shape.geom_type == "Point":
        drawn = shape.buffer(width_px / 2)
    else:
        drawn = shapely.make_valid(shape)
    inside = drawn.intersection(frame)
    if inside.area < LEAST_AREA_PX and shape.geom_type != "LineString":
        return None
    parts = [part for part in shapely.get_parts(inside) if part.geom_type == "Polygon" and part.area > 0]
    return (parts, inside.area >= WHOLE * drawn.area) if parts else None


def _ring(ring: shapely.LinearRing) -> tuple[tuple[float, float], ...]:
    return tuple((round(float(x), _ROUND), round(float(y), _ROUND)) for x, y in ring.coords[:-1])


SOURCE = Source(LICENCE, read, "rasters, and an OpenStreetMap extract (*.osm.pbf) of their ground")
