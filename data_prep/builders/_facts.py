"""A row of facts, looked up by label, and the questions that are made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from lhrs_chat.geo.frames import convert
from lhrs_chat.schema import Box, Sample, Targets

T = TypeVar("T")
CHANGED_COVERS = "changed pixels only"
"""In `meta["masks_tell"]`: the masks are the covers, at either date, of the pixels that have changed."""
CHANGED_THINGS = "changed things"
"""In `meta["masks_tell"]`: the masks are what came or went, of the kinds that `meta["complete"]` names."""
_LEAST_PRESENT = 2.0  # percent; a smaller cover is neither called present nor absent


@dataclass(frozen=True)
class Question:
    """One question, its answer in words and what is true."""

    task: str
    question: str
    answer: str
    targets: Targets
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Facts:
    """A row of facts, looked up by label."""

    sample: Sample

    @cached_property
    def shares(self) -> dict[str, float]:
        """Per cent of the picture, by cover."""
        return {n.label: n.value for n in self.sample.targets.numbers if n.unit == "%"}

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of things, by name."""
        return {n.label: round(n.value) for n in self.sample.targets.numbers if n.unit == "" and n.label}

    @cached_property
    def boxes(self) -> dict[str, list[tuple[int, Box]]]:
        """Boxes and their numbers in the row, by name."""
        found: dict[str, list[tuple[int, Box]]] = {}
        for index, box in enumerate(self.sample.targets.boxes):
            found.setdefault(box.label, []).append((index, box))
        return found

    @cached_property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height of the first picture."""
        image = self.sample.images[0]
        if image.size_px is None and image.array is not None:
            return image.array.shape[2], image.array.shape[1]
        return image.size_px

    @cached_property
    def highest_m(self) -> dict[str, int]:
        """Height of the highest thing of a kind, in full metres, where those of all its boxes are known."""
        metres = {number.label: number.value for number in self.sample.targets.numbers if number.unit == "m"}
        of_boxes = {
            name: [metres.get(f"height of box {index}") for index, _ in boxes] for name, boxes in self.boxes.items()
        }
        return {
            name: round(max(known))
            for name, heights in of_boxes.items()
            if len(known := [height for height in heights if height is not None]) == len(heights)
        }

    @property
    def complete(self) -> list[str]:
        """What the row tells all of."""
        return list(self.sample.meta.get("complete", ()))

    @cached_property
    def present(self) -> list[str]:
        """What is there for sure."""
        if "present" in self.sample.meta:
            return list(self.sample.meta["present"])
        seen = [label for label, share in self.shares.items() if share >= _LEAST_PRESENT]
        seen += [label for label, count in self.counts.items() if count > 0]
        return list(dict.fromkeys([*seen, *self.boxes]))

    @cached_property
    def absent(self) -> list[str]:
        """What is not there for sure."""
        hinted = {label for label, share in self.shares.items() if share > 0}
        hinted |= {label for label, count in self.counts.items() if count > 0} | set(self.boxes) | set(self.present)
        return [label for label in self.complete if label not in hinted]

    def in_pixels(self, box: Box) -> Box:
        """A box in pixels, where the size is known."""
        if self.size_px is None or box.frame == "pixel":
            return box
        return convert(box, "pixel", size_px=self.size_px)


def is_of_first(sample: Sample) -> bool:
    """Whether what a row tells without naming an image is true of its first image alone; not for pairs of dates."""
    roles = sample.meta.get("image_roles")
    return len(sample.images) == 1 or (roles is not None and "before" not in roles)


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """Draw one of `items`."""
    return items[int(rng.integers(len(items)))]
