"""Coordinate reference systems: reading them, and the way from one to WGS84 longitude and latitude."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError, ProjError

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.frames import convert_xy
from lhrs_chat.schema import Georef

GEOD = Geod(ellps="WGS84")
WGS84 = "EPSG:4326"
_SAME = 0.01  # projected and ground distances whose ratio is nearer to 1 are told as the projected one


@lru_cache(maxsize=64)
def crs_of(name: str) -> CRS:
    """Read a CRS given as authority code or WKT.

    Raises:
        GeoError: it is not known.
    """
    try:
        return CRS.from_user_input(name)
    except CRSError as problem:
        raise GeoError(
            "the coordinate reference system is not known",
            found=name[:120],
            allowed="an EPSG code such as EPSG:32631, or WKT",
        ) from problem


@lru_cache(maxsize=64)
def _to_wgs84(name: str) -> Transformer:
    try:
        return Transformer.from_crs(crs_of(name), WGS84, always_xy=True)
    except ProjError as problem:
        raise GeoError(
            "there is no way from this coordinate reference system to longitude and latitude",
            found=name[:120],
            next_step="reproject the raster to a known CRS, for instance with gdalwarp -t_srs EPSG:4326",
        ) from problem


def lonlat(xy: np.ndarray, crs: str) -> np.ndarray:
    """Transform map coordinates to WGS84 longitude and latitude.

    Args:
        xy: (N, 2), x (or longitude) first.
        crs: the CRS they are in.

    Raises:
        GeoError: the CRS is not known, or a position lies outside of what it covers.
    """
    transformer = _to_wgs84(crs)
    lon, lat = transformer.transform(xy[:, 0], xy[:, 1])
    out = np.stack([np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)], axis=1)
    if not np.isfinite(out).all():
        bad = xy[~np.isfinite(out).all(axis=1)][0]
        raise GeoError("a position lies outside of what the CRS covers", found=(float(bad[0]), float(bad[1])))
    return out


def part_of(georef: Georef, x_px: float, y_px: float, scale: float = 1.0) -> Georef:
    """Where a part of a picture lies, whose corner is at `x_px`, `y_px` and whose pixels are `scale` times as large."""
    a, b, c, d, e, f = georef.transform
    across = (a * scale, b * scale, c + a * x_px + b * y_px)
    return Georef(georef.crs, (*across, d * scale, e * scale, f + d * x_px + e * y_px))


def ground_gsd_m(georef: Georef, size_px: tuple[int, int]) -> float:
    """Pixel size on the ground at the centre of the image, in metres (geometric mean of both sides).

    The projected pixel size is returned where it is within 1 % of the geodesic one (so UTM says 10, not 10.004);
    in a geographic CRS or in Web Mercator it is the geodesic one.

    Raises:
        GeoError: the CRS is not known or has no way to longitude and latitude.
    """
    x, y = size_px[0] / 2, size_px[1] / 2
    half = max(0.5, min(x, y))
    ends = np.array([[x - half, y], [x + half, y], [x, y - half], [x, y + half]])
    place = lonlat(convert_xy(ends, "pixel", "map", size_px=size_px, georef=georef), georef.crs)
    _, _, distance = GEOD.inv(place[[0, 2], 0], place[[0, 2], 1], place[[1, 3], 0], place[[1, 3], 1])
    ground = math.sqrt(float(distance[0]) * float(distance[1])) / (2 * half)
    crs = crs_of(georef.crs)
    if crs.is_projected and crs.axis_info:
        a, b, _, d, e, _ = georef.transform
        nominal = math.sqrt(math.hypot(a, d) * math.hypot(b, e)) * crs.axis_info[0].unit_conversion_factor
        if abs(nominal - ground) <= _SAME * ground:
            return nominal
    return ground
