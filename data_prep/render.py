"""How a sensor sees a canvas: optical colour, panchromatic, Sentinel-2 colour, and radar with speckle."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from . import radar
from .canvas import Canvas
from .textures import blurred, relief


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


def render(canvas: Canvas, sensor: Sensor) -> np.ndarray:
    """Turn a finished canvas into a picture: (3, H, W), uint8."""
    if sensor.radar:
        return radar_picture(radar.from_above(canvas))
    rgb = _atmosphere(canvas, sensor)
    if sensor.bands[0] == "pan":
        grey = _bytes(_contrast(canvas.rng, np.ascontiguousarray(rgb) @ np.array([0.38, 0.42, 0.20], dtype=np.float32)))
        return np.repeat(grey[None], 3, axis=0)
    picture = _bytes(rgb)
    if sensor.name != "sentinel-2" and canvas.rng.random() < 0.5:
        picture = _jpeg(picture, int(canvas.rng.integers(70, 96)))
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def radar_picture(values: np.ndarray) -> np.ndarray:
    """Backscatter as stretched by `radar`, (H, W), as a grey picture: (3, H, W), uint8."""
    return np.repeat(_bytes(values)[None], 3, axis=0)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)


def _contrast(rng: np.random.Generator, grey: np.ndarray) -> np.ndarray:
    low, high = np.quantile(grey[::4, ::4], [0.01, 0.995])
    span = max(float(high - low), 0.3)
    return np.asarray((grey - low) / span * rng.uniform(0.7, 0.95) + rng.uniform(0.02, 0.12))


def _atmosphere(canvas: Canvas, sensor: Sensor) -> np.ndarray:
    """Point spread, uneven light, haze, camera response and noise: (H, W, 3), float32."""
    rng, size = canvas.rng, canvas.size_px
    rgb = blurred(canvas.rgb, float(rng.uniform(0.04, 0.16)))
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
    grey = ((rgb[..., 0] + rgb[..., 1] + rgb[..., 2]) / np.float32(3))[..., None]
    rgb = grey + (rgb - grey) * np.float32(rng.uniform(0.6, 1.05))
    mono = rng.standard_normal((size, size, 1), dtype=np.float32)
    return np.asarray(rgb + np.float32(noise) * mono, dtype=np.float32)


def _jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="JPEG", quality=quality)
    return np.asarray(Image.open(stream))
