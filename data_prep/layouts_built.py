"""Layouts of built scenes: ports, airports, tanks, industry, houses, city, parking."""

from __future__ import annotations

import math

import numpy as np

from . import grounds
from .canvas import Canvas, Colour, rectangle
from .grounds import Palette, pick
from .structures import aircraft, car, hall, house, road, ship, tank, trees, winding
from .textures import texture


def port(canvas: Canvas, palette: Palette) -> None:
    """Quays with berthed ships, sheds, containers; ships in the basin."""
    rng, size = canvas.rng, canvas.size_px
    grounds.water(canvas, palette)
    angle = rng.choice([0, math.pi / 2]) + rng.normal(0, 0.25)
    c, s = math.cos(angle), math.sin(angle)
    side = 1 if rng.random() < 0.5 else -1
    reach = rng.uniform(-0.18, 0.12) * size  # of the quay's edge from the centre, along the normal
    centre = size / 2

    def at(u: float, v: float) -> tuple[float, float]:
        return centre + u * c - v * side * s, centre + u * s + v * side * c

    quay = [at(-2 * size, reach), at(2 * size, reach), at(2 * size, reach + 2 * size), at(-2 * size, reach + 2 * size)]
    canvas.pave("pavement", quay, palette.pavement)
    piers = int(rng.integers(0, 4))
    pier_width, pier_length = canvas.px(rng.uniform(10, 28)), rng.uniform(0.18, 0.36) * size
    offsets = (np.arange(piers) - (piers - 1) / 2) * size / max(piers, 1) * 0.8
    for u in offsets:
        middle = at(float(u), reach - pier_length / 2)
        canvas.pave("pavement", rectangle(*middle, pier_width, pier_length, angle), palette.pavement)
    canvas.settle(texture(rng, size, "soil"), 0.05)
    large = size * canvas.gsd_m > 110
    for _ in range(int(rng.integers(2, 9))):
        length = max(16.0, min(canvas.px(rng.uniform(40, 120) if large else rng.uniform(12, 24)), 0.45 * size))
        off = length * 0.1 + 3
        if piers and rng.random() < 0.6:
            u = float(rng.choice(offsets)) + rng.choice([-1, 1]) * (pier_width / 2 + off)
            ship(canvas, *at(u, reach - rng.uniform(0.4, 0.8) * pier_length), length, angle + math.pi / 2, False)
        elif rng.random() < 0.6:
            ship(canvas, *at(rng.uniform(-0.45, 0.45) * size, reach - off), length, angle, False)
        else:
            x, y = rng.uniform(0.1, 0.9, 2) * size
            ship(canvas, x, y, length, rng.uniform(0, 6.28), bool(rng.random() < 0.5))
    canvas.settle(texture(rng, size, "grain"), 0.12, only="water")
    for _ in range(int(rng.integers(1, 8))):
        length, width = canvas.px(rng.uniform(20, 60)), canvas.px(rng.uniform(14, 26))
        inland = reach + width / 2 + canvas.px(rng.uniform(10, 30)) + rng.uniform(0, 0.4) * size
        x, y = at(rng.uniform(-0.5, 0.5) * size, inland)
        shape = rectangle(x, y, length, width, angle)
        if canvas.free(shape, covers=("pavement",)):
            hall(canvas, x, y, length, width, angle, rng.uniform(5, 14))


def airport(canvas: Canvas, palette: Palette) -> None:
    """Apron with parked aircraft, a runway or taxiway, a terminal, grass between."""
    rng, size = canvas.rng, canvas.size_px
    (grounds.grass if rng.random() < 0.75 else grounds.soil)(canvas, palette)
    angle = rng.uniform(0, math.pi)
    c, s = math.cos(angle), math.sin(angle)

    def at(u: float, v: float) -> tuple[float, float]:
        return size / 2 + u * c - v * s, size / 2 + u * s + v * c

    depth = rng.uniform(0.4, 0.8) * size
    shift = rng.uniform(-0.2, 0.2) * size
    canvas.pave("pavement", rectangle(*at(0, shift), 3 * size, depth, angle), palette.pavement)
    if rng.random() < 0.6:
        v = shift - depth / 2 - canvas.px(rng.uniform(30, 60))
        width = canvas.px(rng.uniform(25, 45))
        dark = pick(rng, ((0.32, 0.32, 0.33), (0.48, 0.47, 0.46)))
        canvas.pave("pavement", rectangle(*at(0, v), 3 * size, width, angle), dark)
        for k in range(-8, 9):
            dash = rectangle(*at(k * canvas.px(45), v), canvas.px(26), max(0.8, canvas.px(0.9)), angle)
            canvas.pave(None, dash, (0.9, 0.9, 0.88))
    for k in range(-3, 4):
        line = [at(k * canvas.px(48), shift - depth / 2), at(k * canvas.px(48), shift + depth / 4)]
        canvas.stroke(None, line, 0.5, (0.82, 0.70, 0.30))
    joints = max(4.0, canvas.px(12))
    canvas.settle(texture(rng, size, "soil") + 0.5 * np.sign(((canvas.x * c + canvas.y * s) % joints) - 1), 0.04)
    big = rng.uniform(26, 55) if size * canvas.gsd_m > 100 else rng.uniform(9, 20)
    wanted, nose = int(rng.integers(1, 10)), float(rng.choice([math.pi / 2, -math.pi / 2]))
    spacing = canvas.px(big * 1.15)
    start = rng.uniform(-0.5, 0.5) * spacing
    for k in range(40):
        if sum(thing.label == "airplane" for thing in canvas.things) >= wanted:
            break
        length = canvas.px(big * rng.uniform(0.8, 1.15))
        if k < 16:
            u, v = start + (k % 8 - 3.5) * spacing, shift + (k // 8 - 0.5) * spacing * 1.5
            aircraft(canvas, *at(u, v), length, angle + nose + rng.normal(0, 0.04))
        elif rng.random() < 0.3:
            u, v = rng.uniform(-0.5, 0.5) * size, shift + rng.uniform(-0.4, 0.4) * depth
            aircraft(canvas, *at(u, v), length, angle + rng.uniform(0, 6.28))
    for _ in range(int(rng.integers(0, 4))):
        width = canvas.px(rng.uniform(18, 40))
        v = shift + depth / 2 + width / 2 - rng.uniform(0, 6)
        x, y = at(rng.uniform(-0.4, 0.4) * size, v)
        hall(canvas, x, y, canvas.px(rng.uniform(30, 90)), width, angle, rng.uniform(8, 18))


def storage_tanks(canvas: Canvas, palette: Palette) -> None:
    """Rows of tanks in yards, with service roads and sheds."""
    rng, size = canvas.rng, canvas.size_px
    (grounds.soil if rng.random() < 0.5 else grounds.grass)(canvas, palette)
    angle = rng.uniform(0, math.pi / 2)
    radius_m = rng.uniform(6, 24)
    pitch = canvas.px(radius_m * rng.uniform(2.5, 3.4))
    c, s = math.cos(angle), math.sin(angle)
    yard = rng.uniform(0.5, 1.2) * size
    centre = rng.uniform(0.4, 0.6, 2) * size
    if rng.random() < 0.7:
        canvas.pave("pavement", rectangle(centre[0], centre[1], yard * 1.1, yard, angle), tone_of(palette, rng))
    if rng.random() < 0.7:
        road(canvas, palette, winding(canvas, 0.01), rng.uniform(5, 8))
    canvas.settle(texture(rng, size, "soil"), 0.06)
    colour = pick(rng, ((0.93, 0.93, 0.92), (0.82, 0.82, 0.80), (0.62, 0.64, 0.66), (0.72, 0.52, 0.38)))
    n = max(1, min(5, int(yard / pitch)))
    wanted = int(rng.integers(1, n * n + 1))
    for k in rng.permutation(n * n):
        if wanted == 0:
            break
        u, v = (k % n - (n - 1) / 2) * pitch, (k // n - (n - 1) / 2) * pitch
        x, y = centre[0] + u * c - v * s, centre[1] + u * s + v * c
        radius = canvas.px(radius_m) * rng.choice([1.0, 1.0, 0.7])
        if canvas.free(rectangle(x, y, 2 * radius, 2 * radius, angle), covers=("pavement", "grass", "bare soil")):
            wanted -= tank(canvas, x, y, max(radius, 4.0), rng.uniform(9, 20), colour)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(0.1, 0.9, 2) * size
        hall(canvas, x, y, canvas.px(rng.uniform(14, 30)), canvas.px(rng.uniform(9, 16)), angle, rng.uniform(3, 9))


def tone_of(palette: Palette, rng: np.random.Generator) -> Colour:
    """Paved yard: the scene's pavement, or gravel near its soil."""
    return palette.pavement if rng.random() < 0.5 else pick(rng, (palette.soil, (0.58, 0.55, 0.50)))


def industrial(canvas: Canvas, palette: Palette) -> None:
    """Large halls in a turned grid of streets and yards."""
    rng, size = canvas.rng, canvas.size_px
    (grounds.grass if rng.random() < 0.6 else grounds.soil)(canvas, palette)
    angle = rng.uniform(0, math.pi / 2)
    c, s = math.cos(angle), math.sin(angle)
    block = canvas.px(rng.uniform(60, 110))
    cells = range(-math.ceil(size / block), math.ceil(size / block) + 1)
    offset = rng.uniform(-0.5, 0.5, 2) * block

    def at(u: float, v: float) -> tuple[float, float]:
        return size / 2 + u * c - v * s, size / 2 + u * s + v * c

    for i in cells:
        for j in cells:
            x, y = at((i + 0.5) * block + offset[0], (j + 0.5) * block + offset[1])
            if -block < x < size + block and -block < y < size + block and rng.random() < 0.75:
                canvas.pave("pavement", rectangle(x, y, block * 0.86, block * 0.86, angle), tone_of(palette, rng))
    for i in cells:
        u, v = i * block + offset[0], i * block + offset[1]
        road(canvas, palette, [at(u, -2 * size), at(u, 2 * size)], 9)
        road(canvas, palette, [at(-2 * size, v), at(2 * size, v)], 9)
    canvas.settle(texture(rng, size, "soil"), 0.06)
    ground = ("pavement", "grass", "bare soil")
    for i in cells:
        for j in cells:
            for _ in range(int(rng.integers(1, 4))):
                u, v = (np.array([i, j]) + rng.uniform(0.28, 0.72, 2)) * block + offset
                x, y = at(float(u), float(v))
                if not (0 < x < size and 0 < y < size):
                    continue
                length, width = block * rng.uniform(0.25, 0.6), block * rng.uniform(0.18, 0.42)
                turn = angle + math.pi / 2 * rng.integers(2)
                if canvas.free(rectangle(x, y, length, width, turn), covers=ground):
                    hall(canvas, x, y, length, width, turn, rng.uniform(5, 16))
    trees(canvas, palette, int(rng.integers(0, 40)), ("grass", "bare soil"))
    _traffic(canvas, angle, int(rng.integers(0, 14)))


def _traffic(canvas: Canvas, angle: float, count: int) -> None:
    rng = canvas.rng
    if canvas.gsd_m > 0.6:
        return
    for _ in range(count):
        x, y = rng.uniform(0, canvas.size_px, 2)
        turn = angle + math.pi / 2 * int(rng.integers(4))
        if canvas.free(rectangle(x, y, canvas.px(5), canvas.px(2.2), turn), covers=("road", "pavement"), inside=0.9):
            car(canvas, x, y, turn)


def _residential(canvas: Canvas, palette: Palette, lot_m: float, garden_trees: int) -> None:
    rng, size = canvas.rng, canvas.size_px
    (grounds.grass if palette.climate != "arid" else grounds.soil)(canvas, palette)
    angle = rng.uniform(0, math.pi / 2)
    c, s = math.cos(angle), math.sin(angle)
    lot = canvas.px(lot_m)
    street_m = rng.uniform(6, 9)
    block_v = 2 * lot + canvas.px(street_m + 6)
    bend = rng.normal(0, 0.0009)
    shift = rng.uniform(-0.5, 0.5) * block_v

    def at(u: float, v: float) -> tuple[float, float]:
        v += bend * u * u * 256 / size
        return size / 2 + u * c - v * s, size / 2 + u * s + v * c

    rows = range(-math.ceil(size / block_v), math.ceil(size / block_v) + 1)
    for j in rows:
        v = j * block_v + shift
        road(canvas, palette, [at(u, v) for u in np.linspace(-1, 1, 17) * size], street_m)
    cross = rng.uniform(-0.3, 0.3) * size
    if rng.random() < 0.6:
        road(canvas, palette, [at(cross, v) for v in (-size, size)], street_m)
    low, high = (0.42, 0.62) if lot_m < 20 else (0.3, 0.5)
    houses = []
    for j in rows:
        for i in range(-math.ceil(size / lot) - 1, math.ceil(size / lot) + 2):
            for row_side in (-1, 1):
                u = i * lot + rng.normal(0, 0.06) * lot
                v = j * block_v + shift + row_side * (canvas.px(street_m / 2 + 3) + lot * 0.5)
                x, y = at(u, v)
                if not (0 < x < size and 0 < y < size) or abs(u - cross) < lot * 0.7 or rng.random() < 0.08:
                    continue
                tilt = angle + math.atan(2 * bend * u * 256 / size)
                houses.append((x, y, tilt))
                if canvas.gsd_m <= 1:
                    gate = at(u + lot * 0.33, v - row_side * lot * 0.55)
                    canvas.pave("pavement", rectangle(*gate, canvas.px(3.2), lot * 0.5, tilt), palette.pavement)
    canvas.settle(texture(rng, size, "soil"), 0.05)
    for x, y, tilt in houses:
        length, width = lot * rng.uniform(low, high) * 1.3, lot * rng.uniform(low, high)
        turn = tilt + math.pi / 2 * int(rng.random() < 0.3)
        ground = ("grass", "bare soil", "pavement")
        if canvas.free(rectangle(x, y, length, width, turn), covers=ground):
            house(canvas, x, y, length, width, turn, rng.uniform(4, 10))
    trees(canvas, palette, garden_trees, ("grass", "bare soil"))
    _traffic(canvas, angle, int(rng.integers(0, 30)))


def dense_residential(canvas: Canvas, palette: Palette) -> None:
    """Small lots along parallel streets."""
    lot_m = canvas.rng.uniform(13, 18)
    area = (canvas.size_px * canvas.gsd_m) ** 2
    _residential(canvas, palette, lot_m, min(90, int(area / 900 * canvas.rng.uniform(0.2, 1))))


def sparse_residential(canvas: Canvas, palette: Palette) -> None:
    """Large gardens, many trees."""
    lot_m = canvas.rng.uniform(26, 40)
    area = (canvas.size_px * canvas.gsd_m) ** 2
    _residential(canvas, palette, lot_m, min(140, int(area / 300 * canvas.rng.uniform(0.4, 1.2))))


def city(canvas: Canvas, palette: Palette) -> None:
    """Blocks of flats of very different height around streets."""
    rng, size = canvas.rng, canvas.size_px
    grounds.grass(canvas, palette)
    angle = rng.uniform(0, math.pi / 2)
    c, s = math.cos(angle), math.sin(angle)
    block = canvas.px(rng.uniform(45, 80))

    def at(u: float, v: float) -> tuple[float, float]:
        return size / 2 + u * c - v * s, size / 2 + u * s + v * c

    cells = range(-math.ceil(size / block), math.ceil(size / block) + 1)
    for i in cells:
        for j in cells:
            if rng.random() < 0.7:
                middle = at((i + 0.5) * block, (j + 0.5) * block)
                canvas.pave("pavement", rectangle(*middle, block * 0.9, block * 0.9, angle), palette.pavement)
    for i in cells:
        road(canvas, palette, [at(i * block, -2 * size), at(i * block, 2 * size)], 11)
        road(canvas, palette, [at(-2 * size, i * block), at(2 * size, i * block)], 11)
    canvas.settle(texture(rng, size, "soil"), 0.05)
    for i in cells:
        for j in cells:
            x, y = at((i + 0.5) * block, (j + 0.5) * block)
            if 0 < x < size and 0 < y < size and rng.random() < 0.85:
                sides = block * rng.uniform(0.28, 0.62, 2)
                height_m = float(rng.choice([8, 14, 25, 40])) * rng.uniform(0.8, 1.2)
                hall(canvas, x, y, float(sides[0]), float(sides[1]), angle, height_m)
    trees(canvas, palette, int(rng.integers(5, 40)), ("grass", "pavement"), (3, 7))
    _traffic(canvas, angle, int(rng.integers(0, 30)))


def parking(canvas: Canvas, palette: Palette) -> None:
    """Rows of marked bays, some taken."""
    rng, size = canvas.rng, canvas.size_px
    grounds.grass(canvas, palette)
    angle = rng.uniform(0, math.pi)
    c, s = math.cos(angle), math.sin(angle)
    extent = rng.uniform(0.6, 1.5, 2) * size

    def at(u: float, v: float) -> tuple[float, float]:
        return size / 2 + u * c - v * s, size / 2 + u * s + v * c

    canvas.pave("pavement", rectangle(size / 2, size / 2, float(extent[0]), float(extent[1]), angle), palette.pavement)
    if rng.random() < 0.5:
        road(canvas, palette, [at(u, 0.62 * size) for u in (-size, size)], 8)

    bay, row = canvas.px(2.7), canvas.px(16.5)
    n_u, n_v = int(extent[0] * 0.45 / bay), int(extent[1] * 0.45 / row) + 1
    taken = rng.choice([0.04, 0.12, 0.35, 0.75])
    spots = []
    for j in range(-n_v, n_v + 1):
        for i in range(-n_u, n_u + 1):
            for half in (-1, 1):
                u, v = i * bay, j * row + half * canvas.px(2.6)
                x, y = at(u, v)
                if abs(v) > extent[1] * 0.46 or not (-9 < x < size + 9 and -9 < y < size + 9):
                    continue
                line = [at(u - bay / 2, j * row), at(u - bay / 2, j * row + half * canvas.px(5))]
                canvas.stroke(None, line, 0.5, (0.86, 0.86, 0.83))
                spots.append((x, y))
    canvas.settle(texture(rng, size, "soil"), 0.05)
    for x, y in spots:
        if rng.random() < taken:
            car(canvas, x, y, angle + math.pi / 2 + math.pi * int(rng.integers(2)) + rng.normal(0, 0.03))
    trees(canvas, palette, int(rng.integers(0, 25)), ("grass",), (3, 7))
