"""Heights of a procedural scene: what stands above the ground, and the ground itself."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .canvas import CODE, SUPERSAMPLING, Canvas, crown_of
from .textures import relief, resized

_STEEP_DEG = 24.0  # the steepest root mean square slope of natural ground
_BUILT_DEG = 5.0  # and of ground with buildings
# Sides of the picture over which a bank turns into hills, and how the valley floor rises from the water.
_BANK, _VALLEY, _LEAST_RISE = 0.2, 3.0, 0.4
_COARSE_PX = 64  # side of the grid on which distances to the water are measured
_PER_CROWN = 1.7  # height of a tree in widths of its crown


def above_ground(canvas: Canvas) -> np.ndarray:
    """Height above ground of a finished canvas: (H, W) float32, metres in steps of 0.1.

    Things are flat blocks of their height. Single trees are half ellipsoids. Closed forest is as high as its crowns are
    wide times 1.7, higher where its canopy is lit. All else is 0.
    """
    height = np.zeros((canvas.size_px, canvas.size_px), dtype=np.float32)
    _raise_forest(canvas, height)
    _raise_trees(canvas, height)
    if canvas.things:
        by_id = np.array([0.0, *(thing.height_m for thing in canvas.things)], dtype=np.float32)
        height = np.where(canvas.ids > 0, by_id[canvas.ids], height)
    return np.round(height, 1)


def _raise_forest(canvas: Canvas, height: np.ndarray) -> None:
    is_forest = canvas.cover == CODE["forest"]
    for stand in canvas.stands:
        there = is_forest if stand.where is None else is_forest & (stand.where > 0.5)
        top_m = _PER_CROWN * stand.crown_m * np.clip(1 + 0.12 * stand.canopy, 0.6, 1.3)
        height[there] = top_m[there]


def _raise_trees(canvas: Canvas, height: np.ndarray) -> None:
    if not canvas.trees:
        return
    side = canvas.size_px * SUPERSAMPLING
    layer = Image.new("I", (side, side))
    pen = ImageDraw.Draw(layer)
    for number, tree in enumerate(canvas.trees, start=1):
        crown = crown_of(tree.x, tree.y, tree.radius)
        pen.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in crown], fill=number)
    number_at = np.asarray(layer)[1::SUPERSAMPLING, 1::SUPERSAMPLING]
    rows, columns = np.nonzero((number_at > 0) & (canvas.ids == 0))
    trees = np.array([(t.x, t.y, t.radius, t.height_m) for t in canvas.trees], dtype=np.float32)
    x, y, radius, top_m = trees[number_at[rows, columns] - 1].T
    off = ((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2) / radius**2
    height[rows, columns] = top_m * np.sqrt(np.clip(1 - off, 0.1, 1))


def terrain(canvas: Canvas) -> np.ndarray:
    """Bare ground that suits a finished canvas: (H, W) float32, metres above sea level in steps of 0.01.

    All water lies flat at the lowest level of the scene and the ground rises from its shores.
    """
    rng, size = canvas.rng, canvas.size_px
    ground = relief(rng, size, rng.uniform(1.2, 2.6), 4, 0.3)
    angle, tilt = rng.uniform(0, 2 * math.pi), rng.uniform(0, 2)
    ground = ground + tilt * (canvas.x * math.cos(angle) + canvas.y * math.sin(angle)) / size
    dry = canvas.cover != CODE["water"]
    if dry.all():
        ground -= ground.min()
    else:
        away = _distance(dry)
        ground = dry * np.maximum(ground * (1 - np.exp(-away / _BANK)) + _VALLEY * away, _LEAST_RISE * away)
    down, right = np.gradient(ground, canvas.gsd_m)
    rms = max(float(np.sqrt((down**2 + right**2).mean())), 1e-9)
    built = bool(np.isin(canvas.cover, [CODE["building"], CODE["pavement"], CODE["built-up area"]]).mean() > 0.02)
    slope_deg = rng.uniform(0.5, _BUILT_DEG) if built else _STEEP_DEG * rng.uniform(0.05, 1) ** 1.5
    height = rng.uniform(0, 400) + ground * (math.tan(math.radians(slope_deg)) / rms)
    return np.asarray(np.round(height, 2), dtype=np.float32)


def _distance(dry: np.ndarray) -> np.ndarray:
    """Smooth distance to the nearest place that is not `dry`, (H, W) bool, in sides of the picture: (H, W) float32.

    Exact on a coarse grid (the lower envelope of parabolas, column by column), then enlarged.
    """
    size = dry.shape[0]
    side = min(size, _COARSE_PX)
    wet = resized(~dry, side, smooth=False) >= 0.5
    at = np.arange(side)
    apart = np.abs(at[:, None] - at[None, :]).astype(np.float32)
    along = np.where(wet[:, None, :], apart[None], 2.0 * side).min(axis=2)  # row, column: to the nearest in the row
    squared = (along[None] ** 2 + apart[:, :, None] ** 2).min(axis=1)
    return np.asarray(np.clip(resized(np.sqrt(squared) / side, size), 0, 1))


def lit(canvas: Canvas, dem_m: np.ndarray) -> np.ndarray:
    """How much more light slopes get than flat ground: (H, W) float32, 1 = flat (Lambert's cosine law).

    Args:
        canvas: for its sun and pixel size.
        dem_m: (H, W), metres.
    """
    down, right = np.gradient(dem_m, canvas.gsd_m)
    sx, sy = canvas.sun.towards
    elevation = canvas.sun.elevation
    facing = math.sin(elevation) - math.cos(elevation) * (sx * right + sy * down)
    light = facing / np.sqrt(1 + down**2 + right**2) / math.sin(elevation)
    return np.asarray(np.clip(light, 0.35, 1.6), dtype=np.float32)
