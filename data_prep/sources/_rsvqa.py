"""Sources in the layout of RSVQA: one row a question, read as a stream; pictures are not opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhrs_chat.formats import rsvqa
from lhrs_chat.formats.rows import Pictures
from lhrs_chat.schema import Image, Message, Sample

from . import Source, SourceOptions, _published

TASKS = {
    rsvqa.PRESENCE: "presence",
    rsvqa.COMPARISON: "comparison",
    rsvqa.RURAL: "scene_class",
    rsvqa.COUNT: "count",
    rsvqa.AREA: "area",
}


@dataclass(frozen=True)
class Part:
    """One set of three files: how their names begin, and the split they are."""

    prefix: str
    split: str


@dataclass(frozen=True)
class Set:
    """What the two sets differ in.

    Args:
        name: the source.
        licence: terms of pictures and questions.
        parts: its files.
        images: folders of the pictures, below the folder of the set.
        get: where the set lies.
        sensor: of the pictures.
        gsd_m: of the pictures.
    """

    name: str
    licence: str
    parts: Sequence[Part]
    images: Sequence[str]
    get: str
    sensor: str
    gsd_m: float


def source(own: Set) -> Source:
    """The source of one set."""

    def rows(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
        root = _published.root(own.name, folder, own.get)
        parts = [part for part in own.parts if (root / f"{part.prefix}_questions.json").is_file()]
        if not parts:
            raise _published.incomplete(own.name, root, f"{own.parts[0].prefix}_questions.json", own.get)
        pictures = Pictures([root / place for place in own.images])
        asked = (
            (asked.where, (part, asked))
            for part in parts
            if options.split in (None, part.split)
            for asked in rsvqa.linked(root, part.prefix, options.reject)
        )
        yield from _published.rows(asked, lambda entry: _sample(own, *entry, pictures), options)

    return Source(own.licence, rows, own.get)


def _sample(own: Set, part: Part, asked: rsvqa.Asked, pictures: Pictures) -> Sample:
    file = f"{asked.image.word('id')}.tif"
    path = pictures.path(file, asked.where)
    kind = asked.row.one_of("type", TASKS)
    targets = rsvqa.truth(kind, asked.answer, asked.where)
    return Sample(
        id=f"{part.prefix}#{asked.number}",
        images=(Image(path=str(path), bands=_published.RGB, sensor=own.sensor, gsd_m=own.gsd_m),),
        task=TASKS[kind],
        source=own.name,
        licence=own.licence,
        scene_id=f"{own.name}/{Path(file).stem}",
        messages=(
            Message.of("user", asked.row.text("question"), (0,)),
            Message.of("assistant", targets.answer or asked.answer),
        ),
        targets=targets,
        split=part.split,
        meta={"image_file": file, "question_type": kind},
    )
