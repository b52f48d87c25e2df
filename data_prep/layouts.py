"""Which classes of procedural scene there are, and from which pixel sizes each can be told."""

from __future__ import annotations

from collections.abc import Callable

from . import layouts_built as built
from . import layouts_natural as natural
from .canvas import Canvas
from .grounds import Palette

Layout = Callable[[Canvas, Palette], None]

FINE: dict[str, tuple[Layout, float, float]] = {  # scene class: layout, finest and coarsest pixel in metres
    "airport": (built.airport, 0.3, 1.2),
    "bare land": (natural.bare_land, 0.3, 3.0),
    "beach": (natural.beach, 0.3, 3.0),
    "city": (built.city, 0.5, 1.2),
    "dense residential": (built.dense_residential, 0.3, 0.8),
    "desert": (natural.desert, 0.5, 3.0),
    "farmland": (natural.farmland, 0.5, 3.0),
    "forest": (natural.forest, 0.3, 3.0),
    "industrial": (built.industrial, 0.5, 1.2),
    "lake": (natural.lake, 0.5, 3.0),
    "meadow": (natural.meadow, 0.3, 3.0),
    "parking": (built.parking, 0.2, 0.4),
    "port": (built.port, 0.4, 1.5),
    "river": (natural.river, 0.4, 3.0),
    "sea": (natural.sea, 0.5, 2.0),
    "sparse residential": (built.sparse_residential, 0.3, 0.8),
    "storage tanks": (built.storage_tanks, 0.4, 1.2),
}
COARSE: dict[str, Layout] = {  # scene classes drawn at 10 m
    "bare land": natural.bare_land,
    "beach": natural.beach,
    "farmland": natural.farmland,
    "forest": natural.forest,
    "lake": natural.lake,
    "river": natural.river,
    "town": natural.town,
}
# what radar tells apart: water, hard structures and their pattern
RADAR = frozenset({"airport", "beach", "city", "industrial", "lake", "port", "river", "sea", "storage tanks", "town"})
CLASSES: tuple[str, ...] = tuple(sorted({*FINE, *COARSE}))
