"""What tells pictures apart without their pixels: a hash of all values, perceptual hashes, a thumbnail, an embedding.

They are taken once, on all cores, and kept in a data set of their own below the result (`fingerprints/`), so that a
run that was stopped goes on.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from lhrs_chat import perceptual, samples, storage
from lhrs_chat.errors import LhrsError
from lhrs_chat.geo.opening import sha256_of_array
from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Sample
from lhrs_chat.storage import Location

from .engine import Outcome, run

FOLDER = "fingerprints"
THUMB_PX = 16
_SHOWN_PX = 1024


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What one picture looks like.

    Args:
        sha256: of its values as they are shown; empty where it cannot be read.
        size_px: width and height.
        hashes: (8,) uint64, of its eight turns and mirror images; (0,) where it is flat.
        thumb: (16, 16) uint8, its brightness.
        vector: (D,) float16 of length 1; (0,) where no encoder was asked.
    """

    sha256: str = ""
    size_px: tuple[int, int] = (0, 0)
    hashes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    thumb: np.ndarray = field(default_factory=lambda: np.zeros((THUMB_PX, THUMB_PX), np.uint8))
    vector: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float16))

    def to_dict(self) -> dict[str, Any]:
        """Write it as plain values."""
        arrays = {name: getattr(self, name) for name in ("hashes", "thumb", "vector")}
        packed = {name: base64.b64encode(array.tobytes()).decode() for name, array in arrays.items()}
        return {"sha256": self.sha256, "size_px": list(self.size_px), **packed}

    @staticmethod
    def from_dict(stored: dict[str, Any]) -> Fingerprint:
        """Read what `to_dict` wrote."""
        raw = {name: base64.b64decode(stored[name]) for name in ("hashes", "thumb", "vector")}
        width, height = stored["size_px"]
        return Fingerprint(
            stored["sha256"],
            (width, height),
            np.frombuffer(raw["hashes"], np.uint64),
            np.frombuffer(raw["thumb"], np.uint8).reshape(THUMB_PX, THUMB_PX),
            np.frombuffer(raw["vector"], np.float16),
        )


@dataclass(frozen=True)
class Pictures:
    """The pictures of a data set, each once, and those of every row.

    Args:
        paths: where each picture is.
        prints: what each looks like, in the same order.
        rows: for the pictures of a row, in order, as they are told there, the numbers of these.
    """

    paths: list[str]
    prints: list[Fingerprint]
    rows: dict[tuple[str, ...], tuple[int, ...]]


def take(path: str, model: str | None) -> Fingerprint:
    """Look at one picture; one that cannot be read has a fingerprint without hashes."""
    try:
        with Raster.open(path) as raster:
            pixels = raster.rgb(max_size_px=_SHOWN_PX)
            size_px = raster.size_px
    except (LhrsError, OSError):
        return Fingerprint()
    small = perceptual.small(perceptual.grey_of(pixels), perceptual.WHOLE)
    half = small.reshape(THUMB_PX, 2, THUMB_PX, 2).mean(axis=(1, 3)).astype(np.uint8)
    hashes = perceptual.hashes(pixels, [perceptual.WHOLE], turned=True)
    found = Fingerprint(sha256_of_array(pixels), size_px, hashes, half)
    return found if model is None else replace(found, vector=_encoder(model).embed(pixels))


_taken = lru_cache(maxsize=256)(take)  # rows about one picture mostly follow each other


@lru_cache(maxsize=1)
def _encoder(model: str) -> Any:
    from .embeddings import open_encoder

    return open_encoder(model)


@dataclass(frozen=True)
class Fingerprinting:
    """A step that leaves of each row the places of its pictures and their fingerprints."""

    model: str | None

    def __call__(self, rows: list[Sample]) -> Outcome:
        """Look at the pictures of a batch."""
        return Outcome([self._of(row) for row in rows])

    def _of(self, row: Sample) -> Sample:
        paths = paths_of(row)
        prints = [_taken(path, self.model).to_dict() for path in paths]
        meta = {"paths": list(paths), "prints": prints}
        return Sample(row.id, (), "fingerprint", row.source, row.licence, row.scene_id, meta=meta)


def collect(source: Location, out: Location, model: str | None, engine: dict[str, Any]) -> Pictures:
    """Take the fingerprints of all pictures of a data set, or read those that are there.

    Args:
        source: the data set.
        out: the folder of the result; the fingerprints are kept below it.
        model: whose encoder gives an embedding of every picture; None for none.
        engine: who works, as `engine.run` takes it.

    Raises:
        DataError: as `engine.run`.
        WeightsError: the model cannot be had.
    """
    folder = storage.join(out, FOLDER)
    plan = {"verb": "fingerprints", "embeddings": model}
    if model is not None:
        from .embeddings import weights_of

        plan["weights_sha256"] = weights_of(model)
    run(source, folder, [Fingerprinting(model)], plan=plan, **engine)
    numbers: dict[str, int] = {}
    pictures = Pictures([], [], {})
    for row in samples.read(folder):
        paths = tuple(row.meta["paths"])
        for path, stored in zip(paths, row.meta["prints"], strict=True):
            if path not in numbers:
                numbers[path] = len(pictures.paths)
                pictures.paths.append(path)
                pictures.prints.append(Fingerprint.from_dict(stored))
        pictures.rows[paths] = tuple(numbers[path] for path in paths)
    return pictures


def paths_of(row: Sample) -> tuple[str, ...]:
    """The pictures of a row, each in one way of writing its place."""
    paths = [image.path or "" for image in row.images]
    return tuple(path if storage.is_url(path) else os.path.abspath(path) for path in paths)


def hashes_of(prints: Sequence[Fingerprint]) -> tuple[np.ndarray, np.ndarray]:
    """The pictures that have hashes, (N,) int64, and these, (N, 8) uint64."""
    able = [number for number, found in enumerate(prints) if found.hashes.size]
    hashes = (
        np.stack([prints[number].hashes for number in able]) if able else np.zeros((0, perceptual.TURNS), np.uint64)
    )
    return np.array(able, np.int64), hashes
