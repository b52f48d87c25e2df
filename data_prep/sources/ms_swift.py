"""The user's own rows in the form of ms-swift: {messages, images, objects: {ref, bbox, bbox_type, image_id}, tools}.

In the texts `<ref-object>` stands for the next phrase of `ref`, `<bbox>` for the next box of `bbox`; the two are
counted apart. `bbox_type` is `real` (pixels, the default), `norm1` or `norm1000`; `image_id` names the picture of each
box. Rows with `query` and `response` (and `history`), or `instruction`, `input` and `output`, are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Row
from lhrs_chat.schema import Box, Frame, Part

from . import _conversations, _own_rows
from ._conversations import Turn

GET = "a folder with *.json or *.jsonl in the form of ms-swift, and the pictures, beside them or in images"
PHRASE, BOX = "<ref-object>", "<bbox>"
FRAMES: dict[str, Frame] = {"real": "pixel", "norm1": "unit", "norm1000": "per1000"}
_MARK = re.compile(f"({PHRASE}|{BOX})")


def turns(row: Row) -> list[Turn]:
    """The turns of a row, phrases and boxes at their places.

    Raises:
        DataError: a field is broken, or there are more or fewer marks than phrases and boxes.
    """
    phrases, boxes = _objects(row)
    waiting = iter(phrases), iter(boxes)
    found = [Turn(speaker, tuple(_parts(text, *waiting, row))) for speaker, text in _said(row)]
    if next(waiting[1], None) is not None:
        raise DataError(f"{row.where}: more boxes than {BOX}", found=len(boxes))
    return found


def _objects(row: Row) -> tuple[tuple[str, ...], list[Part]]:
    """The phrases and the boxes of a row."""
    if not row.values.get("objects"):
        return (), []
    objects = row.row("objects")
    kind = objects.one_of("bbox_type", FRAMES) if objects.values.get("bbox_type") else "real"
    rows = objects.values.get("bbox")
    if not isinstance(rows, list):
        raise objects.bad("bbox", "a list of boxes")
    numbers = objects.values.get("image_id") or [0] * len(rows)
    if not isinstance(numbers, list) or len(numbers) != len(rows) or not all(_is_place(number) for number in numbers):
        raise objects.bad("image_id", f"a list of {len(rows)} whole numbers")
    phrases = objects.texts("ref") if objects.values.get("ref") else ()
    return phrases, [
        Part("region", region=_box(corners, FRAMES[kind], objects), image=number)
        for corners, number in zip(rows, numbers, strict=True)
    ]


def _is_place(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _box(corners: object, frame: Frame, objects: Row) -> Box:
    x1, y1, x2, y2 = Row({"bbox": corners}, objects.where).numbers("bbox", 4)
    if x1 > x2 or y1 > y2:
        raise objects.bad("bbox", "[x1, y1, x2, y2] with x1 <= x2 and y1 <= y2")
    return Box((x1, y1, x2, y2), frame)


def _said(row: Row) -> list[tuple[str, str]]:
    """Speaker and text of each turn, in any of the forms."""
    before = [("system", row.text("system"))] if row.values.get("system") else []
    if "messages" in row.values:
        return [*before, *_conversations.said(row, "messages")]
    if "instruction" in row.values:
        given = f"\n{row.text('input')}" if row.values.get("input") else ""
        return [*before, ("user", row.text("instruction") + given), ("assistant", row.word("output"))]
    pairs = row.values.get("history") or []
    if not isinstance(pairs, list):
        raise row.bad("history", "a list of [query, response]")
    earlier = [Row({"pair": pair}, row.where).texts("pair") for pair in pairs]
    if any(len(pair) != 2 for pair in earlier):
        raise row.bad("history", "a list of [query, response]")
    said = [said for asked, answer in earlier for said in (("user", asked), ("assistant", answer))]
    return [*before, *said, ("user", row.text("query")), ("assistant", row.word("response"))]


def _parts(text: str, phrases: Iterator[str], boxes: Iterator[Part], row: Row) -> Iterator[Part]:
    for piece in _MARK.split(text):
        if piece == BOX:
            box = next(boxes, None)
            if box is None:
                raise DataError(f"{row.where}: fewer boxes than {BOX}")
            yield box
        elif piece == PHRASE:
            phrase = next(phrases, None)
            if phrase is None:
                raise DataError(f"{row.where}: fewer phrases than {PHRASE}")
            yield Part("text", text=phrase)
        elif piece:
            yield Part("text", text=piece)


SOURCE = _own_rows.source("ms_swift", GET, turns, lambda row: _own_rows.listed(row, "images", "image"))
