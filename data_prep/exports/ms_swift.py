"""ms-swift: `rows.jsonl`, one `{messages: [{role, content}], images, objects}` a line.

`<image>` marks a picture and `<bbox>` a box in a text; the boxes stand in `objects`, in pixels of the picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lhrs_chat import storage
from lhrs_chat.errors import DataError
from lhrs_chat.geo.frames import convert
from lhrs_chat.schema import Box, Sample

from . import Export, _conversations

BOX = "<bbox>"


def write(samples: Iterable[Sample], folder: Path) -> int:
    """Write `rows.jsonl`, `images/` and `pictures.jsonl`; return the number of rows.

    Raises:
        DataError: a row has no conversation, or its text holds the mark of a picture or of a box.
        RasterError: a picture cannot be read.
    """
    count = 0
    with storage.replacing(folder / "rows.jsonl") as stream:
        for row in _conversations.exported(samples, folder, _row):
            stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count


def _row(sample: Sample, album: _conversations.Album) -> dict[str, Any]:
    boxes: list[list[float]] = []
    files: list[str] = []

    def mark(box: Box, shown: _conversations.Shown) -> str:
        boxes.append([round(value, 2) for value in convert(box, "pixel", size_px=shown.size_px).xyxy])
        files.append(shown.file)
        return BOX

    said, pictures = _conversations.turns(sample, album, mark)
    if sum(text.count(BOX) for _, text in said) != len(boxes):
        raise DataError(f"a text holds the mark of a box, {BOX}", found=sample.id)
    shown = [picture.file for picture in pictures]
    row: dict[str, Any] = {
        "id": sample.id,
        "messages": [{"role": role, "content": text} for role, text in said],
        "images": shown,
    }
    if boxes:
        row["objects"] = {"ref": [], "bbox": boxes, "bbox_type": "real"}
        if len(shown) > 1:
            row["objects"]["image_id"] = [shown.index(file) for file in files]
    return {**row, **_conversations.about(sample)}


EXPORT = Export(write)
