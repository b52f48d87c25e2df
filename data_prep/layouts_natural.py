"""Layouts of scenes in the country: fields, woods, meadows, bare ground, sand, water, and towns seen from afar."""

from __future__ import annotations

import math

import numpy as np

from . import grounds
from .canvas import Canvas
from .grounds import Palette
from .structures import house, road, ship, trees, winding
from .textures import texture


def _background(canvas: Canvas, palette: Palette, kinds: tuple[str, ...]) -> None:
    """Paint one or two natural covers over everything."""
    rng = canvas.rng
    painters = {"grass": grounds.grass, "field": grounds.fields, "forest": grounds.forest, "bare soil": grounds.soil}
    first = str(rng.choice(kinds))
    painters[first](canvas, palette)
    others = [kind for kind in kinds if kind != first]
    if others and rng.random() < 0.6:
        share, cells = rng.uniform(0.1, 0.45), rng.uniform(1.5, 4)
        painters[str(rng.choice(others))](canvas, palette, grounds.edge(grounds.patches(canvas, share, cells), 1.5))


def farmland(canvas: Canvas, palette: Palette) -> None:
    """Parcels, with a wood, a road, a river or a farm on some."""
    rng = canvas.rng
    grounds.fields(canvas, palette)
    if rng.random() < 0.45:
        grounds.forest(canvas, palette, grounds.edge(grounds.patches(canvas, rng.uniform(0.05, 0.3), 2.5), 1.5))
    if rng.random() < 0.2:
        width = max(3.0, canvas.px(rng.uniform(10, 50)))
        grounds.water(canvas, palette, grounds.edge(grounds.band(canvas, width)))
    if rng.random() < 0.55:
        road(canvas, palette, winding(canvas, 0.04), rng.uniform(4, 9))
    canvas.settle()
    if canvas.gsd_m <= 2 and rng.random() < 0.4:
        x, y = rng.uniform(0.2, 0.8, 2) * canvas.size_px
        _farm(canvas, x, y, int(rng.integers(1, 5)))


def _farm(canvas: Canvas, x: float, y: float, count: int) -> None:
    rng = canvas.rng
    angle = rng.uniform(0, math.pi)
    for _ in range(count):
        dx, dy = rng.normal(0, canvas.px(22), 2)
        length, width = canvas.px(rng.uniform(14, 32)), canvas.px(rng.uniform(9, 15))
        house(canvas, x + dx, y + dy, length, width, angle + math.pi / 2 * rng.integers(2), rng.uniform(4, 9))


def forest(canvas: Canvas, palette: Palette) -> None:
    """Trees nearly everywhere, with clearings, a path or a pond on some."""
    rng = canvas.rng
    grounds.forest(canvas, palette)
    if rng.random() < 0.45:
        painter = grounds.grass if rng.random() < 0.6 else grounds.soil
        painter(canvas, palette, grounds.edge(grounds.patches(canvas, rng.uniform(0.03, 0.25), 3), 2))
    if rng.random() < 0.2:
        grounds.water(canvas, palette, grounds.edge(grounds.blob(canvas, rng.uniform(0.06, 0.16))))
    if rng.random() < 0.4:
        road(canvas, palette, winding(canvas, 0.12), rng.uniform(4, 8), marked=False)
    canvas.settle()


def meadow(canvas: Canvas, palette: Palette) -> None:
    """Grass, single trees or a wood's edge."""
    rng = canvas.rng
    grounds.grass(canvas, palette)
    if rng.random() < 0.4:
        grounds.forest(canvas, palette, grounds.edge(grounds.shore(canvas, rng.uniform(0.05, 0.3)), 2))
    if rng.random() < 0.15:
        grounds.water(canvas, palette, grounds.edge(grounds.blob(canvas, rng.uniform(0.05, 0.12))))
    if rng.random() < 0.3:
        road(canvas, palette, winding(canvas, 0.06), rng.uniform(3, 7))
    canvas.settle()
    if canvas.gsd_m <= 2 and rng.random() < 0.6:
        trees(canvas, palette, int(rng.integers(2, 25)), ("grass",))


def bare_land(canvas: Canvas, palette: Palette) -> None:
    """Soil without plants, tracks, now and then a hut."""
    rng = canvas.rng
    grounds.soil(canvas, palette)
    if rng.random() < 0.35:
        grounds.grass(canvas, palette, grounds.edge(grounds.patches(canvas, rng.uniform(0.04, 0.25), 3), 5))
    if rng.random() < 0.35:
        road(canvas, palette, winding(canvas, 0.08), rng.uniform(4, 8))
    canvas.settle()
    if canvas.gsd_m <= 1.5 and rng.random() < 0.35:
        x, y = rng.uniform(0.2, 0.8, 2) * canvas.size_px
        _farm(canvas, x, y, int(rng.integers(1, 3)))


def desert(canvas: Canvas, palette: Palette) -> None:
    """Dunes."""
    rng = canvas.rng
    grounds.sand(canvas, palette, dunes=True)
    if rng.random() < 0.3:
        grounds.soil(canvas, palette, grounds.edge(grounds.patches(canvas, rng.uniform(0.05, 0.25), 2), 6))
    if rng.random() < 0.25:
        road(canvas, palette, winding(canvas, 0.05), rng.uniform(5, 9))
    canvas.settle()


def lake(canvas: Canvas, palette: Palette) -> None:
    """A lake in the country."""
    rng = canvas.rng
    _background(canvas, palette, ("grass", "forest", "field", "bare soil"))
    outline = grounds.blob(canvas, rng.uniform(0.16, 0.4))
    if rng.random() < 0.6:
        rim = grounds.edge(outline + rng.uniform(2, 8), 3)
        (grounds.forest if rng.random() < 0.5 else grounds.soil)(canvas, palette, rim)
    grounds.water(canvas, palette, grounds.edge(outline, 1.5), depth=outline / (0.12 * canvas.size_px))
    if rng.random() < 0.35:
        _dry_road(canvas, palette)
    _boats(canvas, 0.35, 4)


def river(canvas: Canvas, palette: Palette) -> None:
    """A river through the country."""
    rng = canvas.rng
    _background(canvas, palette, ("grass", "forest", "field", "bare soil"))
    width = rng.uniform(0.08, 0.3) * canvas.size_px
    outline = grounds.band(canvas, width, rng.uniform(0.6, 1.8))
    if rng.random() < 0.6:
        bank = grounds.edge(outline + rng.uniform(2, 10), 3)
        (grounds.sand if rng.random() < 0.4 else grounds.forest)(canvas, palette, bank)
    grounds.water(canvas, palette, grounds.edge(outline, 1.5))
    canvas.settle()
    _boats(canvas, 0.4, 4)


def beach(canvas: Canvas, palette: Palette) -> None:
    """Sea, foam and sand."""
    rng, size = canvas.rng, canvas.size_px
    _background(canvas, palette, ("grass", "forest", "bare soil"))
    outline = grounds.shore(canvas, rng.uniform(0.3, 0.7))
    width = rng.uniform(0.06, 0.25) * size
    grounds.sand(canvas, palette, grounds.edge(outline + width, 3))
    grounds.water(canvas, palette, grounds.edge(outline, 2), depth=outline / (rng.uniform(0.15, 0.5) * size))
    if canvas.gsd_m <= 3:
        for _ in range(int(rng.integers(1, 4))):
            near = outline - rng.uniform(0, 0.1) * size + 3 * texture(rng, size, "soil")
            foam = np.clip(1 - np.abs(near) / rng.uniform(2, 7), 0, 1) * (outline > 0)
            foam *= np.clip(0.7 + 0.5 * texture(rng, size, "grain"), 0, 1)
            canvas.rgb += foam[..., None] * (np.float32(0.92) - canvas.rgb)
    canvas.settle()
    _boats(canvas, 0.3, 4)
    if canvas.gsd_m <= 1.5 and rng.random() < 0.5:
        trees(canvas, palette, int(rng.integers(3, 30)), ("grass", "bare soil"))


def sea(canvas: Canvas, palette: Palette) -> None:
    """Open water with ships under way."""
    grounds.water(canvas, palette)
    canvas.settle()
    _boats(canvas, 0.9, 9)


def _dry_road(canvas: Canvas, palette: Palette) -> None:
    """A road that stops at the water's edge."""
    road(canvas, palette, winding(canvas, 0.1), canvas.rng.uniform(5, 9))
    canvas.settle(spare="water")


def _boats(canvas: Canvas, chance: float, most: int) -> None:
    rng = canvas.rng
    canvas.settle()
    if canvas.gsd_m > 3.5 or rng.random() > chance:
        return
    heading = rng.uniform(0, 2 * math.pi)
    large = canvas.size_px * canvas.gsd_m > 160 and rng.random() < 0.6
    wanted = int(rng.integers(1, most + 1))
    for _ in range(wanted * 6):
        if sum(thing.label == "ship" for thing in canvas.things) >= wanted:
            break
        metres = rng.uniform(45, 140) if large else rng.uniform(12, 28)
        length = min(max(canvas.px(metres), 16.0), 0.55 * canvas.size_px)
        x, y = rng.uniform(0.05, 0.95, 2) * canvas.size_px
        ship(canvas, x, y, length, heading + rng.choice([0, math.pi]) + rng.normal(0, 0.5), bool(rng.random() < 0.6))
    canvas.settle(texture(rng, canvas.size_px, "grain"), 0.12, only="water")


def town(canvas: Canvas, palette: Palette) -> None:
    """A town in the country as it looks at 10 m."""
    rng = canvas.rng
    grounds.fields(canvas, palette)
    if rng.random() < 0.6:
        grounds.forest(canvas, palette, grounds.edge(grounds.patches(canvas, rng.uniform(0.08, 0.35), 3), 1.2))
    grounds.town(canvas, palette, grounds.edge(grounds.patches(canvas, rng.uniform(0.2, 0.7), rng.uniform(1.5, 3)), 4))
    if rng.random() < 0.4:
        width = rng.uniform(3, 14)
        grounds.water(canvas, palette, grounds.edge(grounds.band(canvas, width, 0.8)))
    for _ in range(int(rng.integers(1, 3))):
        canvas.stroke("road", winding(canvas, 0.1), rng.uniform(1.0, 2.2), palette.road)
    canvas.settle()
