"""The sample scenes that ship with the demo: real images with their credits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.geo.raster import Raster

FOLDER = Path(__file__).parent / "scenes"
THUMBNAIL_PX = 320


@dataclass(frozen=True)
class Scene:
    """One sample scene. `questions`: what is worth asking about it."""

    path: Path
    title: str
    credit: str
    licence: str
    questions: tuple[str, ...]

    def thumbnail(self) -> np.ndarray:
        """Read a small picture of it: (H, W, 3), uint8."""
        with Raster.open(self.path) as raster:
            return raster.rgb(max_size_px=THUMBNAIL_PX)


def load(folder: Path = FOLDER) -> list[Scene]:
    """Read the list of sample scenes; an absent list is an empty one.

    Raises:
        DataError: a row lacks a field.
    """
    listing = folder / "scenes.jsonl"
    if not listing.is_file():
        return []
    scenes = []
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        row = json.loads(line)
        missing = [key for key in ("file", "title", "credit", "licence") if key not in row]
        if missing:
            raise DataError(f"{listing}, line {number} lacks a field", found=sorted(row), allowed=missing)
        questions = tuple(row.get("questions", ()))
        scenes.append(Scene(folder / row["file"], row["title"], row["credit"], row["licence"], questions))
    return scenes
