"""A backend that speaks from a script, and small scenes on disk."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from lhrs_chat.geo.frames import Placement
from lhrs_chat.models.backends import Delta, Done, Request

Speech = Callable[[str], str]


class ScriptedBackend:
    """Says word by word what `speech` makes of the last question; sends every picture as 32 x 32 pixels."""

    name = "scripted"
    weights_sha256 = "b" * 64
    dialect = "brackets100"

    def __init__(self, speech: Speech) -> None:
        self.speech = speech
        self.requests: list[Request] = []

    def generate(self, requests: Sequence[Request], stop: threading.Event | None = None) -> Iterator[Delta | Done]:
        for number, request in enumerate(requests):
            self.requests.append(request)
            prompt = request.messages[-1].text
            said = []
            for word in re.findall(r"\S+\s*", self.speech(prompt)):
                if stop is not None and stop.is_set():
                    break
                said.append(word)
                yield Delta(number, word)
            height, width = request.images[-1].shape[:2]
            yield Done(
                number,
                "".join(said),
                confidence=0.75,
                tokens=len(said),
                prompt=f"<user>{prompt}",
                placement=Placement.whole((width, height), (32, 32)),
                stopped=stop is not None and stop.is_set(),
            )


@pytest.fixture
def scripted() -> Callable[[str | Speech], ScriptedBackend]:
    """Make a backend from one text, or from a function of the question."""

    def make(speech: str | Speech) -> ScriptedBackend:
        return ScriptedBackend((lambda question: speech) if isinstance(speech, str) else speech)

    return make


@pytest.fixture
def coast(tmp_path: Path) -> Path:
    """A scene of 80 x 40 pixels of 10 m, its left quarter water and the rest vegetation, in UTM zone 50."""
    path = tmp_path / "coast.tif"
    blue, green, red, nir = np.zeros((4, 40, 80), np.uint16)
    land = np.arange(80) >= 20
    blue[:], green[:], red[:], nir[:] = 900, 1000, np.where(land, 500, 400), np.where(land, 4000, 200)
    noise = np.random.default_rng(1).integers(0, 30, (4, 40, 80), dtype=np.uint16)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=80,
        height=40,
        count=4,
        dtype="uint16",
        crs="EPSG:32650",
        transform=from_origin(500000, 3450000, 10, 10),
    ) as file:
        file.write(np.stack([blue, green, red, nir]) + noise)
        file.descriptions = ("blue", "green", "red", "nir")
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A plain picture of 60 x 30 pixels without a place on the map."""
    import PIL.Image

    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(2).integers(0, 255, (30, 60, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    return path
