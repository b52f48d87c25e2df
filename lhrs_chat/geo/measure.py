"""Areas and lengths on the ground, on the WGS84 ellipsoid, whatever the CRS of the scene.

Geodesics: Karney, Algorithms for geodesics, Journal of Geodesy 2013, through pyproj.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import shapely
from shapely.geometry import LineString, MultiPolygon, Polygon

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.frames import convert_xy
from lhrs_chat.geo.reference import GEOD, lonlat
from lhrs_chat.geo.shapes import polygons
from lhrs_chat.schema import Box, Georef, Mask

_PIECES = 32  # an edge becomes at least this many pieces, so that it stays straight in its CRS
_GRID = 24  # blocks along each side of a mask; inside one, all pixels have the same area

Line: TypeAlias = LineString | Sequence[tuple[float, float]] | np.ndarray
Region: TypeAlias = Polygon | MultiPolygon | Box | Mask | np.ndarray


def _dense(shape: shapely.Geometry) -> shapely.Geometry:
    x1, y1, x2, y2 = shape.bounds
    longest = max(x2 - x1, y2 - y1)
    return shapely.segmentize(shape, longest / _PIECES) if longest > 0 else shape


def length_m(line: Line, georef: Georef) -> float:
    """Length of a line in metres.

    Args:
        line: (N, 2) map coordinates, N >= 2, or a LineString of them.
        georef: the CRS they are in.

    Raises:
        GeoError: there are less than two positions, or the CRS is not known.
    """
    xy = np.asarray(line.coords if isinstance(line, LineString) else line, dtype=np.float64).reshape(-1, 2)
    if len(xy) < 2:
        raise GeoError("a line has two positions at least", found=len(xy))
    place = lonlat(shapely.get_coordinates(_dense(LineString(xy))), georef.crs)
    return float(GEOD.line_length(place[:, 0], place[:, 1]))


def area_m2(region: Region, georef: Georef, *, size_px: tuple[int, int] | None = None) -> float:
    """Area of a region in square metres.

    Args:
        region: a polygon in map coordinates; a box or mask in any frame it carries; or a bool array (H, W) over the
            whole image, decimated or not.
        georef: CRS and affine of the image.
        size_px: width and height of the image; needed unless the region is in map coordinates. An array or run
            lengths of another size are taken as a decimated view of the image.

    Raises:
        GeoError: the CRS is not known, or size_px is missing.
    """
    if isinstance(region, np.ndarray):
        return _mask_area_m2(region, georef, size_px or (region.shape[1], region.shape[0]))
    if isinstance(region, Mask) and region.rle is not None:
        array = region.to_array()
        return _mask_area_m2(array, georef, size_px or (array.shape[1], array.shape[0]))
    if isinstance(region, Box | Mask):
        if size_px is None and region.frame != "map":
            raise GeoError("the size of the image is needed to measure in this frame", found=region.frame)
        shapes = polygons(region, "map", size_px=size_px or (1, 1), georef=georef)
        return float(sum(_polygon_area_m2(shape, georef) for shape in shapes))
    return _polygon_area_m2(region, georef)


def _polygon_area_m2(shape: Polygon | MultiPolygon, georef: Georef) -> float:
    if shape.is_empty or shape.area == 0:
        return 0.0
    place = shapely.transform(_dense(shape), lambda xy: lonlat(xy, georef.crs))
    total = 0.0
    for part in shapely.get_parts(place):
        area, _ = GEOD.geometry_area_perimeter(shapely.geometry.polygon.orient(part, 1.0))
        total += abs(float(area))
    return float(total)


def _mask_area_m2(mask: np.ndarray, georef: Georef, size_px: tuple[int, int]) -> float:
    """Sum pixel areas block by block: in a geographic CRS or Web Mercator they change with the row."""
    height, width = mask.shape
    if mask.size == 0:
        raise GeoError("the mask is empty", found=mask.shape)
    rows = np.unique(np.linspace(0, height, min(_GRID, height) + 1).astype(int))
    columns = np.unique(np.linspace(0, width, min(_GRID, width) + 1).astype(int))
    counts = np.add.reduceat(np.add.reduceat(mask.astype(np.int64), rows[:-1], axis=0), columns[:-1], axis=1)
    total = 0.0
    scale = np.array([size_px[0] / width, size_px[1] / height])
    for i, j in zip(*np.nonzero(counts), strict=True):
        x0, x1, y0, y1 = columns[j], columns[j + 1], rows[i], rows[i + 1]
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) * scale
        block = Polygon(convert_xy(corners, "pixel", "map", size_px=size_px, georef=georef))
        total += float(counts[i, j]) / ((x1 - x0) * (y1 - y0)) * _polygon_area_m2(block, georef)
    return float(total)


def pixel_area_m2(georef: Georef, size_px: tuple[int, int]) -> float:
    """Mean ground area of a pixel: the area of the footprint over the number of pixels.

    Raises:
        GeoError: the CRS is not known.
    """
    width, height = size_px
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
    footprint = Polygon(convert_xy(corners, "pixel", "map", size_px=size_px, georef=georef))
    return _polygon_area_m2(footprint, georef) / (width * height)
