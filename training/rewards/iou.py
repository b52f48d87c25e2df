"""How well boxes overlap, in the published steps: above 0.5, 0.6 and 0.7 their own value, above 0.8 all of it.

Another number of boxes than there are is worth nothing; of several, the mean (ScoreRS adds them up, so that its reward
can pass 1).
"""

from __future__ import annotations

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.frames import convert
from lhrs_chat.metrics import boxes as metrics
from lhrs_chat.text import answers

from . import Wanted, each

STEPS = ((0.8, 1.0), (0.7, 0.7), (0.6, 0.6), (0.5, 0.5))


def worth(answer: str, wanted: Wanted) -> float:
    """Compare the boxes of an answer, in the model's own dialect, with those of the row."""
    try:
        said = [
            convert(box, "unit", size_px=wanted.size_px, placement=wanted.placement).xyxy
            for box in answers.boxes(answer, wanted.dialect, wanted.size_px)
        ]
        right = [convert(box, "unit", size_px=wanted.size_px).xyxy for box in wanted.targets.boxes]
    except GeoError:
        return 0.0
    if not right or len(said) != len(right):
        return 0.0
    overlaps = [overlap for _, _, overlap in metrics.match(said, right, STEPS[-1][0])]
    return sum(step(overlap) for overlap in overlaps) / len(right)


def step(overlap: float) -> float:
    """Return what an overlap is worth."""
    return next((value for least, value in STEPS if overlap > least), 0.0)


REWARD = each(worth)
