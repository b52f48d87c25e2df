"""LLaVA: `rows.json`, a list of `{id, image, conversations: [{from, value}]}`; several pictures make `image` a list.

`<image>` marks a picture in a text; boxes are `[x1,y1,x2,y2]` from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lhrs_chat.schema import Sample

from . import Export, _conversations

SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}


def write(samples: Iterable[Sample], folder: Path) -> int:
    """Write `rows.json`, `images/` and `pictures.jsonl`; return the number of rows.

    Raises:
        DataError: a row has no conversation.
        RasterError: a picture cannot be read.
    """
    return _conversations.write_list(folder / "rows.json", _conversations.exported(samples, folder, _row))


def _row(sample: Sample, album: _conversations.Album) -> dict[str, Any]:
    said, pictures = _conversations.turns(sample, album, _conversations.in_text)
    files = [picture.file for picture in pictures]
    shown = {"image": files[0] if len(files) == 1 else files} if files else {}
    conversations = [{"from": SPEAKERS[role], "value": text} for role, text in said]
    return {"id": sample.id, **shown, "conversations": conversations, **_conversations.about(sample)}


EXPORT = Export(write)
