"""Procedural scenes with exact heights: an optical picture, what stands above the ground, and the ground itself.

Image 0 is the picture, image 1 the nDSM (metres above ground), image 2 the DEM (bare ground, metres above sea level);
`bands` of a height image says which it is. Slopes are lit by the sun in the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from lhrs_chat.schema import Sample

from ..heights import above_ground, lit, terrain
from ..render import SENSORS, render
from . import Source, SourceOptions, _drawn

NAME = "synthetic_height"
_OPTICAL = tuple(sensor for sensor in SENSORS if sensor.name in ("aerial", "satellite"))
_SKIPPED = frozenset({"airport", "desert", "parking", "sea"})  # nothing to ask about heights there


def scene(seed: int, index: int, size_px: int) -> Sample:
    """Make one scene. The same three numbers always give the same row."""
    drawn = _drawn.draw(np.random.default_rng([seed, index, 2]), size_px, _OPTICAL, _SKIPPED)
    drawn.finish()
    canvas = drawn.canvas
    ndsm_m, dem_m = above_ground(canvas), terrain(canvas)
    canvas.rgb *= lit(canvas, dem_m)[..., None]
    np.clip(canvas.rgb, 0, 1, out=canvas.rgb)
    row = _drawn.facts(drawn, render(canvas, drawn.sensor), NAME, seed, index)
    heights = [_drawn.picture(canvas, m[None], (kind,), "height") for kind, m in (("nDSM", ndsm_m), ("DEM", dem_m))]
    roles = ["optical", "height", "height"]
    return replace(row, images=(*row.images, *heights), meta={**row.meta, "image_roles": roles})


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Make scenes without end, or `options.count` of them; a split keeps only its scenes.

    Raises:
        DataError: a folder is given: this source reads nothing.
    """
    return _drawn.rows(NAME, scene, folder, options)


SOURCE = Source(licence=_drawn.LICENCE, read=read)
