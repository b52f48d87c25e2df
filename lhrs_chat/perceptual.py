"""Whether two pictures show the same, though one of them is scaled, turned, mirrored, cut, compressed or brighter.

First by hashes of 64 bits: the signs of the lowest 8 x 8 frequencies of the grey picture at 32 x 32 pixels against
their median (pHash: Zauner, 2010), for the whole and for parts of it, in all eight turns and mirror images. What is
near by its hash is then laid over each other and compared by correlation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import PIL.Image

SIDE_PX = 32
LOW = 8
TURNS = 8
FLAT = 2.0
"""Standard deviation of grey values below which a picture shows too little to be told from others."""
MAX_BITS = 12
"""Hashes that differ in at most so many of 64 bits are looked at more closely."""
SAME = 0.85
"""Correlation from which two pictures show the same; other scenes that are near by their hashes stay below 0.6."""
HOPELESS = 0.5
STARTS = 3
STEPS = (0.06, 0.03, 0.015)


class Part(NamedTuple):
    """A part of a picture: its left and top as shares of the sides, and its own sides as a share of them."""

    x: float
    y: float
    share: float


def _grid(share: float, places: int) -> list[Part]:
    """Parts of one size at places x places."""
    steps = [(1 - share) * place / (places - 1) for place in range(places)]
    return [Part(x, y, share) for x in steps for y in steps]


WHOLE = Part(0.0, 0.0, 1.0)
PARTS = (WHOLE, *_grid(0.9, 3), *_grid(0.8, 4), *_grid(0.7, 5), *_grid(0.6, 6), *_grid(0.5, 6))


def grey_of(pixels: np.ndarray) -> PIL.Image.Image:
    """The grey picture of (H, W, 3) uint8."""
    return PIL.Image.fromarray(pixels).convert("L")


def small(grey: PIL.Image.Image, part: Part) -> np.ndarray:
    """A part of a picture at 32 x 32 pixels: (32, 32) float32."""
    x, y = part.x * grey.width, part.y * grey.height
    box = (x, y, x + part.share * grey.width, y + part.share * grey.height)
    return np.asarray(grey.resize((SIDE_PX, SIDE_PX), PIL.Image.Resampling.BOX, box=box), dtype=np.float32)


def turned(pictures: np.ndarray, turn: int) -> np.ndarray:
    """Turn or mirror square pictures, (..., H, H), in one of the eight ways; 0 leaves them as they are."""
    side = pictures if turn < 4 else pictures.swapaxes(-1, -2)
    return np.asarray(np.rot90(side, turn % 4, axes=(-2, -1)))


def turns(picture: np.ndarray) -> np.ndarray:
    """All eight turns and mirror images of (H, H): (8, H, H)."""
    return np.stack([turned(picture, turn) for turn in range(TURNS)])


@cache
def _cosines() -> np.ndarray:
    """The lowest rows of the cosine transform: (8, 32)."""
    place = (np.arange(SIDE_PX) + 0.5) * np.pi / SIDE_PX
    return np.cos(np.arange(LOW)[:, None] * place[None, :]).astype(np.float32)


def phash(pictures: np.ndarray) -> np.ndarray:
    """Hash grey pictures; brightness and contrast have no influence.

    Args:
        pictures: (N, 32, 32) float32.

    Returns:
        (N,) uint64.
    """
    low = (_cosines() @ pictures @ _cosines().T).reshape(len(pictures), LOW * LOW)
    low[:, 0] = 0
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def hashes(pixels: np.ndarray, parts: Sequence[Part], *, turned: bool) -> np.ndarray:
    """Hash parts of a picture.

    Args:
        pixels: (H, W, 3) uint8.
        parts: which parts; those that are flat are left out.
        turned: each part in all its turns and mirror images.

    Returns:
        (N,) uint64; nothing for a flat picture.
    """
    grey = grey_of(pixels)
    found = [picture for part in parts if (picture := small(grey, part)).std() >= FLAT]
    if turned:
        found = [picture for each in found for picture in turns(each)]
    return phash(np.stack(found)) if found else np.zeros(0, np.uint64)


def nearest_bits(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The fewest bits by which any of `ones`, (N,) uint64, differs from each of `others`, (M,): (M,) uint8."""
    found: np.ndarray = np.full(len(others), 64, np.uint8)
    for one in ones:
        np.minimum(found, np.bitwise_count(others ^ one), out=found)
    return found


def correlation(inner: np.ndarray, outer: np.ndarray) -> float:
    """How alike two pictures are, (H, W, 3) uint8, where the first may be a turned part of the second: up to 1.

    The best few of the parts and turns are moved and scaled in small steps until they fit no better.
    """
    shown = _normal(turns(small(grey_of(inner), WHOLE)))
    grey = grey_of(outer)
    first = _normal(np.stack([small(grey, part) for part in PARTS]))
    fits = first.reshape(len(PARTS), -1) @ shown.reshape(TURNS, -1).T
    best = 0.0
    for place in np.argsort(fits, axis=None)[::-1][:STARTS]:
        part, turn = divmod(int(place), TURNS)
        if fits[part, turn] < HOPELESS:
            break
        best = max(best, _fit(grey, PARTS[part], shown[turn], float(fits[part, turn])))
    return best


def _fit(grey: PIL.Image.Image, part: Part, shown: np.ndarray, fit: float) -> float:
    for step in STEPS:
        better = True
        while better:
            better = False
            for dx, dy, ds in ((step, 0, 0), (-step, 0, 0), (0, step, 0), (0, -step, 0), (0, 0, step), (0, 0, -step)):
                share = part.share + ds
                x, y = part.x + dx - ds / 2, part.y + dy - ds / 2
                moved = Part(x, y, share)
                if share < 0.2 or min(x, y) < 0 or max(x, y) + share > 1:
                    continue
                found = float((_normal(small(grey, moved)[None])[0] * shown).sum())
                if found > fit:
                    part, fit, better = moved, found, True
    return fit


def _normal(pictures: np.ndarray) -> np.ndarray:
    """Pictures (N, 32, 32) with mean 0 and length 1."""
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    length: np.ndarray = np.maximum(np.linalg.norm(centred, axis=(1, 2), keepdims=True), 1e-6)
    normal: np.ndarray = centred / length
    return normal
