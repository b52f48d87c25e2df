"""Procedural scenes: every cover, thing and height is known exactly, and a seed gives the same bytes again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lhrs_chat.schema import Sample

from ..render import render
from . import Source, SourceOptions, _drawn

NAME = "synthetic"


def scene(seed: int, index: int, size_px: int) -> Sample:
    """Make one scene. The same three numbers always give the same row."""
    drawn = _drawn.draw(np.random.default_rng([seed, index]), size_px)
    drawn.finish()
    return _drawn.facts(drawn, render(drawn.canvas, drawn.sensor), NAME, seed, index)


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Make scenes without end, or `options.count` of them; a split keeps only its scenes.

    Raises:
        DataError: a folder is given: this source reads nothing.
    """
    return _drawn.rows(NAME, scene, folder, options)


SOURCE = Source(licence=_drawn.LICENCE, read=read)
