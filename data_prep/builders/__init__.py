"""Builders turn facts into rows a model is trained on: each file defines `BUILDER`, and its name is the builder's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lhrs_chat.plugins import Folder
from lhrs_chat.schema import Sample


@dataclass(frozen=True)
class Builder:
    """One way to make instruction rows.

    Args:
        needs: the facts a row must hold for it, in a few words.
        build: takes a row of facts and a generator seeded from the row's id; yields instruction rows that keep
            its images, licence, scene, split and footprint. A row without the facts needed yields nothing.
        beside: takes the rows that are worked on together and returns a `build` that knows them; None where a row
            is all it takes.
    """

    needs: str
    build: Callable[[Sample, np.random.Generator], Iterator[Sample]]
    beside: Callable[[Sequence[Sample]], Callable[[Sample, np.random.Generator], Iterator[Sample]]] | None = None


BUILDERS: Folder[Builder] = Folder(__name__, "BUILDER", Builder)
