"""Visual grounding: one box for one expression. Strict scores use the plain IoU; published scorers bring their own."""

from __future__ import annotations

from collections.abc import Sequence

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.frames import convert
from lhrs_chat.metrics import boxes as box_metrics
from lhrs_chat.schema import Frame
from lhrs_chat.text import answers

from . import Parsed, Question, Reply

TASK = "grounding"
THRESHOLDS = (0.5, 0.7, 0.9)
TOKENS = 48


def prompt(expression: str) -> str:
    """What a model is asked for one referring expression."""
    return f"Where is {expression.strip().rstrip('.')}? Answer with one box."


def parse_in(reply: Reply, frame: Frame) -> tuple[float, ...] | None:
    """The first box of an answer, in a frame of the picture that was shown; turned boxes count as their envelope."""
    try:
        found = answers.boxes(reply.text, reply.dialect, reply.size_px)
        if not found:
            return None
        moved = convert(found[0], frame, size_px=reply.size_px, placement=reply.placement)
    except GeoError:
        return None
    return tuple(round(value, 6) for value in moved.xyxy)


def parse(question: Question, reply: Reply) -> tuple[float, ...] | None:
    """The first box of an answer, in shares of the picture."""
    return parse_in(reply, "unit")


def truth_in(question: Question, frame: Frame) -> tuple[float, ...]:
    """The true box in a frame of its picture."""
    return convert(question.targets.boxes[0], frame, size_px=question.size_px).xyxy


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """IoU, and whether it reaches each threshold; an answer without a box is an IoU of 0."""
    overlap = box_metrics.iou(parsed, truth_in(question, "unit")) if isinstance(parsed, tuple) else 0.0
    return {
        **{f"acc_{threshold}": float(overlap >= threshold) for threshold in THRESHOLDS},
        "iou": overlap,
        "parsed": float(isinstance(parsed, tuple)),
    }


def plus_one_iou(one: Sequence[float], other: Sequence[float]) -> float:
    """IoU with every side one longer, as for boxes whose last pixel belongs to them; wrong for any other box."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    shared = max(0.0, right - left + 1) * max(0.0, bottom - top + 1)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, other)]
    return shared / (sum(areas) - shared)
