"""Rows that ask for the box of one referring expression."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lhrs_chat.formats.voc_grounding import Referred
from lhrs_chat.schema import Image, Message, Part, Sample, Targets

from . import _conversations, _published, _tagged


def sample(source: str, licence: str, split: str, referred: Referred, path: Path) -> Sample:
    """The row of one expression."""
    scene_id, tile = _tagged.scene(referred.file, source)
    asked = f"Where is {referred.expression.strip().rstrip('.')}?"
    return Sample(
        id=f"{source}/{split}#{referred.number}",
        images=(Image(path=str(path), bands=_published.RGB),),
        task=_conversations.REFERRING,
        source=source,
        licence=licence,
        scene_id=scene_id,
        messages=(
            Message.of("user", asked, (0,)),
            Message("assistant", (Part("region", region=replace(referred.box, label=""), image=0),)),
        ),
        targets=Targets(boxes=(referred.box,)),
        split=split,
        meta={
            "image_file": referred.file,
            **({"tile": tile} if tile else {}),
            "expression": referred.expression,
        },
    )
