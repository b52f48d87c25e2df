"""How a radar sees a canvas: backscatter by cover, bright things, shadow, gamma speckle."""

from __future__ import annotations

import math

import numpy as np

from .canvas import COVERS, Canvas
from .textures import blurred, texture

# Typical C-band VV backscatter in dB: calm water darkest, then sand and asphalt, crops, forest, built-up brightest.
_BACKSCATTER_DB = {
    "water": -21.0,
    "forest": -8.5,
    "field": -11.5,
    "bare soil": -13.0,
    "grass": -12.5,
    "sand": -17.0,
    "road": -17.5,
    "pavement": -16.5,
    "building": -5.0,
    "built-up area": -4.5,
}
_THING_DB = {"ship": 1.0, "airplane": -2.0, "storage tank": -1.0, "car": -3.0, "building": -4.0}
_SHADOW_DB = -26.0


def decibels(canvas: Canvas) -> np.ndarray:
    """Backscatter of cover and texture alone: (H, W) float32, dB."""
    rng, size = canvas.rng, canvas.size_px
    table = np.array([_BACKSCATTER_DB[cover] for cover in COVERS]) + rng.normal(0, 0.8, len(COVERS))
    level: np.ndarray = table[canvas.cover].astype(np.float32)
    luminance = canvas.rgb.mean(axis=2)
    level += 6 * (luminance - luminance.mean()) * (canvas.cover == COVERS.index("field"))
    level += 9 * (luminance - blurred(blurred(luminance, 0.3), 0.3)) + 1.2 * texture(rng, size, "soil")
    if np.any(canvas.cover == COVERS.index("built-up area")):
        strong = texture(rng, size, "block", 0.4) > 1.1
        level += 8 * (strong & (canvas.cover == COVERS.index("built-up area")))
    return level


def things_over(canvas: Canvas, level: np.ndarray) -> np.ndarray:
    """`level`: (H, W) dB with the things of the canvas on it, brighter where they face the radar."""
    if not canvas.things:
        return level
    rng, size = canvas.rng, canvas.size_px
    by_id = np.array([0.0, *(_THING_DB[thing.label] for thing in canvas.things)], dtype=np.float32)
    present = canvas.ids > 0
    level = np.where(present, by_id[canvas.ids] + 1.5 * texture(rng, size, "grain"), level)
    dx, dy = canvas.sun.towards
    moved = np.roll(canvas.ids, (-round(2 * dy), -round(2 * dx)), axis=(0, 1))
    level += 6 * (present & (moved != canvas.ids))  # double bounce
    return level


def speckled(rng: np.random.Generator, power: np.ndarray) -> np.ndarray:
    """Gamma speckle of a random number of looks, stretched: (H, W), 0 to 1 and a little beyond."""
    looks = float(rng.choice([1.0, 3.0, 5.0, 9.0], p=[0.15, 0.3, 0.3, 0.25]))
    power = power * rng.standard_gamma(looks, power.shape, dtype=np.float32) / looks
    decibel = 10 * np.log10(np.maximum(blurred(power, 0.08), 1e-4))
    low, high = rng.uniform(-27, -22), rng.uniform(-2, 4)
    return np.asarray((decibel - low) / (high - low))


def from_above(canvas: Canvas) -> np.ndarray:
    """The canvas as if the radar looked along the light, without displacement: (H, W), 0 to 1 and a little beyond."""
    level = decibels(canvas)
    level -= 9 * canvas.shadow * (1 - canvas.solid)
    level = things_over(canvas, level)
    return speckled(canvas.rng, 10 ** (level / 10))


def from_the_side(canvas: Canvas, height_m: np.ndarray) -> np.ndarray:
    """The canvas as a side-looking radar maps it on the ground: (H, W), 0 to 1 and a little beyond.

    What is high falls towards the radar by height / tan(incidence) and adds up there (layover); behind it lies a
    shadow of height * tan(incidence).

    Args:
        canvas: finished.
        height_m: (H, W), height above ground.
    """
    rng, size = canvas.rng, canvas.size_px
    incidence = math.radians(rng.uniform(30, 50))
    from_right = rng.random() < 0.5
    power = 10 ** (things_over(canvas, decibels(canvas)) / 10)
    if from_right:
        power, height_m = power[:, ::-1], height_m[:, ::-1]
    reach_m = float(height_m.max()) * max(math.tan(incidence), 1 / math.tan(incidence))
    margin = min(size, math.ceil(reach_m / canvas.gsd_m))  # what stands outside is taken to be the mirrored inside
    power, height_m = (np.pad(values, ((0, 0), (margin, margin)), mode="symmetric") for values in (power, height_m))
    wide = size + 2 * margin
    x = np.arange(wide, dtype=np.float32)
    ends = x + height_m * (math.tan(incidence) / canvas.gsd_m)
    blocked = np.zeros(ends.shape, dtype=bool)
    blocked[:, 1:] = ends[:, 1:] < np.maximum.accumulate(ends, axis=1)[:, :-1] - 0.5
    column = x - np.rint(height_m / (math.tan(incidence) * canvas.gsd_m))
    seen = ~blocked & (column >= 0)
    place = (np.arange(size)[:, None] * wide + column).astype(np.int64)[seen]
    fallen = np.bincount(place, power[seen], minlength=size * wide).reshape(size, wide)[:, margin : margin + size]
    mapped = np.maximum(fallen, 10 ** (_SHADOW_DB / 10))
    return speckled(rng, mapped[:, ::-1] if from_right else mapped)
