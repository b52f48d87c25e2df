"""Procedural places at two dates: image 0 is before, image 1 after; the cover of every pixel is known at both.

Each event (see `events`) happens to one of the two pictures: to the later one, and buildings go up or water rises; to
the earlier one, and they are gone or it has fallen. Light, haze and the colour of plants differ too: those are no
changes. `meta["mask_images"]` and `meta["box_images"]` say which date a mask or a box belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from lhrs_chat.schema import Number, Sample, Targets

from ..events import EVENTS, season
from ..render import SENSORS, render
from ..textures import texture
from . import Source, SourceOptions, _drawn

NAME = "synthetic_change"
_OPTICAL = tuple(sensor for sensor in SENSORS if sensor.name in ("aerial", "satellite", "sentinel-2"))
_MOST_EVENTS = 3
_UNCHANGED = 0.12  # of the pairs


def scene(seed: int, index: int, size_px: int) -> Sample:
    """Make one pair. The same three numbers always give the same row."""
    rng = np.random.default_rng([seed, index, 4])
    drawn = _drawn.draw(rng, size_px, _OPTICAL)
    dates = (drawn, replace(drawn, canvas=drawn.canvas.copy(rng)))
    left = 0 if rng.random() < _UNCHANGED else int(rng.integers(1, _MOST_EVENTS + 1))
    for event in rng.permutation(len(EVENTS)):
        date = dates[int(rng.random() < 0.5)]
        if left and EVENTS[event](date.canvas, date.palette):
            left -= 1
    grain, darkness = texture(rng, size_px, "grain"), float(rng.uniform(0.45, 0.72))
    rows = []
    for date in dates:
        date.canvas.finish(grain, 0.04, darkness)
        if date is not drawn:
            season(date.canvas)
        rows.append(_drawn.facts(date, render(date.canvas, date.sensor), NAME, seed, index))
    changed = 100 * float((dates[0].canvas.cover != dates[1].canvas.cover).mean())
    return _joined(rows, changed)


def _joined(rows: list[Sample], changed_percent: float) -> Sample:
    """One row of two: each row's masks and boxes with the number of its image."""
    first, second = rows
    both = set(first.meta["complete"]) & set(second.meta["complete"])
    return replace(
        first,
        images=(*first.images, *second.images),
        targets=Targets(
            labels=first.targets.labels,
            boxes=(*first.targets.boxes, *second.targets.boxes),
            masks=(*first.targets.masks, *second.targets.masks),
            numbers=(Number(changed_percent, "%", "computed", "changed"),),
        ),
        meta={
            **first.meta,
            "image_roles": ["before", "after"],
            "mask_images": [number for number, row in enumerate(rows) for _ in row.targets.masks],
            "box_images": [number for number, row in enumerate(rows) for _ in row.targets.boxes],
            "complete": [label for label in first.meta["complete"] if label in both],
        },
    )


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Make pairs without end, or `options.count` of them; a split keeps only its scenes.

    Raises:
        DataError: a folder is given: this source reads nothing.
    """
    return _drawn.rows(NAME, scene, folder, options)


SOURCE = Source(licence=_drawn.LICENCE, read=read)
