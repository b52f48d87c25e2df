"""Which ground a tile is said to lie on, so that tiles that only touch share none."""

from __future__ import annotations

import numpy as np

from lhrs_chat.geo.frames import convert_xy
from lhrs_chat.geo.reference import lonlat
from lhrs_chat.schema import Image

UPRIGHT = 0.75  # of its outer bounds, for a tile whose inner bounds are taken


def inner_bounds(image: Image) -> tuple[float, float, float, float] | None:
    """Bounds in longitude and latitude that lie on the tile.

    North of a projected CRS is seldom true north, so that the outer bounds of tiles that only touch would overlap, and
    no two of them could go into different splits. A raster turned by more than some degrees has its outer bounds.
    """
    if image.georef is None or image.size_px is None:
        return None
    width, height = image.size_px
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    place = convert_xy(corners, "pixel", "map", size_px=image.size_px, georef=image.georef)
    lon, lat = lonlat(place, image.georef.crs).T
    lon, lat = np.sort(lon % 360 if np.ptp(lon) > 180 else lon), np.sort(lat)
    inner = (lon[1], lat[1], lon[2], lat[2])
    is_upright = (lon[2] - lon[1]) * (lat[2] - lat[1]) > UPRIGHT * (lon[3] - lon[0]) * (lat[3] - lat[0])
    west, south, east, north = inner if is_upright else (lon[0], lat[0], lon[3], lat[3])
    west, east = ((side + 180) % 360 - 180 for side in (west, east))
    return (round(float(west), 8), round(float(south), 8), round(float(east), 8), round(float(north), 8))
