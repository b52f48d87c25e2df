"""Procedural scenes seen twice: an optical picture (image 0) and a radar picture of the same ground (image 1).

The radar looks from the left or the right: what is high falls towards it and adds up there, behind it lies a shadow.
Masks and boxes belong to the ground, that is to image 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from lhrs_chat.schema import Sample

from .. import radar
from ..heights import above_ground
from ..render import SENSORS, radar_picture, render
from . import Source, SourceOptions, _drawn

NAME = "synthetic_pairs"
_OPTICAL = tuple(sensor for sensor in SENSORS if sensor.name in ("satellite", "sentinel-2"))
_RADAR = {sensor.name: sensor for sensor in SENSORS if sensor.radar}


def scene(seed: int, index: int, size_px: int) -> Sample:
    """Make one scene. The same three numbers always give the same row."""
    drawn = _drawn.draw(np.random.default_rng([seed, index, 1]), size_px, _OPTICAL)
    drawn.finish()
    canvas = drawn.canvas
    backscatter = radar_picture(radar.from_the_side(canvas, above_ground(canvas)))
    row = _drawn.facts(drawn, render(canvas, drawn.sensor), NAME, seed, index)
    sensor = _RADAR["sentinel-1" if canvas.gsd_m >= 10 else "sar"]
    second = _drawn.picture(canvas, backscatter, sensor.bands, sensor.name)
    return replace(row, images=(*row.images, second), meta={**row.meta, "image_roles": ["optical", "sar"]})


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Make scenes without end, or `options.count` of them; a split keeps only its scenes.

    Raises:
        DataError: a folder is given: this source reads nothing.
    """
    return _drawn.rows(NAME, scene, folder, options)


SOURCE = Source(licence=_drawn.LICENCE, read=read)
