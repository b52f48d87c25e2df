"""Pictures that can be told from each other, and the ways in which copies of them are changed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image


def scene(seed: int, side_px: int = 192) -> np.ndarray:
    """Soft shapes of many sizes, as a picture from above has: (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side_px, side_px), np.float32)
    for cells in (3, 6, 12, 24, 48):
        noise = PIL.Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        total += np.asarray(noise.resize((side_px, side_px), PIL.Image.Resampling.BICUBIC)) / cells**0.4
    grey = np.clip(128 + 45 * total / total.std(), 0, 255).astype(np.uint8)
    return np.stack([grey, np.roll(grey, 5, 1), grey // 2], axis=2)


def variant(pixels: np.ndarray, share: float, x: float, y: float, turn: int) -> np.ndarray:
    """A part, turned or mirrored, at another size, as a JPEG of low quality."""
    height, width = pixels.shape[:2]
    left, top = int(x * (1 - share) * width), int(y * (1 - share) * height)
    part = pixels[top : top + int(share * height), left : left + int(share * width)]
    part = np.rot90(part if turn < 4 else part[:, ::-1], turn % 4)
    out = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(part)).resize((130, 130)).save(out, "JPEG", quality=60)
    return np.asarray(PIL.Image.open(out))


def save(path: Path, pixels: np.ndarray, **how: Any) -> Path:
    """Write (H, W, 3) uint8 as a picture; its folder is made."""
    path.parent.mkdir(exist_ok=True)
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(path, **how)
    return path
