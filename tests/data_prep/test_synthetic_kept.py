"""The rows of `synthetic` stay as they are: a trained model and its probe rest on them."""

from __future__ import annotations

import hashlib

import numpy as np
import PIL
import pytest

from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.schema import Sample

SEED, SIZE = 20260, 64
# The last bits of sines and powers depend on the processor, those of JPEG on Pillow: where these are the ones that the
# rows were recorded with, every byte must be the same.
RECORDED_WITH = "ccb3"
ROWS = "0fd0591b8fbd148e31d97fbf59d6f6f94ed66f9f43efebb8bf572e6d09aad2c0"
SCENES = (  # class, sensor, metres a pixel, boxes, mean brightness
    ("river", "aerial", 0.4, 0, 142.33),
    ("farmland", "sentinel-2", 10.0, 0, 97.71),
    ("bare land", "satellite", 1.01, 1, 103.64),
    ("farmland", "satellite", 3.0, 0, 85.8),
    ("meadow", "satellite", 3.0, 0, 76.45),
    ("sparse residential", "panchromatic", 0.8, 1, 156.19),
    ("forest", "sentinel-2", 10.0, 0, 32.55),
    ("airport", "aerial", 0.39, 2, 109.91),
    ("town", "sentinel-2", 10.0, 0, 73.1),
    ("desert", "satellite", 2.29, 0, 189.07),
    ("port", "satellite", 1.5, 2, 149.34),
    ("forest", "satellite", 3.0, 0, 44.96),
    ("bare land", "satellite", 1.89, 0, 85.14),
    ("farmland", "satellite", 1.15, 0, 111.09),
    ("forest", "satellite", 0.83, 0, 75.25),
    ("sea", "sar", 2.0, 1, 46.87),
)


def _rows(count: int) -> list[Sample]:
    return list(SOURCES.get("synthetic").read(None, SourceOptions(count=count, seed=SEED, size_px=SIZE)))


def _pixels(row: Sample) -> np.ndarray:
    array = row.images[0].array
    assert array is not None
    return array


def _arithmetic() -> str:
    """A fingerprint of this machine's arithmetic and of the packages that draw."""
    v = np.linspace(0.001, 1, 4096, dtype=np.float32)
    parts = [
        v ** np.float32(1.1),
        np.sin(v * 7),
        np.exp(-v),
        np.hypot(v, v[::-1]),
        np.log10(v),
        np.sin(np.float64(v)),
        10**v,
    ]
    digest = hashlib.sha256(b"".join(part.tobytes() for part in parts))
    digest.update(f"{np.__version__} {PIL.__version__}".encode())
    return digest.hexdigest()[:4]


def test_the_rows_are_those_that_were_recorded() -> None:
    digest = hashlib.sha256()
    for row in _rows(40):
        digest.update(_pixels(row).tobytes())
        digest.update(repr((row.id, row.targets, row.meta)).encode())
        digest.update(repr([mask.rle for mask in row.targets.masks]).encode())
    assert digest.hexdigest() == ROWS or _arithmetic() != RECORDED_WITH


def test_the_scenes_are_the_same_on_every_machine() -> None:
    for row, (label, sensor, gsd_m, boxes, brightness) in zip(_rows(len(SCENES)), SCENES, strict=True):
        assert (row.targets.labels[0], row.meta["sensor"], row.meta["gsd_m"]) == (label, sensor, gsd_m)
        assert len(row.targets.boxes) == boxes
        assert float(_pixels(row).mean()) == pytest.approx(brightness, abs=0.1)
