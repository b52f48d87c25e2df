"""Rows on some images of a scene whose answers point at masks: `meta["steps"]` tells which piece of text which mask.

`meta["steps"]` has one entry for each piece of text of the answer, in order: `{"text": ..., "mask": number in
targets.masks or null, "image": number of the image that the mask belongs to or null}`. Each piece is one text part of
the assistant's message, so that training can put the mask (its token, or its run lengths) behind the words it proves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lhrs_chat.schema import Mask, Sample, Targets

from ._rows import Rows, Words


@dataclass(frozen=True)
class Step:
    """A piece of an answer, and the mask that proves it, if there is one.

    Args:
        text: a sentence or two.
        mask: (H, W) bool.
        label: what the mask shows.
        image: number of the image of the facts that the mask belongs to.
    """

    text: str
    mask: np.ndarray | None = None
    label: str = ""
    image: int = 0


def make(
    rows: Rows,
    task: str,
    subtask: str,
    question: Words,
    steps: Sequence[Step],
    targets: Targets,
    *,
    images: Sequence[int],
    meta: Mapping[str, Any] | None = None,
) -> Sample:
    """Make one row.

    Args:
        rows: of the facts.
        task: height, change, reasoning or segmentation.
        subtask: which question of it; kept as `meta["subtask"]`.
        question: its words.
        steps: the answer, piece by piece.
        targets: what else is true.
        images: which images of the facts are shown; they become image 0, 1 ... of the row.
        meta: rules and thresholds, and what else belongs to the row.
    """
    masks: list[Mask] = []
    places: list[int] = []
    told: list[dict[str, Any]] = []
    for step in steps:
        place = None
        if step.mask is not None:
            place = len(masks)
            masks.append(Mask.from_array(step.mask, step.label))
            places.append(list(images).index(step.image))
        told.append({"text": step.text, "mask": place, "image": None if place is None else places[-1]})
    pieces = [step.text if step is steps[-1] else f"{step.text} " for step in steps]
    proof: dict[str, Any] = {"steps": told, "mask_images": places} if masks else {}
    return rows.make(
        task,
        [(question, pieces)],
        replace(targets, masks=tuple(masks)),
        images=images,
        meta={"subtask": subtask, **proof, **(meta or {})},
    )
