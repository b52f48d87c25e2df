"""Sources in LLaVA's form: rows with a picture and turns, boxes in one model's way, tags that name the task."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lhrs_chat.formats.rows import Pictures, Row, stream
from lhrs_chat.schema import Image, Sample

from . import SourceOptions, _conversations, _published
from ._conversations import Told, Turn

WITH_DIOR = ("dior_rsvg", "geochat_instruct", "vrsbench")
"""Sources whose pictures with names of five digits are those of DIOR."""


@dataclass(frozen=True)
class Form:
    """How the rows of a source are written.

    Args:
        source: its name.
        licence: terms of pictures and texts.
        dialect: how boxes are written, as a text of the row's turns shows.
        tags: the tags before a question and their tasks.
        turned: whether boxes may be turned; then the header of a picture with boxes is read, for its shape.
    """

    source: str
    licence: str
    dialect: Callable[[str], str]
    tags: Mapping[str, str] = field(default_factory=dict)
    turned: bool = False


@dataclass(frozen=True)
class File:
    """One file of rows: where it and its pictures lie, and what is known of all its rows.

    Args:
        path: the file.
        pictures: where its pictures lie.
        name: the field of the outermost object that holds the rows; '' where the outermost value is their list.
        split: train, val or test.
        task: of rows without a tag; '' where their first question must tell it.
    """

    path: Path
    pictures: Pictures
    name: str = ""
    split: str = "train"
    task: str = ""


Talk = Callable[[Row], Sequence[tuple[str, str]]]
"""Speaker and text of each turn of a row."""


def rows(
    form: Form,
    files: Iterable[File],
    options: SourceOptions,
    talk: Talk = _conversations.said,
    picture: Callable[[Row], str] = lambda row: row.text("image"),
) -> Iterator[Sample]:
    """Yield one row a conversation.

    Args:
        form: how they are written.
        files: where they are written.
        options: what to take.
        talk: reads the turns of a row.
        picture: reads the file name of its picture.
    """

    def make(entry: tuple[File, Row]) -> Sample:
        file, row = entry
        name = picture(row)
        path = file.pictures.path(name, row.where)
        turns, task = _read(form, talk(row), path, file, row.where)
        scene_id, tile = scene(name, form.source)
        told = Told(
            id=f"{form.source}/{file.path.stem}#{row.place}",
            source=form.source,
            licence=form.licence,
            scene_id=scene_id,
            images=(Image(path=str(path), bands=_published.RGB),),
            task=task or file.task,
            split=file.split,
            meta={"image_file": name, **({"tile": tile} if tile else {})},
        )
        return _conversations.sample(turns, told, row.where)

    entries = (
        (row.where, (file, row))
        for file in files
        if options.split in (None, file.split)
        for row in stream(file.path, file.name, options.reject)
    )
    yield from _published.rows(entries, make, options)


def _read(form: Form, talk: Sequence[tuple[str, str]], path: Path, file: File, where: str) -> tuple[list[Turn], str]:
    """The turns with their regions, and the task that the tags name ('' without tags)."""

    def aspect() -> float:
        if not form.turned:
            return 1.0
        width, height = file.pictures.size_px(path, where)
        return width / height

    turns, tasks = [], []
    for speaker, text in talk:
        words = text
        if _conversations.SPEAKERS[speaker] == "user":
            task, words = _conversations.tagged(text, form.tags)
            tasks.append(task)
        turns.append(Turn(speaker, _conversations.written(words, form.dialect(words), aspect, where)))
    return turns, _conversations.task_of(tasks) if tasks else ""


def scene(file: str, source: str) -> tuple[str, str]:
    """Scene id and tile of a picture, where its name tells: `P0001_0003.png` of DOTA, `00002_0000.png` of DIOR."""
    stem = Path(file).stem
    dota = re.match(r"P\d{4}(?!\d)", stem)
    if dota:
        return f"dota/{dota[0]}", dota[0]
    dior = re.fullmatch(r"(\d{5})(?:_\d{4})?", stem)
    if dior and source in WITH_DIOR:
        return f"dior/{dior[1]}", dior[1]
    return f"{source}/{file}", ""
