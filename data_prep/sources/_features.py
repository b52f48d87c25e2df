"""Things on the map: GeoJSON and GeoPackage files as shapes with their attributes and reference system."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import Transformer
from pyproj.exceptions import ProjError

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.geo.reference import WGS84, crs_of

SUFFIXES = (".geojson", ".json", ".gpkg")
_ENVELOPE_BYTES = (0, 32, 48, 48, 64)  # of the header of a GeoPackage geometry, by its flag


@dataclass(frozen=True)
class Feature:
    """One thing.

    Args:
        shape: in the reference system `crs`, x first.
        attributes: by name.
        crs: authority code or WKT.
        layer: name of its layer, or of its file.
        where: its place, for people.
    """

    shape: shapely.Geometry
    attributes: dict[str, Any]
    crs: str
    layer: str
    where: str

    def moved(self, crs: str) -> shapely.Geometry:
        """The shape in another reference system.

        Raises:
            GeoError: there is no way to it, or the shape lies outside of what it covers.
        """
        to = _way(self.crs, crs)
        moved = shapely.transform(
            shapely.force_2d(self.shape), lambda xy: np.column_stack(to.transform(xy[:, 0], xy[:, 1]))
        )
        if not np.isfinite(shapely.get_coordinates(moved)).all():
            raise GeoError(
                "a shape lies outside of what the reference systems cover",
                found=f"{shapely.get_coordinates(self.shape)[0].tolist()} in {self.crs[:60]}",
            )
        return moved


@lru_cache(maxsize=64)
def _way(source: str, to: str) -> Transformer:
    try:
        return Transformer.from_crs(crs_of(source), crs_of(to), always_xy=True)
    except ProjError as error:
        raise GeoError("there is no way between two reference systems", found=(source[:60], to[:60])) from error


def read(path: Path) -> Iterator[Feature | tuple[str, str]]:
    """Yield the features of a file; for a broken one its place and what is wrong.

    Raises:
        DataError: the file cannot be read as a whole.
        GeoError: its reference system is not known.
    """
    yield from _geopackage(path) if path.suffix.lower() == ".gpkg" else _geojson(path)


def _geojson(path: Path) -> Iterator[Feature | tuple[str, str]]:
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} is no GeoJSON", found=str(error)) from error
    if not isinstance(table, dict) or not isinstance(table.get("features"), list):
        raise DataError(f"{path.name} is no GeoJSON", found="no list of features", allowed="a FeatureCollection")
    crs = _crs_of_geojson(table)
    for number, row in enumerate(table["features"]):
        where = f"feature {number} of {path.name}"
        try:
            shape = shapely.from_geojson(json.dumps(row["geometry"] or {"type": "Point", "coordinates": []}))
            attributes = dict(row.get("properties") or {})
        except (shapely.errors.GEOSException, KeyError, TypeError, ValueError, AttributeError) as error:
            yield where, f"no geometry: {error}"
            continue
        if shape is None or shape.is_empty:
            yield where, "an empty geometry"
        else:
            yield Feature(shape, attributes, crs, path.stem, where)


def _crs_of_geojson(table: dict[str, Any]) -> str:
    """WGS84 (RFC 7946), or what the member `crs` of the older form names."""
    held = table.get("crs")
    if held is None:
        return WGS84
    properties = held.get("properties") if isinstance(held, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str):
        raise GeoError("the reference system of the GeoJSON cannot be read", found=held, allowed="a name")
    crs_of(name)
    return name


def _geopackage(path: Path) -> Iterator[Feature | tuple[str, str]]:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            layers = base.execute("SELECT table_name, column_name, srs_id FROM gpkg_geometry_columns").fetchall()
            for layer, column, srs_id in layers:
                crs = _crs_of_geopackage(base, srs_id)
                quoted = layer.replace('"', '""')
                found = base.execute(f'SELECT rowid, * FROM "{quoted}"')
                names = [entry[0] for entry in found.description]
                for values in found:
                    where = f"row {values[0]} of {layer} in {path.name}"
                    attributes = dict(zip(names[1:], values[1:], strict=True))
                    try:
                        shape = _shape(attributes.pop(column))
                    except (DataError, shapely.errors.GEOSException) as error:
                        yield where, f"no geometry: {error}"
                        continue
                    yield Feature(shape, attributes, crs, layer, where)
    except sqlite3.Error as error:
        raise DataError(f"{path.name} is no GeoPackage", found=str(error)) from error


def _crs_of_geopackage(base: sqlite3.Connection, srs_id: int) -> str:
    found = base.execute(
        "SELECT organization, organization_coordsys_id, definition FROM gpkg_spatial_ref_sys WHERE srs_id = ?",
        (srs_id,),
    ).fetchone()
    if found is None or srs_id in (-1, 0):
        raise GeoError("the layer has no reference system", found=f"srs_id {srs_id}", next_step="set it, e.g. in QGIS")
    organization, code, definition = found
    return f"EPSG:{code}" if organization.upper() == "EPSG" else str(definition)


def _shape(blob: object) -> shapely.Geometry:
    """Read a geometry: the GeoPackage header (OGC 12-128r18, 2.1.3), then WKB."""
    if not isinstance(blob, bytes) or blob[:2] != b"GP" or len(blob) < 9:
        raise DataError("no GeoPackage geometry", found=type(blob).__name__)
    kind = blob[3] >> 1 & 0b111
    if kind >= len(_ENVELOPE_BYTES):
        raise DataError("no GeoPackage geometry", found=f"envelope {kind}")
    shape = shapely.from_wkb(blob[8 + _ENVELOPE_BYTES[kind] :])
    if shape.is_empty:
        raise DataError("an empty geometry")
    return shape
