"""Rows as tokens: made once, kept beside the data under a name that says what they were made from, and reused."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lhrs_chat import __version__, samples
from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.registry import file_sha256
from lhrs_chat.schema import Sample

from .boxes import check_boxes
from .labels import Labelled
from .recipe import DataPart

log = logging.getLogger(__name__)

Label = Callable[[Sample], Labelled]
MakeLabel = Callable[[LhrsProcessor, Collection[int], DataPart], Label]
LAYOUT = 2  # of the files that are kept
MOST_BROKEN = 5  # rows that are named in one error


@dataclass(frozen=True)
class Row:
    """One sample as tokens, with its picture files in the order of their image tokens."""

    id: str
    source: str
    task: str
    files: tuple[str, ...]
    tokens: Labelled

    def __len__(self) -> int:
        return len(self.tokens.ids)


def data_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of rows in a folder.

    Raises:
        DataError: there are no rows.
    """
    return {Path(file).name: file_sha256(Path(file)) for file in samples.Rows.open(folder).files}


def fingerprint(processor: LhrsProcessor) -> str:
    """Hash whatever of a model decides the tokens of a text."""
    words = processor.tokenizer
    facts = [
        words.backend_tokenizer.to_str(),
        words.chat_template,
        processor.system,
        processor.dialect,
        processor.image_token,
        processor.image_token_id,
        processor.num_image_tokens,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def file_of(sample: Sample) -> str:
    """Return the picture file of a row that has one.

    Raises:
        DataError: the row lost its picture; it is not trained on without.
    """
    if len(sample.images) != 1 or sample.images[0].path is None:
        raise DataError("a row of training data has one stored picture", found=f"{sample.id}: {len(sample.images)}")
    return sample.images[0].path


def files_of(sample: Sample) -> tuple[str, ...]:
    """Return the picture files of a row in the order in which its turns show them.

    Raises:
        DataError: a picture is not stored as a file, or the turns do not show each picture once.
    """
    shown = [part.image for turn in sample.messages for part in turn.content if part.type == "image"]
    if sorted(-1 if number is None else number for number in shown) != list(range(len(sample.images))):
        raise DataError(
            "the turns of a row show each of its pictures once",
            found=f"{len(sample.images)} pictures, image parts {shown or 'none'}",
            allowed="one part of type image for each picture, with its number",
        )
    paths = [sample.images[number].path for number in shown if number is not None]
    files = tuple(path for path in paths if path is not None)
    if len(files) != len(paths):
        raise DataError("a row of training data has stored pictures", found="pixels, or bytes")
    return files


def tokenised(part: DataPart, split: str, label: Label, maker: str, hashes: dict[str, str]) -> list[Row]:
    """Return the rows of a split as tokens, from where they were kept or made now.

    Args:
        part: which rows.
        split: `train` or `val`.
        label: what makes tokens of a sample.
        maker: stands for `label` and the model: other tokens are kept under another name.
        hashes: of the files of rows.

    Raises:
        DataError: rows cannot be learned from; the error names them.
    """
    taken = sorted((source, share > 0) for source, share in part.mix.items())
    tags = sorted(part.task_tags.items())
    facts = [LAYOUT, __version__, maker, split, str(part.folder), taken, tags, sorted(hashes.items())]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    kept = part.folder / "tokens" / key
    if (kept / "rows.json").is_file():
        rows = _read(kept)
        log.info("%s: %d rows, tokenised before, reused from %s", split, len(rows), kept)
        return rows
    rows = list(_made(part, split, label))
    _keep(kept, rows)
    log.info("%s: %d rows tokenised, kept in %s", split, len(rows), kept)
    return rows


def _made(part: DataPart, split: str, label: Label) -> Iterator[Row]:
    """Label the rows of a split; those that cannot be are named together."""
    broken: list[tuple[str, LhrsError]] = []
    for sample in samples.read(part.folder):
        if sample.split != split or part.share(sample.source) == 0:
            continue
        try:
            check_boxes(sample)
            tokens = label(sample)
            row = Row(sample.id, sample.source, sample.task, files_of(sample), tokens)
        except LhrsError as error:
            broken.append((sample.id, error))
            if len(broken) == MOST_BROKEN:
                break
        else:
            yield row
    if broken:
        name, first = broken[0]
        others = f" (and {', '.join(other for other, _ in broken[1:])})" if len(broken) > 1 else ""
        raise DataError(
            f"{name}: {first.what}{others}", found=first.found, allowed=first.allowed, next_step=first.next_step
        ) from first


def _keep(folder: Path, rows: Sequence[Row]) -> None:
    """Write rows under another name first; of two processes that do so at once, one wins."""
    scratch = folder.with_name(f".{folder.name}-{os.getpid()}")
    scratch.mkdir(parents=True, exist_ok=True)
    empty = np.zeros(0, dtype=np.int32)
    np.save(scratch / "ids.npy", np.concatenate([empty, *(row.tokens.ids for row in rows)]).astype(np.int32))
    np.save(scratch / "learned.npy", np.concatenate([empty, *(row.tokens.learned for row in rows)]).astype(bool))
    np.save(scratch / "ends.npy", np.cumsum([len(row) for row in rows], dtype=np.int64))
    told = [(row.id, row.source, row.task, row.files, row.tokens.text, row.tokens.asked) for row in rows]
    (scratch / "rows.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    try:
        scratch.rename(folder)
    except OSError:  # another process was quicker
        shutil.rmtree(scratch)


def _read(folder: Path) -> list[Row]:
    told: list[list[Any]] = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    ids, learned = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("ids", "learned"))
    ends = np.load(folder / "ends.npy").tolist()
    rows = []
    for (name, source, task, files, text, asked), start, end in zip(told, [0, *ends[:-1]], ends, strict=True):
        tokens = Labelled(ids[start:end], learned[start:end], text, asked)
        rows.append(Row(name, source, task, tuple(files), tokens))
    return rows
