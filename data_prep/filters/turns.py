"""Conversations whose turns are out of order, or that never show their images."""

from __future__ import annotations

from lhrs_chat.schema import Sample

from . import Filter, FilterOptions


def out_of_order(sample: Sample) -> str | None:
    """Tell what is wrong with the order of the turns: a system turn first at most, then user and assistant in turns."""
    roles = [message.role for message in sample.messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    for number, role in enumerate(turns):
        expected = "assistant" if number % 2 else "user"
        if role != expected:
            place = number + 1 + len(roles) - len(turns)
            return f"turn {place} is of the {role}, expected {expected}"
    if roles and (len(turns) < 2 or len(turns) % 2):
        return "the last question has no answer" if turns else "a system turn alone"
    return None


def unshown(sample: Sample) -> str | None:
    """Tell which image of a conversation no turn shows, or which shown one is not there."""
    if not sample.messages:
        return None
    parts = [part for message in sample.messages for part in message.content if part.type == "image"]
    shown = [number if part.image is None else part.image for number, part in enumerate(parts)]
    unknown = sorted({index for index in shown if not 0 <= index < len(sample.images)})
    if unknown:
        return f"shows image {unknown[0]}, but has {len(sample.images)}"
    missing = sorted(set(range(len(sample.images))) - set(shown))
    if missing:
        return "never shows its image" if len(sample.images) == 1 else f"never shows image {missing[0]}"
    return None


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge the order of the turns and whether each image is shown."""
    return out_of_order(sample) or unshown(sample)


FILTER = Filter(check)
