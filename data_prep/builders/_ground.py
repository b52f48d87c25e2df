"""What the questions about heights share: the rasters of a scene, its buildings and trees, the rows made of them."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from lhrs_chat.schema import Number, Sample, Targets

from . import _height_words, _tasks
from ._rasters import ABOVE_GROUND, GROUND, Height, Rasters, components, slope_deg
from ._rows import Rows, Words
from ._tasks import Step

INSTANCES = ("building", "tree", "forest")
LEAST, MOST = 0.02, 0.6  # of the picture that a mask takes
SHARE_TOLERANCE = 2.0  # points of per cent
_LEAST_PX = 30  # of an instance
_APART_M, _APART = 1.0, 0.1  # metres and share between heights that are compared


class Ground:
    """The rasters of a row of facts, and the rows made of them."""

    def __init__(self, facts: Sample) -> None:
        self.rasters = Rasters(facts)
        self.rows = Rows(facts, "height")

    @cached_property
    def covers(self) -> dict[str, np.ndarray]:
        """Masks of the first image by cover."""
        return self.rasters.covers(0)

    @cached_property
    def above(self) -> Height | None:
        """Heights above ground."""
        return self.rasters.height(ABOVE_GROUND)

    @cached_property
    def ground(self) -> Height | None:
        """The bare ground, where all of it is known."""
        found = self.rasters.height(GROUND)
        return found if found is not None and np.isfinite(found.metres).all() else None

    @cached_property
    def slope(self) -> np.ndarray | None:
        """Degrees, (H, W)."""
        if self.ground is None or self.rasters.gsd_m is None:
            return None
        return slope_deg(self.ground.metres, self.rasters.gsd_m)

    @cached_property
    def instances(self) -> list[tuple[str, np.ndarray, float]]:
        """Cover, mask and height of each building and tree; those of mixed height are left out."""
        return [instance for instance in self._pieces if instance[2] > 0]

    @cached_property
    def mixed(self) -> set[str]:
        """Covers with a piece whose height is not one."""
        return {label for label, _, height in self._pieces if height < 0}

    @cached_property
    def _pieces(self) -> list[tuple[str, np.ndarray, float]]:
        found = []
        if self.above is not None:
            for label in INSTANCES:
                if label in self.covers:
                    pieces = components(self.covers[label], _LEAST_PX)
                    found += [(label, piece, _height_of(label, self.above.metres[piece])) for piece in pieces]
        return found

    def make(
        self, subtask: str, question: Words, steps: list[Step], targets: Targets, height: Height, **rule: object
    ) -> Sample:
        """One row on one height image; numbers that are part of the rule are kept with it."""
        opening = f"Picture 2 shows {_height_words.SHOWS[height.kind]}. "
        words: Words = opening + question if isinstance(question, str) else [opening, *question]
        task = "segmentation" if any(step.mask is not None for step in steps) else "height"
        meta = {"height_kind": height.kind, **({"rule": rule} if rule else {})}
        return _tasks.make(self.rows, task, subtask, words, steps, targets, images=(0, height.image), meta=meta)


def _height_of(label: str, metres: np.ndarray) -> float:
    """Height of an instance from its pixels; -1 where it is not one instance, or not known."""
    if not np.isfinite(metres).all():
        return -1.0
    if label != "building":
        return float(metres.max())
    low, high = np.percentile(metres, [10, 90])
    return -1.0 if high - low > max(2.0, 0.3 * high) else float(np.median(metres))


def apart(one: float, other: float) -> bool:
    """Whether two heights differ enough to be compared."""
    return abs(one - other) >= max(_APART_M, _APART * max(one, other))


def valued(value: float, unit: str, tolerance: float) -> Targets:
    """A number that is asked for, and how far from it an answer may be."""
    return Targets(numbers=(Number(value, unit, "computed"), Number(tolerance, unit, "computed", "tolerance")))
