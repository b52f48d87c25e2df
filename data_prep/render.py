"""How a sensor sees a canvas: optical colour, panchromatic, Sentinel-2 colour, and radar with speckle."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .canvas import COVERS, Canvas
from .textures import relief, texture


@dataclass(frozen=True)
class Sensor:
    """One way of looking.

    Args:
        name: stored with the image.
        bands: names of its three channels.
        gsd_m: finest and coarsest pixel; equal for a fixed one.
        weight: how often it is drawn.
    """

    name: str
    bands: tuple[str, str, str]
    gsd_m: tuple[float, float]
    weight: float

    @property
    def radar(self) -> bool:
        """Whether the picture is backscatter."""
        return self.bands[0] == "vv"


COLOUR = ("red", "green", "blue")
SENSORS = (
    Sensor("aerial", COLOUR, (0.2, 0.4), 0.30),
    Sensor("satellite", COLOUR, (0.5, 3.0), 0.34),
    Sensor("sentinel-2", COLOUR, (10.0, 10.0), 0.18),
    Sensor("panchromatic", ("pan", "pan", "pan"), (0.5, 1.5), 0.09),
    Sensor("sar", ("vv", "vv", "vv"), (1.0, 3.0), 0.05),
    Sensor("sentinel-1", ("vv", "vv", "vv"), (10.0, 10.0), 0.04),
)

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


def render(canvas: Canvas, sensor: Sensor) -> np.ndarray:
    """Turn a finished canvas into a picture: (3, H, W), uint8."""
    if sensor.radar:
        grey = _radar(canvas)
        return np.repeat(grey[None], 3, axis=0)
    rgb = _atmosphere(canvas, sensor)
    if sensor.bands[0] == "pan":
        grey = _bytes(_contrast(canvas.rng, rgb @ np.array([0.38, 0.42, 0.20], dtype=np.float32)))
        return np.repeat(grey[None], 3, axis=0)
    picture = _bytes(rgb)
    if sensor.name != "sentinel-2" and canvas.rng.random() < 0.5:
        picture = _jpeg(picture, int(canvas.rng.integers(70, 96)))
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)


def _blur(values: np.ndarray, weight: float) -> np.ndarray:
    """Small point spread: each pixel gives `weight` to its neighbours along both axes."""
    padded = np.pad(values, ((1, 1), (0, 0), *(((0, 0),) * (values.ndim - 2))), mode="edge")
    values = (1 - 2 * weight) * values + weight * (padded[:-2] + padded[2:])
    padded = np.pad(values, ((0, 0), (1, 1), *(((0, 0),) * (values.ndim - 2))), mode="edge")
    return np.asarray((1 - 2 * weight) * values + weight * (padded[:, :-2] + padded[:, 2:]))


def _contrast(rng: np.random.Generator, grey: np.ndarray) -> np.ndarray:
    low, high = np.quantile(grey[::4, ::4], [0.01, 0.995])
    span = max(float(high - low), 0.3)
    return np.asarray((grey - low) / span * rng.uniform(0.7, 0.95) + rng.uniform(0.02, 0.12))


def _atmosphere(canvas: Canvas, sensor: Sensor) -> np.ndarray:
    """Point spread, uneven light, haze, camera response and noise: (H, W, 3), float32."""
    rng, size = canvas.rng, canvas.size_px
    rgb = _blur(canvas.rgb, float(rng.uniform(0.04, 0.16)))
    light = 1 + 0.03 * relief(rng, size, 1.2, 1)
    rgb = rgb * light[..., None]
    if sensor.name == "sentinel-2":
        if rng.random() < 0.5:  # unstretched: dark and blue
            rgb = rgb * rng.uniform(0.42, 0.7) + np.array([0.04, 0.07, 0.12], dtype=np.float32) * rng.uniform(0.6, 1.2)
        noise = 0.008
    else:
        haze = np.array([0.62, 0.68, 0.74], dtype=np.float32)
        amount = rng.uniform(0, 0.22) ** 1.3
        rgb = rgb * (1 - amount) + haze * amount
        noise = rng.uniform(0.006, 0.024)
    gain = rng.uniform(0.8, 1.18) * (1 + rng.normal(0, 0.025, 3))
    rgb = np.clip(rgb * gain.astype(np.float32), 1e-3, 1) ** np.float32(rng.uniform(0.85, 1.2))
    grey = rgb.mean(axis=2, keepdims=True)
    rgb = grey + (rgb - grey) * np.float32(rng.uniform(0.6, 1.05))
    mono = rng.standard_normal((size, size, 1), dtype=np.float32)
    return np.asarray(rgb + np.float32(noise) * mono, dtype=np.float32)


def _radar(canvas: Canvas) -> np.ndarray:
    """Backscatter in dB by cover, bright things, radar shadow, gamma speckle, stretched to bytes: (H, W)."""
    rng, size = canvas.rng, canvas.size_px
    table = np.array([_BACKSCATTER_DB[cover] for cover in COVERS]) + rng.normal(0, 0.8, len(COVERS))
    level = table[canvas.cover].astype(np.float32)
    luminance = canvas.rgb.mean(axis=2)
    level += 6 * (luminance - luminance.mean()) * (canvas.cover == COVERS.index("field"))
    level += 9 * (luminance - _blur(_blur(luminance, 0.3), 0.3)) + 1.2 * texture(rng, size, "soil")
    if np.any(canvas.cover == COVERS.index("built-up area")):
        strong = texture(rng, size, "block", 0.4) > 1.1
        level += 8 * (strong & (canvas.cover == COVERS.index("built-up area")))
    level -= 9 * canvas.shadow * (1 - canvas.solid)
    if canvas.things:
        by_id = np.array([0.0, *(_THING_DB[thing.label] for thing in canvas.things)], dtype=np.float32)
        present = canvas.ids > 0
        level = np.where(present, by_id[canvas.ids] + 1.5 * texture(rng, size, "grain"), level)
        dx, dy = canvas.sun.towards
        moved = np.roll(canvas.ids, (-round(2 * dy), -round(2 * dx)), axis=(0, 1))
        level += 6 * (present & (moved != canvas.ids))  # double bounce on the side that faces the radar
    looks = float(rng.choice([1.0, 3.0, 5.0, 9.0], p=[0.15, 0.3, 0.3, 0.25]))
    power = 10 ** (level / 10) * rng.standard_gamma(looks, (size, size), dtype=np.float32) / looks
    decibel = 10 * np.log10(np.maximum(_blur(power, 0.08), 1e-4))
    low, high = rng.uniform(-27, -22), rng.uniform(-2, 4)
    return _bytes((decibel - low) / (high - low))


def _jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="JPEG", quality=quality)
    return np.asarray(Image.open(stream))
