"""Clouds over a canvas and their shadows on it."""

from __future__ import annotations

import math

import numpy as np

from .canvas import Canvas
from .textures import relief

_REACH = 0.45  # of the picture's side: the farthest that a shadow falls from its cloud


def cover_with_clouds(canvas: Canvas, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw clouds on a finished canvas, their shadows away from the sun.

    Args:
        canvas: its picture is changed.
        share: about how much of the picture they hide, 0 to 1.

    Returns:
        Where clouds hide more than half of the light, and where their shadow lies in the open: (H, W) bool each.
    """
    rng, size = canvas.rng, canvas.size_px
    wide = relief(rng, 2 * size, rng.uniform(3, 8), 5, 0.5)
    depth = wide - float(np.quantile(wide[::8, ::8], 1 - share))
    density = np.clip(depth * rng.uniform(1.5, 4) + 0.5, 0, 1) * rng.uniform(0.85, 1)
    margin = size // 2
    far = min(_REACH * size, canvas.px(rng.uniform(150, 900)) / math.tan(canvas.sun.elevation))
    towards_x, towards_y = canvas.sun.towards
    left, top = margin + round(far * towards_x), margin + round(far * towards_y)
    opacity = density[margin : margin + size, margin : margin + size]
    shade = density[top : top + size, left : left + size]
    relief_of_tops = depth[margin : margin + size, margin : margin + size]
    white = np.clip(0.86 + 0.05 * relief_of_tops, 0.6, 1.0)[..., None] * np.array([0.98, 0.99, 1.0], dtype=np.float32)
    canvas.rgb *= 1 - rng.uniform(0.45, 0.65) * shade[..., None]
    canvas.rgb += opacity[..., None] * (white - canvas.rgb)
    hidden = opacity > 0.5
    return hidden, (shade > 0.5) & ~hidden
