"""Answers on the map: GeoJSON (RFC 7946) and GeoPackage."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPoint, MultiPolygon, Point, Polygon, mapping
from shapely.geometry.polygon import orient

from lhrs_chat.errors import GeoError
from lhrs_chat.geo import geopackage
from lhrs_chat.geo.frames import convert, convert_xy
from lhrs_chat.geo.measure import area_m2
from lhrs_chat.geo.reference import lonlat
from lhrs_chat.geo.shapes import polygons
from lhrs_chat.schema import Answer, Box, Georef, Image, Mask

_DECIMALS = 7  # about 1 cm on the ground
_FOOTPRINT_PIECES = 8  # an edge of the footprint, which is not straight in longitude and latitude


def feature_collection(answer: Answer, image: Image) -> dict[str, Any]:
    """Make a GeoJSON FeatureCollection: one feature a box and a mask, or the footprint when there are none.

    Coordinates are WGS84 longitude and latitude with 7 decimals, outer rings counter-clockwise, with a bbox.

    Raises:
        GeoError: the image has no georeference or no size, or its CRS is not known.
    """
    _, georef = _placed(image)
    features = []
    bounds = []
    for shape, properties in _rows(answer, image):
        place = _to_lonlat(shape, georef)
        bounds.append(place.bounds)
        geometry = mapping(_within_180(place))
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {"type": "FeatureCollection", "bbox": _bbox(np.array(bounds)), "features": features}


def write_geojson(path: Path | str, answer: Answer, image: Image) -> Path:
    """Write `feature_collection` to a file, wholly or not at all.

    Raises:
        GeoError: see `feature_collection`; or the file cannot be written.
    """
    collection = feature_collection(answer, image)
    features = [json.dumps(feature, ensure_ascii=False, allow_nan=False) for feature in collection["features"]]
    head = json.dumps({key: value for key, value in collection.items() if key != "features"})
    text = head[:-1] + ', "features": [\n' + ",\n".join(features) + "\n]}\n"  # one feature a line
    with _whole(Path(path)) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


def write_gpkg(path: Path | str, answer: Answer, image: Image) -> Path:
    """Write a GeoPackage with one layer, `answer`, in the CRS of the scene, wholly or not at all.

    Raises:
        GeoError: the image has no georeference or no size, its CRS is not known, or the file cannot be written.
    """
    _, georef = _placed(image)
    rows = []
    for shape, properties in _rows(answer, image):
        flat = {key: value for key, value in properties.items() if not isinstance(value, dict | list)}
        flat.update({name: properties["provenance"][name] for name in ("model", "image_sha256", "prompt", "time")})
        flat["xyxy"] = json.dumps(properties["xyxy"]) if "xyxy" in properties else None
        flat["numbers"] = json.dumps(properties["numbers"]) if "numbers" in properties else None
        rows.append((shape, flat))
    with _whole(Path(path)) as part:
        geopackage.write_layer(part, "answer", georef.crs, rows, _now())
    return Path(path)


def check_place(image: Image) -> None:
    """Make sure that answers about an image can be put on the map.

    Raises:
        GeoError: the image has no georeference or no size, its CRS is not known, or it lies outside of that.
    """
    _, georef = _placed(image)
    lonlat(shapely.get_coordinates(footprint(image)), georef.crs)


def footprint(image: Image) -> Polygon:
    """Return the outline of the whole image in map coordinates.

    Raises:
        GeoError: the image has no georeference or no size.
    """
    (width, height), georef = _placed(image)
    steps = np.arange(_FOOTPRINT_PIECES) / _FOOTPRINT_PIECES
    zero, one = np.zeros_like(steps), np.ones_like(steps)
    unit = np.concatenate(
        [np.stack(side, axis=1) for side in ((steps, zero), (one, steps), (1 - steps, one), (zero, 1 - steps))]
    )
    return Polygon(convert_xy(unit, "unit", "map", size_px=(width, height), georef=georef))


def _placed(image: Image) -> tuple[tuple[int, int], Georef]:
    if image.georef is None:
        raise GeoError(
            "this image has no georeference, so its answers have no place on the map",
            found="no CRS and affine",
            next_step="ask without --geojson and --gpkg, or give a georeferenced raster",
        )
    if image.size_px is None:
        raise GeoError("the size of the image is not known", found=None, next_step="take the image of an open Raster")
    return image.size_px, image.georef


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rows(answer: Answer, image: Image) -> Iterator[tuple[shapely.Geometry, dict[str, Any]]]:
    """Geometry in map coordinates and properties of every feature."""
    size_px, georef = _placed(image)
    computed = {number.label for number in answer.numbers if number.evidence == "computed"}
    any_row = False
    regions: list[Box | Mask] = [*answer.boxes, *answer.masks]
    for region in regions:
        shape = _in_map(region, size_px, georef)
        if shape is None:
            continue
        any_row = True
        source = "computed" if isinstance(region, Mask) and region.label in computed else "model"
        properties = _properties(answer, region.label, region.score, region.frame, source)
        properties["area_m2"] = round(area_m2(region, georef, size_px=size_px), 2)
        if isinstance(region, Box):
            properties["xyxy"] = list(region.xyxy)
        yield shape, properties
    if not any_row:
        properties = _properties(answer, "footprint", None, "pixel", "model")
        properties["numbers"] = [
            {"value": n.value, "unit": n.unit, "evidence": n.evidence, "label": n.label} for n in answer.numbers
        ]
        yield footprint(image), properties


def _properties(answer: Answer, label: str, score: float | None, frame: str, source: str) -> dict[str, Any]:
    provenance = answer.provenance
    return {
        "label": label,
        "score": score,
        "frame": frame,
        "evidence": source,
        "answer": answer.text,
        "provenance": {
            "model": provenance.model,
            "image_sha256": provenance.image_sha256,
            "prompt": provenance.prompt,
            "time": provenance.time or _now(),
            "composite": provenance.composite,
            "version": provenance.version,
        },
    }


def _in_map(region: Box | Mask, size_px: tuple[int, int], georef: Georef) -> shapely.Geometry | None:
    """A box becomes one polygon (or a line or point without extent), a mask a multi-polygon, an empty mask nothing."""
    parts = polygons(region, "map", size_px=size_px, georef=georef)
    if isinstance(region, Box):
        if parts:
            return parts[0]
        x1, y1, x2, y2 = convert(region, "map", size_px=size_px, georef=georef).xyxy
        return MultiPoint([(x1, y1), (x2, y2)]).convex_hull
    return MultiPolygon(parts) if parts else None


def _to_lonlat(shape: shapely.Geometry, georef: Georef) -> shapely.Geometry:
    """WGS84 with longitudes that run on across the antimeridian, to 179, 180, 181 ...

    A region that holds a pole has no outline in longitude and latitude, and stays as it is transformed.
    """

    def placed(xy: np.ndarray) -> np.ndarray:
        out = np.round(lonlat(xy, georef.crs), _DECIMALS)
        if np.ptp(out[:, 0]) > 180:
            out[out[:, 0] < 0, 0] += 360
        return out

    return shapely.transform(shape, placed)


def _within_180(place: shapely.Geometry) -> shapely.Geometry:
    """Cut at the antimeridian (RFC 7946, 3.1.9); outer rings counter-clockwise, holes clockwise."""
    west, south, east, north = place.bounds
    if west < -180 or east > 180:
        parts: list[Polygon] = []
        for turn in (-360.0, 0.0, 360.0):
            inside = shapely.intersection(place, shapely.box(turn - 180, south, turn + 180, north))
            moved = shapely.transform(inside, lambda xy, turn=turn: np.round(xy - (turn, 0.0), _DECIMALS))
            parts += [part for part in shapely.get_parts(moved) if isinstance(part, Polygon) and not part.is_empty]
        if parts:
            place = parts[0] if len(parts) == 1 else MultiPolygon(parts)
        else:  # a line, a point, or the corners around a pole
            place = shapely.transform(place, lambda xy: np.stack([(xy[:, 0] + 180) % 360 - 180, xy[:, 1]], axis=1))
    if isinstance(place, Polygon):
        return orient(place, 1.0)
    if isinstance(place, MultiPolygon):
        return MultiPolygon([orient(part, 1.0) for part in place.geoms])
    return Point(place.coords[0]) if place.geom_type == "Point" else place


def _bbox(bounds: np.ndarray) -> list[float]:
    """The narrowest box around `bounds`: (N, 4).

    Across the antimeridian its west is larger than its east (RFC 7946, 5.2).
    """
    turned = bounds + np.where(bounds[:, :1] < 0, (360.0, 0.0, 360.0, 0.0), 0.0)
    around = [np.concatenate([b[:, :2].min(axis=0), b[:, 2:].max(axis=0)]).tolist() for b in (bounds, turned)]
    west, south, east, north = min(around, key=lambda box: float(box[2] - box[0]))
    return [_wrapped(west, -180.0), south, _wrapped(east, 180.0), north]


def _wrapped(longitude: float, edge: float) -> float:
    """Bring a longitude to -180 ... 180; one that lies on the antimeridian becomes the side `edge`."""
    inside = (longitude + 180) % 360 - 180
    return edge if inside == -180 else round(inside, _DECIMALS)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Write beside the target and move it there at the end, so that nothing half-written is left."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    except OSError as problem:
        raise GeoError("the file cannot be written", found=f"{path} ({problem.strerror})") from problem
    finally:
        part.unlink(missing_ok=True)
