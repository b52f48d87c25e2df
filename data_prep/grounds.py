"""Natural ground of procedural scenes: the colours of one scene; areas of water, trees, crops, soil, grass, sand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Colour, Stand, planes
from .textures import crowns, line, relief, texture

_CLIMATES: dict[str, dict[str, tuple[Colour, ...]]] = {
    "temperate": {
        "grass": ((0.32, 0.42, 0.22), (0.40, 0.46, 0.28), (0.26, 0.37, 0.23), (0.36, 0.40, 0.27)),
        "forest": ((0.13, 0.21, 0.12), (0.17, 0.27, 0.15), (0.20, 0.31, 0.20), (0.12, 0.18, 0.13)),
        "soil": ((0.55, 0.45, 0.35), (0.62, 0.53, 0.42), (0.48, 0.40, 0.33)),
        "crop": ((0.25, 0.38, 0.20), (0.35, 0.46, 0.24), (0.55, 0.52, 0.32), (0.50, 0.42, 0.33), (0.62, 0.55, 0.42)),
    },
    "arid": {
        "grass": ((0.45, 0.45, 0.29), (0.52, 0.48, 0.33), (0.40, 0.42, 0.28)),
        "forest": ((0.20, 0.25, 0.16), (0.24, 0.28, 0.18)),
        "soil": ((0.72, 0.56, 0.42), (0.68, 0.50, 0.37), (0.77, 0.66, 0.52), (0.66, 0.60, 0.52)),
        "crop": ((0.28, 0.40, 0.22), (0.66, 0.55, 0.40), (0.58, 0.48, 0.36), (0.45, 0.46, 0.28)),
    },
    "tropical": {
        "grass": ((0.28, 0.45, 0.22), (0.34, 0.50, 0.28), (0.24, 0.40, 0.22)),
        "forest": ((0.10, 0.24, 0.13), (0.14, 0.32, 0.18), (0.18, 0.38, 0.22)),
        "soil": ((0.60, 0.36, 0.26), (0.66, 0.44, 0.32), (0.54, 0.36, 0.28)),
        "crop": ((0.22, 0.42, 0.20), (0.34, 0.50, 0.24), (0.58, 0.42, 0.32), (0.46, 0.50, 0.30)),
    },
    "autumn": {
        "grass": ((0.42, 0.41, 0.27), (0.36, 0.38, 0.25), (0.46, 0.42, 0.32)),
        "forest": ((0.30, 0.25, 0.16), (0.24, 0.25, 0.16), (0.35, 0.31, 0.23), (0.18, 0.22, 0.15)),
        "soil": ((0.50, 0.42, 0.34), (0.44, 0.37, 0.31)),
        "crop": ((0.48, 0.40, 0.32), (0.42, 0.35, 0.29), (0.34, 0.42, 0.22), (0.58, 0.50, 0.36), (0.52, 0.46, 0.38)),
    },
}
_WATERS: tuple[Colour, ...] = (
    (0.09, 0.14, 0.18),
    (0.12, 0.24, 0.34),
    (0.10, 0.22, 0.42),
    (0.18, 0.30, 0.27),
    (0.30, 0.38, 0.34),
    (0.40, 0.39, 0.30),
    (0.08, 0.17, 0.18),
    (0.22, 0.36, 0.46),
)
_SANDS: tuple[Colour, ...] = ((0.88, 0.78, 0.60), (0.93, 0.88, 0.78), (0.80, 0.70, 0.55), (0.74, 0.63, 0.47))
_ROADS: tuple[Colour, ...] = ((0.34, 0.34, 0.35), (0.46, 0.46, 0.46), (0.56, 0.55, 0.53), (0.66, 0.64, 0.60))
_PAVEMENTS: tuple[Colour, ...] = ((0.36, 0.36, 0.38), (0.50, 0.50, 0.50), (0.66, 0.65, 0.62), (0.75, 0.72, 0.67))


Painter = Callable[[Canvas, "Palette", np.ndarray | None], None]


def pick(rng: np.random.Generator, colours: tuple[Colour, ...], jitter: float = 0.03) -> Colour:
    """Take one colour, a little lighter or darker and a little off in hue."""
    base = np.array(colours[int(rng.integers(len(colours)))])
    moved = np.clip(base * rng.uniform(0.88, 1.12) + rng.normal(0, jitter * 0.5, 3), 0.02, 0.98)
    return float(moved[0]), float(moved[1]), float(moved[2])


@dataclass(frozen=True)
class Palette:
    """The colours of one scene."""

    climate: str
    grass: Colour
    forest: Colour
    soil: Colour
    crops: tuple[Colour, ...]
    water: Colour
    sand: Colour
    road: Colour
    pavement: Colour

    @staticmethod
    def draw(rng: np.random.Generator) -> Palette:
        """Choose a climate and its colours."""
        climate = str(rng.choice(["temperate", "arid", "tropical", "autumn"], p=[0.45, 0.2, 0.2, 0.15]))
        colours = _CLIMATES[climate]
        return Palette(
            climate=climate,
            grass=pick(rng, colours["grass"]),
            forest=pick(rng, colours["forest"], 0.02),
            soil=pick(rng, colours["soil"]),
            crops=tuple(pick(rng, colours["crop"]) for _ in range(7)),
            water=pick(rng, _WATERS, 0.02),
            sand=pick(rng, _SANDS),
            road=pick(rng, _ROADS, 0.01),
            pavement=pick(rng, _PAVEMENTS, 0.01),
        )


def coloured(colour: Colour, shade: np.ndarray, tint: np.ndarray | None = None, amount: float = 0.0) -> np.ndarray:
    """A colour as bright as `shade`: (H, W), 1 = unchanged; `tint`: (H, W) moves it between warm and cool."""
    colours = np.asarray(colour, dtype=np.float32)[:, None, None] * shade.astype(np.float32)
    if tint is not None:
        colours += (amount * tint).astype(np.float32) * np.array([[[0.5]], [[0.15]], [[-0.35]]], dtype=np.float32)
    return planes(colours)


def edge(distance_px: np.ndarray, softness_px: float = 1.0) -> np.ndarray:
    """Soft mask of the places where `distance_px` is positive."""
    return np.clip(distance_px / softness_px + 0.5, 0, 1)


def grass(canvas: Canvas, palette: Palette, where: np.ndarray | None = None) -> None:
    """Meadow: fine grain with patches of drier and greener growth, and traces of mowing on some."""
    rng, size = canvas.rng, canvas.size_px
    patches = relief(rng, size, rng.uniform(2, 5), 4, 0.6)
    shade = 1 + 0.05 * texture(rng, size, "grain") + 0.06 * patches + 0.05 * texture(rng, size, "soil")
    if rng.random() < 0.3 and canvas.gsd_m < 3:
        angle = rng.uniform(0, math.pi)
        along = canvas.x * math.cos(angle) + canvas.y * math.sin(angle)
        shade += 0.03 * np.sign(np.sin(2 * math.pi * along / max(4.0, canvas.px(rng.uniform(3, 8)))))
    canvas.fill("grass", coloured(palette.grass, shade, patches, 0.04), where)


def soil(canvas: Canvas, palette: Palette, where: np.ndarray | None = None) -> None:
    """Bare ground: blotches, rills, and tracks of vehicles or water on some."""
    rng, size = canvas.rng, canvas.size_px
    patches = relief(rng, size, rng.uniform(2, 6), 4, 0.65)
    shade = 1 + 0.09 * patches + 0.06 * texture(rng, size, "soil") + 0.04 * texture(rng, size, "grain")
    if rng.random() < 0.5:
        rills = np.abs(relief(rng, size, rng.uniform(3, 7), 3))
        shade -= 0.16 * np.clip(1 - rills / 0.12, 0, 1) * rng.choice([-1.0, 1.0])
    colours = coloured(palette.soil, shade, texture(rng, size, "soil"), 0.03)
    if rng.random() < 0.5:
        shrubs = np.clip(texture(rng, size, "grain", 1.5) + 0.7 * patches - rng.uniform(1.7, 2.6), 0, 1)[..., None]
        colours += 0.7 * shrubs * (np.asarray(palette.forest, dtype=np.float32) * 1.3 - colours)
    canvas.fill("bare soil", colours, where)


def sand(canvas: Canvas, palette: Palette, where: np.ndarray | None = None, dunes: bool = False) -> None:
    """Beach, or a desert with dunes lit by the sun."""
    rng, size = canvas.rng, canvas.size_px
    shade = 1 + 0.03 * texture(rng, size, "grain") + 0.04 * texture(rng, size, "soil")
    if dunes:
        angle = canvas.sun.azimuth + rng.uniform(-0.6, 0.6)
        bend = relief(rng, size, rng.uniform(2, 4), 3) * rng.uniform(0.5, 1.3)
        waves = rng.uniform(5, 16) / size
        phase = 2 * math.pi * (canvas.x * math.cos(angle) + canvas.y * math.sin(angle)) * waves + 2.2 * bend
        ridge = np.sin(phase) + 0.35 * np.sin(2 * phase + 0.7)
        shade += rng.uniform(0.04, 0.13) * ridge * (0.6 + 0.4 * np.tanh(bend)) + 0.06 * relief(rng, size, 3, 2)
    canvas.fill("sand", coloured(palette.sand, shade), where)


def forest(canvas: Canvas, palette: Palette, where: np.ndarray | None = None) -> None:
    """Closed canopy: crowns of 5 to 12 m lit from the sun, stands of different kinds."""
    rng, size = canvas.rng, canvas.size_px
    stands = relief(rng, size, rng.uniform(2, 4), 3)
    crown_m = rng.uniform(5, 12)
    crown_px = canvas.px(crown_m)
    if crown_px >= 2.2:
        canopy = crowns(rng, size, crown_px, canvas.sun.towards)
        shade = 1 + rng.uniform(0.22, 0.36) * canopy + 0.06 * stands + 0.04 * texture(rng, size, "grain")
    else:
        canopy = texture(rng, size, "grain")
        shade = 1 + 0.10 * canopy + 0.08 * stands + 0.05 * texture(rng, size, "soil")
    canvas.stands.append(Stand(where, canopy, crown_m))
    colours = coloured(palette.forest, np.clip(shade, 0.25, 2.2), stands, 0.02)
    canvas.fill("forest", colours, where)


def water(canvas: Canvas, palette: Palette, where: np.ndarray | None = None, depth: np.ndarray | None = None) -> None:
    """Water with waves and currents; `depth`: (H, W), 0 at the shore to 1, lightens shallows."""
    rng, size = canvas.rng, canvas.size_px
    shade = 1 + 0.05 * relief(rng, size, rng.uniform(1, 3), 3) + 0.02 * texture(rng, size, "grain")
    if canvas.gsd_m <= 2:
        angle = rng.uniform(0, math.pi)
        bent = canvas.x * math.cos(angle) + canvas.y * math.sin(angle) + 3 * texture(rng, size, "soil")
        wave_px = max(3.0, canvas.px(rng.uniform(2, 9)))
        shade += rng.uniform(0, 0.045) * np.sin(2 * math.pi * bent / wave_px)
    colours = coloured(palette.water, shade)
    if depth is not None:
        shallow = np.clip(1 - depth, 0, 1)[..., None].astype(np.float32)
        light = 0.5 * np.asarray(palette.water, dtype=np.float32) + np.array([0.16, 0.27, 0.25], dtype=np.float32)
        colours += shallow**2 * 0.8 * (light - colours)
    if rng.random() < 0.12:
        glint = np.clip(texture(rng, size, "grain") - 1.2, 0, 1)[..., None] * rng.uniform(0.1, 0.4)
        colours = colours + glint
    canvas.fill("water", colours, where)


def fields(canvas: Canvas, palette: Palette, where: np.ndarray | None = None) -> None:
    """Parcels of crops in a turned grid, each with its colour, rows and direction."""
    rng, size = canvas.rng, canvas.size_px
    angle = rng.uniform(0, math.pi)
    bend = relief(rng, size, 1.5, 2) * rng.uniform(0, 0.03) * size
    u = canvas.x * math.cos(angle) + canvas.y * math.sin(angle) + bend
    v = -canvas.x * math.sin(angle) + canvas.y * math.cos(angle) + bend[::-1]
    mean_px = max(9.0, min(canvas.px(rng.uniform(60, 220)), size / 1.7))
    column, side_u = _strips(rng, u, mean_px)
    ratio = rng.uniform(0.5, 3)
    starts = rng.uniform(0, 1, column.max() + 1) * mean_px * ratio
    row, side_v = _strips(rng, v + starts[column].astype(np.float32), mean_px * ratio)
    parcel = column * (row.max() + 1) + row
    n = int(parcel.max()) + 1
    colours = np.asarray(palette.crops, dtype=np.float32)[rng.integers(len(palette.crops), size=n)]
    colours = np.clip(colours * rng.uniform(0.88, 1.14, (n, 1)) + rng.normal(0, 0.015, (n, 3)), 0.03, 0.95)
    row_px = np.maximum(2.6, canvas.px(1.0) * rng.uniform(0.8, 9, n))
    strength = rng.uniform(0, 0.07, n) * (rng.random(n) < 0.8)
    along = np.where(rng.random(n)[parcel] < 0.5, u, v)
    stripes = np.sin(2 * math.pi * along / row_px[parcel]) * strength[parcel]
    shade = 1 + stripes + 0.05 * texture(rng, size, "soil") + 0.03 * texture(rng, size, "grain")
    picture = planes(np.stack([channel[parcel] * shade for channel in colours.T]).astype(np.float32))
    border_px = canvas.px(rng.uniform(1.5, 5))
    if border_px > 0.35:
        border = edge(border_px / 2 - np.minimum(side_u, side_v), 1.0)[..., None] * rng.uniform(0.3, 0.9)
        hedge = palette.forest if rng.random() < 0.5 else tuple(1.1 * c for c in palette.soil)
        picture += border * (np.asarray(hedge, dtype=np.float32) - picture)
    canvas.fill("field", picture, where)


def _strips(rng: np.random.Generator, along: np.ndarray, mean_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut an axis into strips of random width: index of the strip, and distance to its nearer edge."""
    low, high = float(along.min()) - 1, float(along.max()) + 1
    widths = mean_px * rng.uniform(0.55, 1.6, int((high - low) / mean_px * 2) + 3)
    cuts = low - rng.uniform(0, 1) * mean_px + np.concatenate([[0], np.cumsum(widths)])
    index = np.clip(np.searchsorted(cuts, along.ravel()).reshape(along.shape) - 1, 0, len(cuts) - 2)
    side = np.minimum(along - cuts[index], cuts[index + 1] - along)
    return index, side.astype(np.float32)


def town(canvas: Canvas, palette: Palette, where: np.ndarray | None = None) -> None:
    """Built-up area as it looks at 10 m: a mosaic of roofs, streets and gardens without separate buildings."""
    rng, size = canvas.rng, canvas.size_px
    blocks = texture(rng, size, "block", rng.uniform(0.3, 0.5))
    quarters = relief(rng, size, rng.uniform(3, 6), 3)
    bright = np.clip(texture(rng, size, "block", rng.uniform(0.6, 0.9)) - rng.uniform(1.2, 2.2), 0, 1)
    shade = np.clip(1 + 0.22 * blocks + 0.08 * quarters + 0.10 * texture(rng, size, "grain"), 0.3, 2.4)
    grey = coloured((0.44, 0.42, 0.41), shade, texture(rng, size, "block", 0.45), 0.07)
    grey += bright[..., None] * 0.35
    green = np.clip(0.4 * texture(rng, size, "grain", 2.0) - 0.3 * quarters - 0.1, 0, 0.7)[..., None]
    grey += green * (np.asarray(palette.grass, dtype=np.float32) * 0.8 - grey)
    angle, spacing = rng.uniform(0, math.pi), rng.uniform(9, 16)
    for axis in (angle, angle + math.pi / 2):
        along = canvas.x * math.cos(axis) + canvas.y * math.sin(axis) + 2.0 * texture(rng, size, "cloud")
        street = edge(0.5 - np.abs((along % spacing) - spacing / 2), 1.0)[..., None]
        grey += 0.3 * street * (np.asarray(palette.road, dtype=np.float32) - grey)
    canvas.fill("built-up area", grey, where)


def blob(canvas: Canvas, radius: float, roughness: float = 0.25) -> np.ndarray:
    """Signed distance-like field of a lake-like outline, positive inside; `radius` as a share of the picture's side."""
    rng, size = canvas.rng, canvas.size_px
    cx, cy = rng.uniform(0.25, 0.75, 2) * size
    stretch, angle = rng.uniform(0.55, 1.0), rng.uniform(0, math.pi)
    dx, dy = canvas.x - cx, canvas.y - cy
    u = dx * math.cos(angle) + dy * math.sin(angle)
    v = (-dx * math.sin(angle) + dy * math.cos(angle)) / stretch
    reach = radius * size
    return np.asarray(reach - np.hypot(u, v) + roughness * reach * relief(rng, size, rng.uniform(3, 5), 4, 0.5))


def band(canvas: Canvas, width_px: float, bends: float = 1.2) -> np.ndarray:
    """Signed distance-like field of a winding band across the picture (river), positive inside."""
    rng, size = canvas.rng, canvas.size_px
    centre = rng.uniform(0.3, 0.7) * size + line(rng, size, bends) * size * rng.uniform(0.03, 0.11)
    slope = np.gradient(centre)
    half = width_px / 2 * (1 + 0.18 * line(rng, size, 2.5))
    distance = half[:, None] - np.abs(canvas.x - centre[:, None]) / np.sqrt(1 + slope[:, None] ** 2)
    turned = np.rot90(distance, int(rng.integers(2)))
    lean = float(rng.uniform(-0.4, 0.4))
    shifted = np.clip((canvas.x + lean * (canvas.y - size / 2)).round().astype(int), 0, size - 1)
    return np.asarray(turned[canvas.y.astype(int), shifted])


def shore(canvas: Canvas, share: float) -> np.ndarray:
    """Signed distance-like field of a half plane with a wavy edge, positive over about `share` of the picture."""
    rng, size = canvas.rng, canvas.size_px
    angle = rng.uniform(0, 2 * math.pi)
    along = canvas.x * math.cos(angle) + canvas.y * math.sin(angle)
    wavy = along + relief(rng, size, rng.uniform(1.2, 3), 3, 0.4) * size * rng.uniform(0.01, 0.06)
    return np.asarray(wavy - float(np.quantile(wavy[::4, ::4], 1 - share)))


def patches(canvas: Canvas, share: float, cells: float) -> np.ndarray:
    """Signed field of irregular patches that fill about `share` of the picture."""
    noise = relief(canvas.rng, canvas.size_px, cells, 4, 0.5)
    threshold = float(np.quantile(noise[::4, ::4], 1 - share))
    return (noise - threshold) * canvas.size_px / cells / 2
