"""Man-made things of procedural scenes: houses, halls, tanks, aircraft, ships, cars. Sizes are those of real ones."""

from __future__ import annotations

import math

import numpy as np

from .canvas import Canvas, Colour, Polygon, disk, placed, rectangle
from .grounds import Palette, pick

_ROOFS: tuple[Colour, ...] = (
    (0.55, 0.53, 0.50),
    (0.42, 0.40, 0.39),
    (0.58, 0.36, 0.27),
    (0.64, 0.45, 0.34),
    (0.32, 0.30, 0.30),
    (0.70, 0.67, 0.62),
    (0.48, 0.42, 0.36),
)
_HALLS: tuple[Colour, ...] = (
    (0.90, 0.90, 0.89),
    (0.74, 0.74, 0.73),
    (0.58, 0.58, 0.57),
    (0.40, 0.47, 0.56),
    (0.66, 0.60, 0.54),
    (0.46, 0.38, 0.34),
    (0.82, 0.80, 0.76),
    (0.45, 0.56, 0.62),
)
_CARS: tuple[Colour, ...] = (
    (0.93, 0.93, 0.93),
    (0.90, 0.90, 0.88),
    (0.62, 0.63, 0.65),
    (0.12, 0.12, 0.13),
    (0.20, 0.20, 0.22),
    (0.62, 0.12, 0.12),
    (0.14, 0.22, 0.45),
    (0.45, 0.42, 0.38),
)
_HULLS: tuple[Colour, ...] = ((0.55, 0.22, 0.18), (0.28, 0.30, 0.34), (0.62, 0.62, 0.60), (0.20, 0.28, 0.24))
_DECKS: tuple[Colour, ...] = ((0.88, 0.88, 0.86), (0.60, 0.35, 0.28), (0.52, 0.56, 0.54), (0.74, 0.70, 0.62))
_LOADS: tuple[Colour, ...] = ((0.70, 0.30, 0.22), (0.25, 0.38, 0.58), (0.80, 0.78, 0.72), (0.30, 0.48, 0.36))

_FUSELAGE: Polygon = [
    (0.50, 0.0),
    (0.47, 0.030),
    (0.40, 0.050),
    (-0.25, 0.050),
    (-0.50, 0.014),
    (-0.50, -0.014),
    (-0.25, -0.050),
    (0.40, -0.050),
    (0.47, -0.030),
]
_WING: Polygon = [(0.14, 0.04), (-0.17, 0.48), (-0.24, 0.48), (-0.10, 0.04)]
_TAIL: Polygon = [(-0.36, 0.02), (-0.47, 0.18), (-0.52, 0.18), (-0.48, 0.02)]
_ENGINE: Polygon = [(0.10, 0.15), (0.10, 0.19), (-0.01, 0.19), (-0.01, 0.15)]
_HULL: Polygon = [
    (0.50, 0.0),
    (0.42, 0.055),
    (0.30, 0.075),
    (-0.44, 0.075),
    (-0.50, 0.055),
    (-0.50, -0.055),
    (-0.44, -0.075),
    (0.30, -0.075),
    (0.42, -0.055),
]


def tone(colour: Colour, factor: float) -> Colour:
    """A colour made darker or lighter."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def _mirrored(shape: Polygon) -> Polygon:
    return [(x, -y) for x, y in shape]


def _facing(canvas: Canvas, angle: float) -> float:
    """How much a slope that falls along `angle` faces the sun: -1 to 1."""
    sx, sy = canvas.sun.towards
    return math.cos(angle) * sx + math.sin(angle) * sy


def house(canvas: Canvas, x: float, y: float, length: float, width: float, angle: float, height_m: float) -> bool:
    """A house with a gable or hip roof, sides in pixels; False if there is no room."""
    shape = rectangle(x, y, length, width, angle)
    if not canvas.free(shape):
        return False
    rng = canvas.rng
    canvas.shade(shape, height_m)
    colour = pick(rng, _ROOFS)
    light = 0.24 * _facing(canvas, angle + math.pi / 2)
    hip = width / 2 if rng.random() < 0.5 else 0.0
    ridge = placed([(-length / 2 + hip, 0), (length / 2 - hip, 0)], x, y, 1.0, angle)
    parts = [
        (shape, tone(colour, 1 + 0.2 * _facing(canvas, angle))),
        ([shape[0], shape[1], ridge[1], ridge[0]], tone(colour, 1 - light)),
        ([shape[2], shape[3], ridge[0], ridge[1]], tone(colour, 1 + light)),
    ]
    if hip:
        parts.append(([shape[3], shape[0], ridge[0]], tone(colour, 1 - 0.2 * _facing(canvas, angle))))
    if rng.random() < 0.35:
        wing = rectangle(*placed([(length * rng.uniform(-0.25, 0.25), width * 0.62)], x, y, 1.0, angle)[0],
                         length * 0.4, width * 0.5, angle)  # fmt: skip
        parts.insert(0, (wing, tone(colour, 0.95)))
        canvas.put("building", parts, [shape, wing], height_m)
    else:
        canvas.put("building", parts, [shape], height_m)
    return True


def hall(canvas: Canvas, x: float, y: float, length: float, width: float, angle: float, height_m: float) -> bool:
    """A flat-roofed block (hall, terminal, tower) with parapet, bays and roof machines; False if there is no room."""
    shape = rectangle(x, y, length, width, angle)
    if not canvas.free(shape):
        return False
    rng = canvas.rng
    canvas.shade(shape, height_m)
    colour = pick(rng, _HALLS)
    parts = [(shape, tone(colour, 0.82)), (rectangle(x, y, length - 1.6, width - 1.6, angle), colour)]
    if rng.random() < 0.5 and length > 20:
        bays = int(rng.integers(2, 7))
        for i in range(1, bays):
            u = length * (i / bays - 0.5)
            at = placed([(u, 0)], x, y, 1.0, angle)[0]
            parts.append((rectangle(*at, max(1.0, length * 0.012), width - 2, angle), tone(colour, 0.9)))
    for _ in range(int(rng.integers(0, 6))):
        u, v = rng.uniform(-0.4, 0.4, 2)
        side = max(1.0, canvas.px(rng.uniform(1.2, 3.5)))
        at = placed([(u * length, v * width)], x, y, 1.0, angle)[0]
        parts.append((rectangle(*at, side * 1.4, side, angle), tone(colour, float(rng.choice([0.7, 1.15])))))
    canvas.put("building", parts, [shape], height_m)
    return True


def tank(canvas: Canvas, x: float, y: float, radius: float, height_m: float, colour: Colour) -> bool:
    """A cylindrical storage tank, fixed or floating roof; False if there is no room."""
    rng = canvas.rng
    shape = disk(x, y, radius, 28)
    if not canvas.free(disk(x, y, radius * 1.15, 8)):
        return False
    canvas.shade(shape, height_m)
    sx, sy = canvas.sun.towards
    parts = [(shape, tone(colour, 0.88)), (disk(x + sx * 0.6, y + sy * 0.6, radius * 0.93, 28), colour)]
    if rng.random() < 0.45:
        parts.append((disk(x, y, radius * 0.86, 24), tone(colour, 0.72)))
        parts.append((disk(x - sx * radius * 0.14, y - sy * radius * 0.14, radius * 0.72, 24), tone(colour, 0.92)))
    else:
        parts.append((disk(x + sx * radius * 0.3, y + sy * radius * 0.3, radius * 0.45, 18), tone(colour, 1.05)))
    angle = rng.uniform(0, 2 * math.pi)
    ladder = rectangle(x + math.cos(angle) * radius * 0.5, y + math.sin(angle) * radius * 0.5, radius, 0.8, angle)
    parts.append((ladder, tone(colour, 0.7)))
    canvas.put("storage tank", parts, [shape], height_m)
    return True


def aircraft(canvas: Canvas, x: float, y: float, length: float, angle: float) -> bool:
    """An airliner or a smaller plane, nose along `angle`; False if there is no room."""
    rng = canvas.rng
    span = placed([(0.5, 0), (-0.2, 0.48), (-0.5, 0), (-0.2, -0.48)], x, y, length, angle)
    if not canvas.free(span, inside=0.75):
        return False
    white = pick(rng, ((0.94, 0.94, 0.94), (0.86, 0.87, 0.88), (0.78, 0.80, 0.82)), 0.01)
    accent = pick(rng, ((0.16, 0.24, 0.50), (0.68, 0.16, 0.15), (0.85, 0.85, 0.84), (0.82, 0.55, 0.15)))
    flat = [_FUSELAGE, _WING, _mirrored(_WING), _TAIL, _mirrored(_TAIL), _ENGINE, _mirrored(_ENGINE)]
    shapes = [placed(shape, x, y, length, angle) for shape in flat]
    height_m = max(1.5, 0.06 * length * canvas.gsd_m)
    for shape in shapes:
        canvas.shade(shape, height_m, convex=False)
    spine = placed([(0.44, 0.014), (0.44, -0.014), (-0.48, -0.008), (-0.48, 0.008)], x, y, length, angle)
    fin = placed([(-0.34, 0.01), (-0.50, 0.02), (-0.50, -0.02), (-0.34, -0.01)], x, y, length, angle)
    parts = [(shape, tone(white, 0.86)) for shape in shapes[1:5]]
    parts += [(shapes[5], tone(white, 0.7)), (shapes[6], tone(white, 0.7)), (shapes[0], white)]
    parts += [(spine, tone(white, 1.06)), (fin, accent)]
    canvas.put("airplane", parts, shapes, height_m * 2)
    return True


def ship(canvas: Canvas, x: float, y: float, length: float, angle: float, wake: bool) -> bool:
    """A cargo ship (over 50 m) or a boat on water, bow along `angle`; False if there is no room."""
    rng = canvas.rng
    beam = rng.uniform(0.9, 1.35)
    outline = [(u, v * beam) for u, v in _HULL]
    shape = placed(outline, x, y, length, angle)
    if not canvas.free(shape, covers=("water",), inside=0.7):
        return False
    metres = length * canvas.gsd_m
    height_m = min(18.0, max(1.5, 0.07 * metres))
    if wake:
        row, column = (min(canvas.size_px - 1, max(0, int(v))) for v in (y, x))
        calm = canvas.rgb[row, column]
        reach, spread = rng.uniform(0.8, 2.2), rng.uniform(0.06, 0.16)
        for share, brightness in ((1.0, 0.14), (0.6, 0.22), (0.3, 0.34)):  # fading astern
            tail = reach * share
            wake_shape = [(-0.42, 0.03), (-0.42 - tail, spread * share + 0.03), (-0.42 - 0.92 * tail, 0.0),
                          (-0.42 - tail, -spread * share - 0.03), (-0.42, -0.03)]  # fmt: skip
            red, green, blue = (float(c + brightness * (0.9 - c)) for c in calm)
            canvas.pave(None, placed(wake_shape, x, y, length, angle), (red, green, blue))
    canvas.shade(shape, height_m)
    deck = pick(rng, _DECKS)
    hull = pick(rng, _HULLS) if metres > 30 else tone(deck, 0.85)
    parts = [(shape, hull), (placed([(u * 0.95, v * 0.78) for u, v in outline], x, y, length, angle), deck)]
    if metres > 50:
        bridge = placed([(-0.46, 0.05 * beam), (-0.36, 0.05 * beam), (-0.36, -0.05 * beam), (-0.46, -0.05 * beam)],
                        x, y, length, angle)  # fmt: skip
        parts.append((bridge, (0.92, 0.92, 0.90)))
        if rng.random() < 0.65:
            bays = int(rng.integers(4, 9))
            for i in range(bays):
                u0 = -0.32 + 0.66 * i / bays
                u1, v = u0 + 0.5 / bays, 0.05 * beam
                hold = [(u0, v), (u1, v), (u1, -v), (u0, -v)]
                parts.append((placed(hold, x, y, length, angle), pick(rng, _LOADS)))
    else:
        cabin = [(-0.2, 0.04), (0.12, 0.04), (0.18, 0.0), (0.12, -0.04), (-0.2, -0.04)]
        parts.append((placed(cabin, x, y, length, angle), (0.30, 0.33, 0.38)))
    canvas.put("ship", parts, [shape], height_m)
    return True


def car(canvas: Canvas, x: float, y: float, angle: float) -> bool:
    """A car of about 4.6 m; False if there is no room."""
    rng = canvas.rng
    length, width = canvas.px(rng.uniform(4.2, 5.0)), canvas.px(rng.uniform(1.75, 2.0))
    shape = placed([(-0.5, -0.42), (-0.42, -0.5), (0.42, -0.5), (0.5, -0.36), (0.5, 0.36), (0.42, 0.5), (-0.42, 0.5),
                    (-0.5, 0.42)], 0, 0, 1.0, 0.0)  # fmt: skip
    body = placed([(u * length, v * width) for u, v in shape], x, y, 1.0, angle)
    if not canvas.free(rectangle(x, y, length, width, angle), inside=0.8):
        return False
    canvas.shade(body, 1.4)
    colour = pick(rng, _CARS, 0.02)
    parts = [(body, colour)]
    if canvas.gsd_m <= 0.6:
        glass = (0.13, 0.15, 0.18)
        for u0, u1 in ((0.12, 0.27), (-0.38, -0.28)):
            pane = [(u0 * length, -0.4 * width), (u1 * length, -0.36 * width), (u1 * length, 0.36 * width),
                    (u0 * length, 0.4 * width)]  # fmt: skip
            parts.append((placed(pane, x, y, 1.0, angle), glass))
        roof = [(-0.26 * length, -0.38 * width), (0.1 * length, -0.38 * width), (0.1 * length, 0.38 * width),
                (-0.26 * length, 0.38 * width)]  # fmt: skip
        parts.append((placed(roof, x, y, 1.0, angle), tone(colour, 1.08)))
    canvas.put("car", parts, [body], 1.4)
    return True


def trees(
    canvas: Canvas, palette: Palette, count: int, on: tuple[str, ...], crown_m: tuple[float, float] = (3, 9)
) -> None:
    """Scatter single trees over some covers, away from things."""
    rng = canvas.rng
    reach = canvas.size_px
    for _ in range(count):
        x, y = rng.uniform(0, reach, 2)
        radius = max(1.2, canvas.px(rng.uniform(*crown_m)) / 2)
        if canvas.free(disk(x, y, radius * 1.1, 4), covers=on, inside=0.2):
            canvas.tree(x, y, radius, pick(rng, (palette.forest,), 0.02))


def road(canvas: Canvas, palette: Palette, points: Polygon, width_m: float, marked: bool = True) -> None:
    """A road with shoulders, and its centre line where the pixels are fine enough."""
    width = max(1.0, canvas.px(width_m))
    if canvas.gsd_m <= 2:
        canvas.stroke(None, points, width * 1.25, tone(palette.soil, 1.05))
    canvas.stroke("road", points, width, palette.road)
    if marked and canvas.gsd_m <= 0.6 and width_m >= 6:
        canvas.stroke(None, points, 0.5, (0.88, 0.87, 0.80))


def winding(canvas: Canvas, wander: float = 0.08) -> Polygon:
    """Points of a gently curved line that crosses the whole picture."""
    rng, size = canvas.rng, canvas.size_px
    angle = rng.uniform(0, 2 * math.pi)
    cx, cy = rng.uniform(0.25, 0.75, 2) * size
    bow, wave, phase = rng.normal(0, wander), rng.normal(0, wander * 0.5), rng.uniform(0, 6.28)
    local = [(t * size, size * (bow * t * t + wave * math.sin(3 * t + phase))) for t in np.linspace(-1, 1, 25)]
    return placed(local, cx, cy, 1.0, angle)
