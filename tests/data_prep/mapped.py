"""A small town of known pixels: a georeferenced raster, and an OpenStreetMap extract of it written with osmium."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import osmium
import rasterio
from rasterio.transform import Affine
from rasterio.warp import transform

CRS = "EPSG:32635"
ORIGIN = (386000.0, 6672000.0)  # upper left corner, in Helsinki
XY = tuple[float, float]


def write_raster(path: Path, size_px: tuple[int, int] = (200, 200), gsd_m: float = 1.0, seed: int = 0) -> None:
    """Write a picture of random colours whose upper left corner is `ORIGIN`."""
    pixels = np.random.default_rng(seed).integers(0, 256, (3, size_px[1], size_px[0]), dtype=np.uint8)
    place = Affine(gsd_m, 0, ORIGIN[0], 0, -gsd_m, ORIGIN[1])
    with rasterio.open(
        path, "w", driver="GTiff", width=size_px[0], height=size_px[1], count=3, dtype="uint8", crs=CRS, transform=place
    ) as out:
        out.write(pixels)


class Extract:
    """Collects objects whose corners are given in metres to the right of and below `ORIGIN`."""

    def __init__(self) -> None:
        self._nodes: list[tuple[XY, dict[str, str]]] = []
        self._ways: list[tuple[list[int], dict[str, str]]] = []
        self._relations: list[tuple[list[tuple[str, int, str]], dict[str, str]]] = []

    def node(self, x: float, y: float, **tags: str) -> int:
        self._nodes.append(((x, y), tags))
        return len(self._nodes)

    def line(self, *corners: XY, **tags: str) -> int:
        self._ways.append(([self.node(*corner) for corner in corners], tags))
        return len(self._ways)

    def ring(self, x1: float, y1: float, x2: float, y2: float, **tags: str) -> int:
        nodes = [self.node(*corner) for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
        self._ways.append(([*nodes, nodes[0]], tags))
        return len(self._ways)

    def multipolygon(self, outer: int, inner: int, **tags: str) -> None:
        self._relations.append(([("w", outer, "outer"), ("w", inner, "inner")], {"type": "multipolygon", **tags}))

    def way_of(self, nodes: list[int], **tags: str) -> None:
        """A way of nodes that need not be there."""
        self._ways.append((nodes, tags))

    def write(self, path: Path) -> None:
        """Write a PBF, or what the suffix says. `building__levels` stands for the key `building:levels`."""
        xs, ys = zip(*(xy for xy, _ in self._nodes), strict=True)
        placed = transform(CRS, "EPSG:4326", [ORIGIN[0] + x for x in xs], [ORIGIN[1] - y for y in ys])
        with osmium.SimpleWriter(str(path)) as out:
            for number, ((_, tags), lonlat) in enumerate(zip(self._nodes, zip(*placed, strict=True), strict=True), 1):
                out.add_node(osmium.osm.mutable.Node(id=number, location=lonlat, tags=_keys(tags)))
            for number, (nodes, tags) in enumerate(self._ways, 1):
                out.add_way(osmium.osm.mutable.Way(id=number, nodes=nodes, tags=_keys(tags)))
            for number, (members, tags) in enumerate(self._relations, 1):
                out.add_relation(osmium.osm.mutable.Relation(id=number, members=members, tags=_keys(tags)))


def _keys(tags: dict[str, str]) -> dict[str, str]:
    return {key.replace("__", ":"): value for key, value in tags.items()}


def town(folder: Path) -> Path:
    """A residential area with a park, a lake in it, two buildings, a street and a tree, 200 m wide."""
    write_raster(folder / "town.tif")
    map_ = Extract()
    map_.ring(0, 0, 200, 200, landuse="residential", name="Kruununhaka")
    map_.ring(20, 20, 80, 60, leisure="park", name="Tove's park", wikidata="Q1")
    map_.ring(140, 20, 170, 50, building="church", building__levels="2", name="St. John", addr__street="Korkea")
    map_.ring(150, 140, 190, 170, building="yes", roof__shape="flat")
    map_.line((0, 100), (200, 100), highway="residential", surface="cobblestone", name="Unionsgatan", maxspeed="30")
    lake, island = map_.ring(20, 130, 80, 190), map_.ring(40, 150, 60, 170)
    map_.multipolygon(lake, island, natural="water", water="pond")
    map_.node(100, 150, natural="tree", diameter_crown="12")
    map_.node(100, 40, amenity="cafe", name="Ekberg")
    map_.line((0, 120), (200, 120), highway="footway", tunnel="yes")
    map_.ring(90, 10, 92, 12, building="yes")  # too small to be seen
    map_.ring(300, 20, 340, 60, leisure="park")  # beyond the picture
    map_.write(folder / "town.osm.pbf")
    return folder
