"""Writing a GeoPackage layer with SQLite alone: OGC 12-128r18, GeoPackage 1.3.1, features option."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import shapely
from pyproj import CRS

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.reference import crs_of

_APPLICATION_ID = 0x47504B47  # "GPKG"
_USER_VERSION = 10301
_OWN_SRS = 100000  # for a CRS without an EPSG code
_TYPES = {str: "TEXT", float: "DOUBLE", int: "INTEGER"}

_TABLES = """
CREATE TABLE gpkg_spatial_ref_sys (
  srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT
);
CREATE TABLE gpkg_contents (
  table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE, description TEXT DEFAULT '',
  last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id)
);
CREATE TABLE gpkg_geometry_columns (
  table_name TEXT NOT NULL, column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL,
  z TINYINT NOT NULL, m TINYINT NOT NULL,
  CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name),
  CONSTRAINT uk_gc_table_name UNIQUE (table_name),
  CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id)
);
"""


def geometry_blob(shape: shapely.Geometry, srs_id: int) -> bytes:
    """Encode a geometry: the GeoPackage header (little endian, xy envelope) and WKB."""
    x1, y1, x2, y2 = shape.bounds
    header = b"GP" + struct.pack("<BBi", 0, 0b0000_0011, srs_id) + struct.pack("<4d", x1, x2, y1, y2)
    wkb: bytes = shapely.to_wkb(shape, byte_order=1)
    return header + wkb


def _srs_row(crs: CRS) -> tuple[str, int, str, int, str, None]:
    authority = crs.to_authority(min_confidence=100)
    definition = crs.to_wkt("WKT1_GDAL")
    if authority is not None and authority[0] == "EPSG":
        code = int(authority[1])
        return (crs.name, code, "EPSG", code, definition, None)
    return (crs.name, _OWN_SRS, "NONE", _OWN_SRS, definition, None)


def _columns(rows: Sequence[tuple[shapely.Geometry, dict[str, Any]]]) -> dict[str, str]:
    """Name and SQL type of every attribute, in the order they are met."""
    columns: dict[str, str] = {}
    for _, attributes in rows:
        for name, value in attributes.items():
            known = _TYPES.get(type(value))
            if known is not None and columns.get(name, "") in ("", "TEXT"):
                columns[name] = known
            columns.setdefault(name, "")
    return {name: kind or "TEXT" for name, kind in columns.items()}


def write_layer(
    path: Path, layer: str, crs: str, rows: Sequence[tuple[shapely.Geometry, dict[str, Any]]], last_change: str
) -> None:
    """Write one layer of features into a new file.

    Args:
        path: the file to make; one that is there is replaced.
        layer: the table name.
        crs: the CRS of the geometries, x first.
        rows: geometry and attributes (str, float, int or None) of each feature, at least one.
        last_change: time of the content, ISO 8601 with Z.

    Raises:
        GeoError: the CRS is not known, or the file cannot be written.
    """
    srs = _srs_row(crs_of(crs))
    columns = _columns(rows)
    kinds = {shape.geom_type.upper() for shape, _ in rows}
    kind = kinds.pop() if len(kinds) == 1 else "GEOMETRY"
    bounds = [shape.bounds for shape, _ in rows]
    extent = [
        min(b[0] for b in bounds),
        min(b[1] for b in bounds),
        max(b[2] for b in bounds),
        max(b[3] for b in bounds),
    ]
    quoted = ", ".join(f'"{name}" {sql}' for name, sql in columns.items())
    path.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path)) as base:
            base.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            base.execute(f"PRAGMA user_version = {_USER_VERSION}")
            base.executescript(_TABLES)
            known = {
                -1: ("Undefined Cartesian SRS", -1, "NONE", -1, "undefined", None),
                0: ("Undefined geographic SRS", 0, "NONE", 0, "undefined", None),
                4326: _srs_row(crs_of("EPSG:4326")),
                srs[1]: srs,
            }
            base.executemany("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, ?)", known.values())
            base.execute(
                "INSERT INTO gpkg_contents VALUES (?, 'features', ?, '', ?, ?, ?, ?, ?, ?)",
                (layer, layer, last_change.replace("Z", ".000Z"), *extent, srs[1]),
            )
            base.execute("INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', ?, ?, 0, 0)", (layer, kind, srs[1]))
            base.execute(
                f'CREATE TABLE "{layer}" (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom {kind}, {quoted})'
            )
            names = ", ".join(f'"{name}"' for name in columns)
            marks = ", ".join("?" for _ in range(len(columns) + 1))
            base.executemany(
                f'INSERT INTO "{layer}" (geom, {names}) VALUES ({marks})',
                [
                    (geometry_blob(shape, srs[1]), *(attributes.get(name) for name in columns))
                    for shape, attributes in rows
                ],
            )
            base.commit()
    except sqlite3.Error as problem:
        raise GeoError("the GeoPackage cannot be written", found=f"{path} ({problem})") from problem
