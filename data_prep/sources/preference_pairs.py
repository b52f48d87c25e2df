"""Published preference pairs: JSON as ScoreRS reads it, and Parquet as RLHF-V writes it.

`NAME.json` is a list of {question, chosen, rejected, image_name or image_path}; question is optional, rejected may be
a list. Its pictures lie in `images/NAME` or `NAME`; a row that names none is text alone. A Parquet file has `text`, the
same as a JSON text, and `image`: bytes, or {bytes, path}. Both texts of a pair keep the picture and the question.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Pictures, Row, as_row, stream
from lhrs_chat.samples import parquet
from lhrs_chat.schema import Image, Message, Sample, Targets

from . import Source, SourceOptions, _published

NAME = "preference_pairs"
GET = "the JSON or Parquet files of a set of pairs, such as LHRS/RSRM or RLHF-V, with the folders of their pictures"
LICENCE = "as the set states; pairs are for research where it states none"


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row of the task `preference` a pair, or a list of worse texts.

    Raises:
        DataError: no folder is given, or it holds no pairs.
    """
    root = _published.root(NAME, folder, GET)
    files = sorted(path for path in root.iterdir() if path.suffix in (".json", ".parquet"))
    if not files:
        raise _published.incomplete(NAME, root, "*.json or *.parquet", GET)
    entries = (entry for path in files for entry in (_listed if path.suffix == ".json" else _stored)(path, options))
    yield from _published.rows(((row.where, (row, image)) for row, image in entries), _pair, options)


def _listed(path: Path, options: SourceOptions) -> Iterator[tuple[Row, Image | None]]:
    """Read a JSON list; its pictures are files."""
    pictures = Pictures([path.parent / "images" / path.stem, path.parent / path.stem])
    for row in stream(path, reject=options.reject):
        name = next((key for key in ("image_name", "image_path") if row.values.get(key)), None)
        try:
            image = None if name is None else Image(path=str(pictures.path(row.text(name), row.where)))
        except DataError as error:
            options.reject(row.where, f"{error.what}: {error.found}")
        else:
            yield row, image


def _stored(path: Path, options: SourceOptions) -> Iterator[tuple[Row, Image | None]]:
    """Read a Parquet file; its pictures are bytes."""
    _, tables = parquet()
    place = 0
    for batch in tables.ParquetFile(path).iter_batches(batch_size=256):
        for record in batch.to_pylist():
            where, place = f"row {place} of {path.name}", place + 1
            try:
                yield as_row(_said(record, where), where, place - 1), _image(record, path, where)
            except DataError as error:
                options.reject(where, f"{error.what}: {error.found}")


def _said(record: Mapping[str, Any], where: str) -> object:
    try:
        return json.loads(record["text"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: bad field 'text'", found=str(error), allowed="a JSON text") from error


def _image(record: Mapping[str, Any], path: Path, where: str) -> Image | None:
    """The picture of a row: its bytes, or the file beside the table that it names."""
    image = record.get("image")
    inner = image if isinstance(image, dict) else {"bytes": image}
    data = inner.get("bytes")
    if data:
        return Image(data=bytes(data))
    name = inner.get("path") or record.get("image_path")
    if not name:
        return None
    found = Pictures([path.parent / "images" / path.stem, path.parent / path.stem]).path(str(name), where)
    return Image(path=str(found))


def _pair(entry: tuple[Row, Image | None]) -> Sample:
    row, image = entry
    question = row.text("question") if row.values.get("question") else ""
    rejected = row.texts("rejected") if isinstance(row.values.get("rejected"), list) else (row.text("rejected"),)
    chosen = row.text("chosen")
    if chosen in rejected:
        raise DataError(f"{row.where}: both texts are the same", found=chosen[:80])
    scene = f"{NAME}/{row.where}"
    if image is not None:
        seen = hashlib.sha256(image.data).hexdigest()[:16] if image.data is not None else Path(str(image.path)).name
        scene = f"{NAME}/{seen}"
    return Sample(
        id=f"{NAME}/{row.where.rpartition(' of ')[2]}#{row.place}",
        images=() if image is None else (image,),
        task="preference",
        source=NAME,
        licence=LICENCE,
        scene_id=scene,
        messages=(
            Message.of("user", question, () if image is None else (0,)),
            Message.of("assistant", chosen),
        ),
        targets=Targets(answer=chosen),
        meta={"rejected": list(rejected)},
    )


SOURCE = Source(LICENCE, read, GET)
