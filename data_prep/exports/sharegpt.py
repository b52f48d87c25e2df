"""ShareGPT, as LLaMA-Factory reads it: `rows.json` with `conversations` and `images`, and `dataset_info.json`.

`<image>` marks a picture in a text; boxes are `[x1,y1,x2,y2]` from 0 to 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lhrs_chat import storage
from lhrs_chat.schema import Sample

from . import Export, _conversations
from .llava import SPEAKERS

INFO = {
    "lhrs_chat": {
        "file_name": "rows.json",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "images": "images", "system": "system"},
        "tags": {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"},
    }
}


def write(samples: Iterable[Sample], folder: Path) -> int:
    """Write `rows.json`, `dataset_info.json`, `images/` and `pictures.jsonl`; return the number of rows.

    Raises:
        DataError: a row has no conversation.
        RasterError: a picture cannot be read.
    """
    count = _conversations.write_list(folder / "rows.json", _conversations.exported(samples, folder, _row))
    with storage.replacing(folder / "dataset_info.json") as stream:
        stream.write(json.dumps(INFO, indent=1).encode() + b"\n")
    return count


def _row(sample: Sample, album: _conversations.Album) -> dict[str, Any]:
    said, pictures = _conversations.turns(sample, album, _conversations.in_text)
    return {
        "id": sample.id,
        "system": "\n".join(text for role, text in said if role == "system"),
        "conversations": [{"from": SPEAKERS[role], "value": text} for role, text in said if role != "system"],
        "images": [picture.file for picture in pictures],
        **_conversations.about(sample),
    }


EXPORT = Export(write)
