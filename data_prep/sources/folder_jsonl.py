"""The user's own pictures with a JSONL file beside them: captions, or a question and its answer, a line.

A line names its picture in `image` or `file_name` (or several in `images`) and has `caption`, `captions` or `text`, and
`label` or `labels`: a row of facts; or `question` and `answer`, and `choices`: an instruction. It may also tell
`licence`, `split`, `scene_id`, `task`, `sensor`, `gsd_m`, `date` and `meta`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lhrs_chat.formats.rows import Pictures, Row
from lhrs_chat.schema import Image, Sample, Targets

from . import Source, SourceOptions, _captions, _conversations, _own_rows, _published
from ._conversations import Told, Turn

GET = "a folder of pictures with *.jsonl: one {image, caption} or {image, question, answer} a line"


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a line.

    Raises:
        DataError: no folder is given, or there is no such file in it.
    """
    root = _published.root("folder_jsonl", folder, GET)
    pictures = Pictures([root, root / "images"])
    unseen = _captions.once()

    def make(entry: tuple[Path, Row]) -> Sample:
        path, row = entry
        names = _own_rows.listed(row, "images", "image", "file_name")
        if not names:
            raise row.bad("image", "the path of a picture")
        told = _own_rows.told("folder_jsonl", path, row, [pictures.path(name, row.where) for name in names])
        told = replace(told, images=tuple(_known(image, row) for image in told.images))
        made = _facts(row, told) if row.values.get("question") is None else _asked(row, told)
        unseen(made.id, row.where)
        return made

    entries = ((row.where, (path, row)) for path, row in _own_rows.read("folder_jsonl", root, GET, options))
    yield from _published.rows(entries, make, options)


def _asked(row: Row, told: Told) -> Sample:
    said = ("user", row.text("question")), ("assistant", row.word("answer"))
    turns = [Turn(speaker, _conversations.words(text)) for speaker, text in said]
    made = _conversations.sample(turns, told, row.where)
    return replace(made, targets=replace(made.targets, choices=_own_rows.listed(row, "choices")))


def _facts(row: Row, told: Told) -> Sample:
    captions = _own_rows.listed(row, "captions", "caption", "text")
    labels = _own_rows.listed(row, "labels", "label")
    if not captions and not labels:
        raise row.bad("caption", "a caption, or a question and its answer")
    return Sample(
        id=told.id,
        images=told.images,
        task="facts",
        source=told.source,
        licence=told.licence,
        scene_id=told.scene_id,
        targets=Targets(captions=captions, labels=labels),
        split=told.split,
        meta=dict(told.meta or {}),
    )


def _known(image: Image, row: Row) -> Image:
    """A picture with what its line tells of it."""
    return replace(
        image,
        sensor=_own_rows.optional(row, "sensor", "") or None,
        gsd_m=None if row.values.get("gsd_m") is None else row.number("gsd_m"),
        date=_own_rows.optional(row, "date", "") or None,
    )


SOURCE = Source(_own_rows.LICENCE, read, GET)
