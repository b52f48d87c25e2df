"""The user's own rows in LLaVA's form: {id, image, conversations: [{from: human or gpt, value}, ...]}.

`image` is one path or a list; each `<image>` in the turns stands for the next of them. `[x1,y1,x2,y2]` from 0
to 1 is a box in shares of the picture.
"""

from __future__ import annotations

from . import _own_rows

GET = "a folder with *.json or *.jsonl in LLaVA's form, and the pictures, beside them or in images"

SOURCE = _own_rows.source(
    "llava",
    GET,
    lambda row: _own_rows.spoken(row, "conversations"),
    lambda row: _own_rows.listed(row, "image", "images"),
)
