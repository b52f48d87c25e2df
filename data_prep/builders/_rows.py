"""Instruction rows of one scene: they keep what belongs to the scene and are numbered task by task."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lhrs_chat.schema import Box, Message, Part, Role, Sample, Targets

Words = str | Sequence[str | Box]
"""What is said in a turn: text, or pieces of text with the regions they speak of between them."""

_KEPT = ("sensor", "gsd_m", "image_file", "tile", "window")


class Rows:
    """Makes the instruction rows of one row of facts.

    Args:
        facts: the row of facts; its licence, scene, split and footprint are kept.
        builder: name of the builder; it is part of the ids, so that several builders can work on one scene, and is
            noted in `meta["builder"]`.
    """

    def __init__(self, facts: Sample, builder: str) -> None:
        self.facts = facts
        self.builder = builder
        self._made: Counter[str] = Counter()

    def make(
        self,
        task: str,
        turns: Sequence[tuple[Words, Words]],
        targets: Targets,
        *,
        images: Sequence[int] = (0,),
        meta: Mapping[str, Any] | None = None,
    ) -> Sample:
        """Make one row, with the images that it shows and no others.

        Args:
            task: what is asked.
            turns: questions and their answers, in order.
            targets: what is true; `answer` becomes the text of the last turn.
            images: which images of the scene are shown, before the first question; they become image 0, 1 ...
            meta: what else is known of the row.
        """
        number = self._made[task]
        self._made[task] += 1
        messages: list[Message] = []
        for question, answer in turns:
            shown = tuple(range(len(images))) if not messages else ()
            messages += [turn("user", question, shown), turn("assistant", answer)]
        kept = {key: self.facts.meta[key] for key in _KEPT if key in self.facts.meta}
        if "image_roles" in self.facts.meta:
            kept["image_roles"] = [self.facts.meta["image_roles"][image] for image in images]
        return replace(
            self.facts,
            id=f"{self.facts.id}/{self.builder}/{task}-{number}",
            images=tuple(self.facts.images[image] for image in images),
            task=task,
            messages=tuple(messages),
            targets=replace(targets, answer=plain(messages[-1])),
            meta={**kept, "builder": self.builder, **(meta or {})},
        )


def turn(role: Role, words: Words, images: Sequence[int] = ()) -> Message:
    """Make a turn: its images first, then text and regions in the order given."""
    pieces = [words] if isinstance(words, str) else words
    spoken = (Part("text", text=piece) if isinstance(piece, str) else Part("region", region=piece) for piece in pieces)
    return Message(role, (*(Part("image", image=number) for number in images), *spoken))


def plain(message: Message) -> str:
    """The text of a turn without its regions and without the colon or comma that led to one."""
    return re.sub(r"[\s:,]+$", "", re.sub(r"(?:,\s*)+(?=\.|$)", "", re.sub(r"\s+", " ", message.text))).strip()
