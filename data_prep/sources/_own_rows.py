"""The user's own rows of conversation: every JSON and JSONL file of a folder, pictures by paths that the rows name.

Beside the fields of its format a row may have `split`, `licence`, `scene_id`, `task`, `source` and `meta`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lhrs_chat.formats.rows import Pictures, Row, opening, stream
from lhrs_chat.schema import Image, Sample

from . import SPLITS, Source, SourceOptions, _captions, _conversations, _published
from ._conversations import Told, Turn

LICENCE = "as the rows state; else that of the user's own data"
SUFFIXES = (".json", ".jsonl")
UNKNOWN = "not stated: the user's own data"
BESIDE = ("dataset_info.json", "manifest.json", "pictures.jsonl")  # files that describe a set and hold none of its rows


def source(
    name: str, get: str, turns: Callable[[Row], Sequence[Turn]], images: Callable[[Row], Sequence[str]]
) -> Source:
    """A source of one form of rows.

    Args:
        name: the source.
        get: what the folder is to hold.
        turns: reads the turns of a row.
        images: reads the paths of its pictures.
    """

    def rows(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
        root = _published.root(name, folder, get)
        pictures = Pictures([root / "images", root])
        unseen = _captions.once()

        def make(entry: tuple[Path, Row]) -> Sample:
            path, row = entry
            about = told(name, path, row, [pictures.path(image, row.where) for image in images(row)])
            made = _conversations.sample(turns(row), about, row.where)
            unseen(made.id, row.where)
            return made

        entries = ((row.where, (path, row)) for path, row in read(name, root, get, options))
        yield from _published.rows(entries, make, options)

    return Source(LICENCE, rows, get)


def read(name: str, root: Path, get: str, options: SourceOptions) -> Iterator[tuple[Path, Row]]:
    """Yield the rows of every file of a folder, with the file.

    Raises:
        DataError: there is no such file.
    """
    files = [path for path in sorted(root.iterdir()) if path.suffix.lower() in SUFFIXES and path.name not in BESIDE]
    if not files:
        raise _published.incomplete(name, root, "*.json or *.jsonl", get)
    for path in files:
        field = "data" if path.suffix.lower() == ".json" and opening(path) == "{" else ""
        for row in stream(path, field, options.reject):
            yield path, row


def told(name: str, path: Path, row: Row, pictures: Sequence[Path]) -> Told:
    """What a row tells beside its turns.

    Raises:
        DataError: a field is broken.
    """
    file = pictures[0].stem if pictures else f"{path.stem}#{row.place}"
    return Told(
        id=f"{path.stem}#{row.place}" if row.values.get("id") is None else row.word("id"),
        source=optional(row, "source", name),
        licence=optional(row, "licence", UNKNOWN),
        scene_id=optional(row, "scene_id", file),
        images=tuple(Image(path=str(picture)) for picture in pictures),
        task=optional(row, "task", ""),
        split="train" if row.values.get("split") is None else row.one_of("split", SPLITS),
        meta=meta(row),
    )


def optional(row: Row, name: str, otherwise: str) -> str:
    """A field that is a text, or what stands for it where it is left out."""
    return otherwise if row.values.get(name) is None else row.text(name)


def meta(row: Row) -> Mapping[str, Any]:
    """What else a row tells: its `meta`, the tools it may call, an answer that was refused."""
    known = {} if row.values.get("meta") is None else dict(row.row("meta").values)
    more = {key: row.values[key] for key in ("tools", "rejected_response") if row.values.get(key)}
    told: Mapping[str, Any] = Row({"meta": {**known, **more}}, row.where).anything("meta")
    return told


def listed(row: Row, *names: str) -> tuple[str, ...]:
    """The texts of the first field that is there: one text, or a list of them."""
    for name in names:
        value = row.values.get(name)
        if value is not None and value != []:
            return row.texts(name) if isinstance(value, list) else (row.text(name),)
    return ()


def spoken(row: Row, name: str) -> list[Turn]:
    """The turns of a field, the row's own `system` before them; `[x1,y1,x2,y2]` in shares of a picture is a box."""
    said = _conversations.said(row, name)
    before = [("system", row.text("system"))] if row.values.get("system") else []
    return [
        Turn(speaker, _conversations.written(text, "brackets1", lambda: 1.0, row.where, strict=False))
        for speaker, text in [*before, *said]
    ]
