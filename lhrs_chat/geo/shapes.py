"""Boxes and masks as polygons."""

from __future__ import annotations

import numpy as np
import shapely
from rasterio.features import shapes as trace
from shapely.geometry import MultiPoint, Polygon, shape

from lhrs_chat.geo.frames import convert_xy
from lhrs_chat.schema import Box, Frame, Georef, Mask


def polygons(
    region: Box | Mask, to: Frame = "pixel", *, size_px: tuple[int, int], georef: Georef | None = None
) -> list[Polygon]:
    """Bring a box or mask to polygons in a frame.

    Run lengths are traced along pixel edges, with holes; where their grid is not that of the image they are taken
    as a decimated view of it. Rings of a polygon mask that lie in an earlier ring are its holes. A box without
    extent gives no polygon.

    Args:
        region: the box or mask, in the frame it carries.
        to: the frame wanted.
        size_px: width and height of the image.
        georef: needed from and to `map`.

    Raises:
        GeoError: the frame is `model`, or `map` without a georef.
    """
    source: Frame = region.frame
    if isinstance(region, Box):
        found = _of_box(region)
    elif region.rle is not None:
        found = _traced(region.to_array(), size_px)
    else:
        found = _of_rings(region)
    if source == to:
        return found
    return [
        shapely.transform(part, lambda xy: convert_xy(xy, source, to, size_px=size_px, georef=georef)) for part in found
    ]


def _of_box(box: Box) -> list[Polygon]:
    x1, y1, x2, y2 = box.xyxy
    hull = MultiPoint(box.points or [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]).convex_hull
    return [hull] if isinstance(hull, Polygon) else []


def _traced(mask: np.ndarray, size_px: tuple[int, int]) -> list[Polygon]:
    height, width = mask.shape
    scale = np.array([size_px[0] / width, size_px[1] / height])
    traced = [shape(outline) for outline, _ in trace(mask.astype(np.uint8), mask=mask, connectivity=4)]
    return [shapely.transform(part, lambda xy: xy * scale) for part in traced]


def _of_rings(mask: Mask) -> list[Polygon]:
    outers: list[tuple[Polygon, list[Polygon]]] = []
    for ring in mask.polygons or ():
        if len(ring) < 3:
            continue
        part = Polygon(ring)
        around = next((held for held in outers if held[0].is_valid and held[0].contains(part)), None)
        if around is None:
            outers.append((part, []))
        else:
            around[1].append(part)
    return [Polygon(outer.exterior, [hole.exterior for hole in holes]) for outer, holes in outers]
