"""Scores for every row of a data set: in parts that are kept as they come, so that a run that was stopped goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lhrs_chat import samples, storage
from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.models.scorers import Judged, Score, Scorer
from lhrs_chat.progress import Bar
from lhrs_chat.schema import Image, Message, Part, Sample
from lhrs_chat.text import grounding

log = logging.getLogger(__name__)

PART_ROWS = 100
PICTURE_MAX_PX = 1024
COLUMNS: dict[str, type] = {
    "id": str,
    "score": float,
    "reason": str,
    "model": str,
    "weights_sha256": str,
    "prompt_sha256": str,
    "row_sha256": str,
}


@dataclass(frozen=True)
class Summary:
    """What a run did: rows in all, those of an earlier run, those without a score by reason, new rows a second."""

    rows: int
    reused: int
    unscored: Counter[str]
    rows_per_second: float


Opened = dict[Image, tuple[np.ndarray, tuple[int, int]]]


def judged(sample: Sample, dialect: str, opened: Opened) -> Judged:
    """Return what is scored of a row: its last answer, after all that came before; pictures at most 1024 px a side.

    Args:
        sample: the row.
        dialect: how the model reads boxes.
        opened: pixels and sizes of the pictures that are open already; those of this row are added.

    Raises:
        DataError: the row has no answer, or a picture that cannot be read.
    """
    turns = [turn for turn in sample.messages if turn.role != "system"]
    roles = [turn.role for turn in turns]
    if not turns or roles != ["user", "assistant"] * (len(turns) // 2):
        raise DataError("a row that is scored asks and answers in turn", found=", ".join(roles) or "no turn")
    for image in sample.images:
        if image not in opened:
            with Raster.open(image) as raster:
                opened[image] = raster.rgb(max_size_px=PICTURE_MAX_PX), raster.size_px
    sizes_px = [opened[image][1] for image in sample.images]
    said = [_words(turn, sizes_px, dialect) for turn in turns]
    pairs = list(zip(said[::2], said[1::2], strict=True))
    question, answer = pairs[-1]
    return Judged(answer, question, tuple(opened[image][0] for image in sample.images), tuple(pairs[:-1]))


def _words(turn: Message, sizes_px: Sequence[tuple[int, int]], dialect: str) -> str:
    """The text of a turn, its regions as the model reads them."""

    def written(part: Part) -> str:
        if part.region is None:
            return part.text if part.type == "text" else ""
        return grounding.write(part.region, dialect, sizes_px[part.image or 0])

    return "".join(written(part) for part in turn.content).strip()


def fingerprint(sample: Sample) -> str:
    """Hash what is said in a row, wherever its pictures lie: a score belongs to it and to no other row of its id."""
    said = json.dumps([dataclasses.asdict(turn) for turn in sample.messages], sort_keys=True)
    return hashlib.sha256(f"{sample.id}\n{said}".encode()).hexdigest()


def score_rows(source: storage.Location, scorer: Scorer, out: Path, *, part_rows: int = PART_ROWS) -> Summary:
    """Score a data set into one Parquet file with the `COLUMNS`, rows in their order.

    Parts lie beside `out` until all are there. Parts of another model, prompt or data set are made anew.

    Args:
        source: a folder, or a file of rows.
        scorer: the model.
        out: file to write.
        part_rows: rows of a part; their pictures are held at once.

    Raises:
        DataError: there are no rows, a line is no row, or `out` is a folder.
    """
    if out.is_dir():
        raise DataError("scores are written into a file", found=f"{out} is a folder", next_step="name a .parquet file")
    rows = samples.Rows.open(source)
    if not len(rows):
        raise DataError("there are no rows to score", found=str(source))
    plan = {"rows": len(rows), "source": _contents(rows.files), "part_rows": part_rows}
    plan |= {"weights": scorer.weights_sha256, "prompt": scorer.prompt_sha256, "model": scorer.name}
    parts = out.with_name(out.name + ".parts")
    _begin(parts, plan)
    there = [start for start in range(0, len(rows), part_rows) if (parts / _name(start)).exists()]
    reused = sum(min(start + part_rows, len(rows)) - start for start in there)
    began, bar = time.monotonic(), Bar("score", "rows", len(rows), reused)
    for start in range(0, len(rows), part_rows):
        stop = min(start + part_rows, len(rows))
        if start in there:
            continue
        try:
            some = rows.slice(start, stop)
        except DataError:
            if not any(parts.glob("*.parquet")):  # nothing to go on from
                shutil.rmtree(parts)
            raise
        samples.write_table(parts / _name(start), COLUMNS, _records(some, scorer))
        bar.add(stop - start)
    bar.close()
    seconds = time.monotonic() - began
    unscored = _join(sorted(parts.glob("*.parquet")), out)
    shutil.rmtree(parts)
    new = len(rows) - reused
    return Summary(len(rows), reused, unscored, new / seconds if new else 0.0)


def _name(start: int) -> str:
    return f"{start:09d}.parquet"


def _contents(files: Sequence[str]) -> str:
    """Hash the files of a data set."""
    digest = hashlib.sha256()
    for file in files:
        with storage.opened(file) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _begin(parts: Path, plan: dict[str, object]) -> None:
    record = parts / "plan.json"
    if parts.exists() and (not record.exists() or json.loads(record.read_text()) != plan):
        log.warning("%s is of another model, prompt or data set, and is made anew", parts)
        shutil.rmtree(parts)
    parts.mkdir(parents=True, exist_ok=True)
    with storage.replacing(record) as stream:
        stream.write(json.dumps(plan).encode())


def _records(rows: Sequence[Sample], scorer: Scorer) -> Iterator[dict[str, object]]:
    """Score the rows of a part and yield them as `COLUMNS`."""
    known: dict[int, Judged] = {}
    opened: Opened = {}
    found: dict[int, Score] = {}
    for number, row in enumerate(rows):
        try:
            known[number] = judged(row, scorer.dialect, opened)
        except LhrsError as error:
            found[number] = Score(None, f"{error.what}: {error.found}")
    found |= dict(zip(known, scorer.score(list(known.values())), strict=True))
    for number, row in enumerate(rows):
        yield {
            "id": row.id,
            "score": found[number].value,
            "reason": found[number].reason,
            "model": scorer.name,
            "weights_sha256": scorer.weights_sha256,
            "prompt_sha256": scorer.prompt_sha256,
            "row_sha256": fingerprint(row),
        }


def _kind(reason: str) -> str:
    """What a reason says of any row: without what was found, and with every number as N."""
    return re.sub(r"\d+", "N", reason.partition(": ")[0])


def _join(parts: Sequence[Path], out: Path) -> Counter[str]:
    """Write all parts as one file and count the reasons of rows without a score, numbers and names left out."""
    unscored: Counter[str] = Counter()

    def every() -> Iterator[dict[str, object]]:
        for part in parts:
            columns = samples.read_columns(part, list(COLUMNS))
            for values in zip(*(columns[name] for name in COLUMNS), strict=True):
                record = dict(zip(COLUMNS, values, strict=True))
                if record["score"] is None:
                    unscored[_kind(str(record["reason"]))] += 1
                yield record

    samples.write_table(out, COLUMNS, every())
    return unscored
