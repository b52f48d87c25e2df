"""Procedural scenes under clouds: masks of the clouds and of their shadows; what a cloud hides is not told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from lhrs_chat.schema import Mask, Number, Sample

from ..canvas import NO_COVER
from ..clouds import cover_with_clouds
from ..render import SENSORS, render
from . import Source, SourceOptions, _drawn

NAME = "synthetic_clouds"
_OPTICAL = tuple(sensor for sensor in SENSORS if sensor.name in ("satellite", "sentinel-2"))


def scene(seed: int, index: int, size_px: int) -> Sample:
    """Make one scene. The same three numbers always give the same row."""
    drawn = _drawn.draw(np.random.default_rng([seed, index, 3]), size_px, _OPTICAL)
    drawn.finish()
    canvas = drawn.canvas
    hidden, shaded = cover_with_clouds(canvas, float(canvas.rng.uniform(0.03, 0.6)))
    canvas.cover = np.where(hidden, NO_COVER, canvas.cover).astype(np.uint8)
    canvas.ids = np.where(hidden, 0, canvas.ids)
    row = _drawn.facts(drawn, render(canvas, drawn.sensor), NAME, seed, index)
    targets, meta = row.targets, row.meta
    veils = {"cloud": hidden, "cloud shadow": shaded}
    return replace(
        row,
        targets=replace(
            targets,
            masks=(*targets.masks, *(Mask.from_array(veil, name) for name, veil in veils.items())),
            numbers=(
                *targets.numbers,
                *(Number(100 * float(veil.mean()), "%", "computed", name) for name, veil in veils.items()),
            ),
            captions=tuple(f"{caption[:-1]}, partly hidden by clouds." for caption in targets.captions),
        ),
        meta={**meta, "image_roles": ["optical"], "complete": [*meta["complete"], *veils]},
    )


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Make scenes without end, or `options.count` of them; a split keeps only its scenes.

    Raises:
        DataError: a folder is given: this source reads nothing.
    """
    return _drawn.rows(NAME, scene, folder, options)


SOURCE = Source(licence=_drawn.LICENCE, read=read)
