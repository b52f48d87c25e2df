"""The user's own rows in the form of ShareGPT and LLaMA-Factory: {conversations or messages, images, system, tools}.

Turns are {from, value} with human, gpt, system, function_call and observation, or {role, content} with user, assistant,
system and tool. A call of a tool is a turn of the assistant, its result one of the user; `meta["speakers"]` keeps who
it was, `meta["tools"]` what could be called. `[x1,y1,x2,y2]` from 0 to 1 is a box in shares of the picture.
"""

from __future__ import annotations

from . import _own_rows

GET = "a folder with *.json or *.jsonl in ShareGPT's form, and the pictures, beside them or in images"

SOURCE = _own_rows.source(
    "sharegpt",
    GET,
    lambda row: _own_rows.spoken(row, "messages" if "messages" in row.values else "conversations"),
    lambda row: _own_rows.listed(row, "images", "image"),
)
