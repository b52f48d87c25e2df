"""An assistant that speaks from a script, and two sample scenes: one with a place on the map and one without."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import rasterio
from rasterio.transform import from_origin

from lhrs_chat.chat import Assistant
from lhrs_chat.geo.frames import Placement
from lhrs_chat.models.backends import Delta, Done, Request


class ScriptedBackend:
    """Answers with a box where it is asked for a place, at length where it is asked to describe, else shortly."""

    name = "scripted"
    weights_sha256 = "c" * 64
    dialect = "brackets100"

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.pause_s = 0.0

    def generate(self, requests: Sequence[Request], stop: threading.Event | None = None) -> Iterator[Delta | Done]:
        for number, request in enumerate(requests):
            self.requests.append(request)
            question = request.messages[-1].text
            text = "A <b>coast</b> with fields."
            if "Where" in question:
                text = "It is at [25, 25, 75, 75]."
            elif "Describe" in question:
                text = "It goes on and on. " * 40
            said = ""
            for word in re.findall(r"\S+\s*", text):
                if stop is not None and stop.is_set():
                    break
                said += word
                time.sleep(self.pause_s)
                yield Delta(number, word)
            height, width = request.images[-1].shape[:2]
            placement = Placement.whole((width, height), (224, 224))
            stopped = stop is not None and stop.is_set()
            yield Done(number, said, 0.8, 5, question, placement=placement, stopped=stopped)


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def assistant(backend: ScriptedBackend) -> Assistant:
    return Assistant(backend)


@pytest.fixture
def samples_folder(tmp_path: Path) -> Path:
    """A folder like demo/scenes: coast.tif (georeferenced) and town.png (not)."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    rng = np.random.default_rng(4)
    pixels = rng.integers(60, 90, (3, 240, 320), dtype=np.uint8)
    pixels[2, :, :110] += 90
    pixels[1, :, 110:] += 60
    with rasterio.open(
        folder / "coast.tif",
        "w",
        driver="GTiff",
        width=320,
        height=240,
        count=3,
        dtype="uint8",
        crs="EPSG:32650",
        transform=from_origin(500000, 3450000, 10, 10),
    ) as file:
        file.write(pixels)
    PIL.Image.fromarray(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)).save(folder / "town.png")
    terms = {"credit": "made by the tests", "licence": "CC0-1.0"}
    rows = [
        {"file": "coast.tif", "title": "A coast", "questions": ["Where is the harbour?"], **terms},
        {"file": "town.png", "title": "A town", **terms},
    ]
    (folder / "scenes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
