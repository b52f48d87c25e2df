"""A question about a corrupted picture: its pixels, and what is true of them where they moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lhrs_chat.corruptions import CORRUPTIONS, Motion

from .benchmarks import Question


def change(name: str, severity: int, pixels: np.ndarray, drawn: int) -> np.ndarray:
    """Damage a picture: (H, W, 3) to (H, W, 3)."""
    return CORRUPTIONS.get(name).damage(pixels.transpose(2, 0, 1), severity, drawn).transpose(1, 2, 0)


def move(name: str, severity: int, question: Question, drawn: int) -> Question | None:
    """The question as it is asked about the damaged picture; None where a true box has left it.

    Boxes, masks and words about directions move with the pixels of the first picture.
    """
    motion = CORRUPTIONS.get(name).motion(question.size_px, severity, drawn)
    if motion == Motion.none(question.size_px):
        return question
    targets = question.targets
    boxes = [motion.box(box) for box in targets.boxes]
    inside = tuple(box for box in boxes if box is not None)
    if len(inside) != len(boxes):
        return None
    answer = targets.answer
    moved = replace(
        targets,
        answer=None if answer is None else motion.text(answer),
        choices=tuple(motion.text(choice) for choice in targets.choices),
        labels=tuple(motion.text(label) for label in targets.labels),
        captions=tuple(motion.text(caption) for caption in targets.captions),
        boxes=inside,
        masks=tuple(motion.mask(mask) for mask in targets.masks),
    )
    return replace(question, text=motion.text(question.text), size_px=motion.moved_size_px, targets=moved)
