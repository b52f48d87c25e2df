"""What happens to a place between two dates: buildings go up, water rises, woods are cut, fields are built over."""

from __future__ import annotations

import math

import numpy as np

from . import grounds
from .canvas import CODE, Canvas, rectangle
from .grounds import Palette
from .structures import hall, house
from .textures import resized

_OPEN = ("grass", "field", "bare soil", "pavement")
_TRIES = 30
_LEAST = 0.03  # of the picture must be there of what is to change


def rise(canvas: Canvas, palette: Palette) -> bool:
    """Water spreads over its shores."""
    there = (canvas.cover == CODE["water"]).astype(np.float32)
    if not _LEAST <= there.mean() < 0.9:
        return False
    size = canvas.size_px
    near = resized(resized(there, max(4, size // 12)), size)
    wet = np.maximum(near - canvas.rng.uniform(0.1, 0.38), there - 0.5) * size / 8
    grounds.water(canvas, palette, grounds.edge(wet, 1.5))
    return True


def clear(canvas: Canvas, palette: Palette) -> bool:
    """A part of the forest is cut; soil or grass is left."""
    return _convert(canvas, palette, ("forest",), grounds.soil if canvas.rng.random() < 0.6 else grounds.grass)


def bare(canvas: Canvas, palette: Palette) -> bool:
    """Grass or fields turn into bare soil."""
    return _convert(canvas, palette, ("grass", "field"), grounds.soil)


def green(canvas: Canvas, palette: Palette) -> bool:
    """Grass takes bare ground."""
    return _convert(canvas, palette, ("bare soil", "sand"), grounds.grass)


def grow_over(canvas: Canvas, palette: Palette) -> bool:
    """Trees take open land where nobody lives."""
    if any(thing.label == "building" for thing in canvas.things):
        return False
    return _convert(canvas, palette, ("grass", "field", "bare soil"), grounds.forest)


def build(canvas: Canvas, palette: Palette) -> bool:
    """Some buildings go up on open land, each on a yard where the pixels are fine enough to tell."""
    rng, size = canvas.rng, canvas.size_px
    if canvas.gsd_m > 3:
        return _convert(canvas, palette, _OPEN, grounds.town)
    wanted, angle = int(rng.integers(1, 7)), rng.uniform(0, math.pi)
    yard = rng.random() < 0.6
    shapes: list[tuple[float, float, float, float]] = []
    for _ in range(_TRIES):
        if len(shapes) == wanted:
            break
        x, y = rng.uniform(0.08, 0.92, 2) * size
        length, width = (max(9.0, canvas.px(rng.uniform(low, high))) for low, high in ((12, 40), (9, 22)))
        apart = all(math.hypot(x - other[0], y - other[1]) > length + other[2] for other in shapes)
        if apart and canvas.free(rectangle(x, y, 1.3 * length, 1.3 * width, angle), covers=_OPEN, inside=0.9):
            shapes.append((x, y, length, width))
            if yard:
                canvas.pave("pavement", rectangle(x, y, 1.25 * length, 1.4 * width, angle), palette.pavement)
    canvas.settle()
    for x, y, length, width in shapes:
        put = hall if length * canvas.gsd_m > 18 else house
        put(canvas, x, y, length, width, angle, rng.uniform(4, 14))
    return bool(shapes)


EVENTS = (rise, clear, bare, green, grow_over, build)
"""All that can happen; each is told a canvas and its colours, and says whether it could happen there."""


def season(canvas: Canvas) -> None:
    """Change the colour of what grows, and of nothing else: a change that is none."""
    rng = canvas.rng
    tint = rng.uniform(0.92, 1.1) * rng.uniform(0.94, 1.06, 3).astype(np.float32)
    green = np.isin(canvas.cover, [CODE[cover] for cover in ("grass", "field", "forest")])[..., None]
    canvas.rgb *= np.where(green, tint, np.float32(1))
    np.clip(canvas.rgb, 0, 1, out=canvas.rgb)


def _convert(canvas: Canvas, palette: Palette, covers: tuple[str, ...], painter: grounds.Painter) -> bool:
    """Paint irregular patches of some covers anew; False where there is too little of them."""
    rng = canvas.rng
    there = np.isin(canvas.cover, [CODE[cover] for cover in covers])
    if there.mean() < _LEAST:
        return False
    patches = np.where(there, grounds.patches(canvas, rng.uniform(0.15, 0.6), rng.uniform(1.5, 3.5)), -1.0)
    if not (patches > 0).any():
        return False
    painter(canvas, palette, grounds.edge(patches, 1.2))
    return True
