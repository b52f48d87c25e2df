"""Grey textures for procedural scenes: fractal noise, tree crowns, small blocks. All have mean 0 and deviation 1."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image

TILE_PX = 512  # side of the periodic tiles that textures are cut from
CROWN_PX = 16  # spacing of the tree crowns in the tile `crown`
BLOCK_PX = 8  # spacing of the cells in the tile `block`
Kind = Literal["cloud", "soil", "grain", "crown", "block"]
_SLOPE = {"cloud": 3.4, "soil": 2.2, "grain": 1.0}  # power falls with frequency to this power


def normalised(values: np.ndarray) -> np.ndarray:
    """Shift and scale to mean 0 and deviation 1, float32."""
    centred = values - values.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-6), dtype=np.float32)


def _power_law(rng: np.random.Generator, slope: float) -> np.ndarray:
    spectrum = np.fft.rfft2(rng.standard_normal((TILE_PX, TILE_PX)))
    fy = np.fft.fftfreq(TILE_PX)[:, None]
    fx = np.fft.rfftfreq(TILE_PX)[None, :]
    frequency = np.hypot(fx, fy)
    frequency[0, 0] = np.inf
    return np.fft.irfft2(spectrum / frequency ** (slope / 2), s=(TILE_PX, TILE_PX))


def _cells(rng: np.random.Generator, spacing_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest of jittered grid points, and that point's index; both periodic."""
    n = TILE_PX // spacing_px
    points = rng.random((n, n, 2)) * spacing_px
    y, x = np.mgrid[0:TILE_PX, 0:TILE_PX]
    row, column = y // spacing_px, x // spacing_px
    best = np.full((TILE_PX, TILE_PX), np.inf)
    index = np.zeros((TILE_PX, TILE_PX), dtype=np.int64)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            r, c = row + down, column + right
            point = points[r % n, c % n]
            distance = np.hypot(point[..., 0] + r * spacing_px - y, point[..., 1] + c * spacing_px - x)
            nearer = distance < best
            best = np.where(nearer, distance, best)
            index = np.where(nearer, (r % n) * n + c % n, index)
    return best, index


@lru_cache(maxsize=8)
def tile(kind: Kind) -> np.ndarray:
    """Make the periodic tile of one kind: (TILE_PX, TILE_PX), float32, always the same."""
    rng = np.random.default_rng([20, *kind.encode()])
    if kind == "crown":
        distance, index = _cells(rng, CROWN_PX)
        height = rng.uniform(0.35, 1.3, index.max() + 1)[index]
        radius = CROWN_PX * 0.72
        ragged = distance / radius * (1 + 0.22 * normalised(_power_law(rng, 2.4)))
        dome = np.sqrt(np.clip(1 - ragged**2, 0, None))
        return normalised(dome * height + 0.07 * normalised(_power_law(rng, 1.5)))
    if kind == "block":
        distance, index = _cells(rng, BLOCK_PX)
        shade = rng.gamma(2.0, 1.0, index.max() + 1)[index]
        return normalised(shade - 0.12 * distance)
    return normalised(_power_law(rng, _SLOPE[kind]))


@lru_cache(maxsize=8)
def _doubled(kind: Kind) -> np.ndarray:
    """Two by two copies of a tile, so that most windows are plain slices of it."""
    return np.tile(tile(kind), (2, 2))


def cut(kind: Kind, origin: tuple[int, int], size_px: int) -> np.ndarray:
    """Cut a square window out of a periodic tile."""
    if size_px <= TILE_PX:
        row, column = origin[0] % TILE_PX, origin[1] % TILE_PX
        return _doubled(kind)[row : row + size_px, column : column + size_px]
    return _repeated(tile(kind), origin, size_px)


def _repeated(values: np.ndarray, origin: tuple[int, int], size_px: int) -> np.ndarray:
    """A square window of a periodic tile that is larger than the tile."""
    rolled = np.roll(values, (-origin[0], -origin[1]), axis=(0, 1))
    times = -(-size_px // TILE_PX)
    return np.tile(rolled, (times, times))[:size_px, :size_px]


def resized(
    values: np.ndarray, size_px: int, smooth: bool = True, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Resize a square float array, or the part `box` (x1, y1, x2, y2) of it, to `size_px`."""
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.BILINEAR
    grey = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(grey.resize((size_px, size_px), method, box=box), dtype=np.float32)


def texture(rng: np.random.Generator, size_px: int, kind: Kind, zoom: float = 1.0) -> np.ndarray:
    """Cut a random window of a tile, turned and mirrored at random, its features `zoom` times as large."""
    window_px = size_px if zoom == 1.0 else max(4, round(size_px / zoom))
    origin = (int(rng.integers(TILE_PX)), int(rng.integers(TILE_PX)))
    turn = int(rng.integers(8))
    values = cut(kind, origin, window_px)
    values = np.rot90(values, turn % 4)
    if turn >= 4:
        values = values[:, ::-1]
    return resized(values, size_px, smooth=False) if window_px != size_px else values


def crowns(rng: np.random.Generator, size_px: int, crown_px: float, sun: tuple[float, float]) -> np.ndarray:
    """Canopy of trees lit from one side: dome height plus its slope towards the sun.

    Args:
        rng: where the window is drawn from.
        size_px: side of the result.
        crown_px: distance between crowns.
        sun: unit vector in the image, from which the light comes.
    """
    lit = _lit_canopy(rng, size_px, crown_px, sun)
    if crown_px >= 4:
        lit = 0.75 * lit + 0.45 * _lit_canopy(rng, size_px, crown_px * rng.uniform(0.4, 0.6), sun)
    return lit


def _lit_canopy(rng: np.random.Generator, size_px: int, crown_px: float, sun: tuple[float, float]) -> np.ndarray:
    zoom = max(crown_px / CROWN_PX, 0.12)
    window_px = max(4, round(size_px / zoom))
    origin = (int(rng.integers(TILE_PX)), int(rng.integers(TILE_PX)))
    side_px = min(window_px, TILE_PX)
    dome = cut("crown", origin, side_px)
    lit = dome - cut("crown", (origin[0] + round(3 * sun[1]), origin[1] + round(3 * sun[0])), side_px)
    canopy = 0.6 * np.minimum(dome, 0.8) + 0.75 * lit
    return resized(canopy if window_px == side_px else _repeated(canopy, (0, 0), window_px), size_px, smooth=False)


def relief(rng: np.random.Generator, size_px: int, cells: float, octaves: int = 3, gain: float = 0.5) -> np.ndarray:
    """Value noise made anew for each scene: `cells` features across the picture, finer octaves `gain` times weaker."""
    n = math.ceil(cells) + 3
    total = rng.standard_normal((n, n)).astype(np.float32)
    weight = gain
    for _ in range(octaves - 1):
        total = resized(total, 2 * total.shape[0])
        total = total + weight * rng.standard_normal(total.shape, dtype=np.float32)
        weight *= gain
    per_cell = total.shape[0] / n
    start, end = 1.5 * per_cell, (1.5 + cells) * per_cell
    return normalised(resized(total, size_px, box=(start, start, end, end)))


def line(rng: np.random.Generator, size_px: int, waves: float, octaves: int = 2) -> np.ndarray:
    """One-dimensional smooth noise: (size_px,), mean 0, deviation 1."""
    total = np.zeros(size_px)
    weight = 1.0
    at = np.linspace(0, 1, size_px)
    for _ in range(octaves):
        for _ in range(2):
            total += weight * rng.normal() * np.sin(2 * np.pi * (at * waves * rng.uniform(0.6, 1.4) + rng.random()))
        waves, weight = waves * 2.1, weight * 0.45
    return normalised(total)


def blurred(values: np.ndarray, weight: float) -> np.ndarray:
    """Spread points a little: each pixel of `values`, (H, W, ...), gives `weight` to its neighbours along both axes."""
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, 0)
        beside = np.empty_like(lines)
        beside[1:-1] = lines[:-2] + lines[2:]
        beside[0], beside[-1] = lines[0] + lines[1], lines[-2] + lines[-1]
        values = (1 - 2 * weight) * values + weight * np.moveaxis(beside, 0, axis)
    return np.asarray(values)
