"""The answers of a run as one Parquet file: a row each, with its question and scores in columns for other programs.

It is written from `answers.jsonl` and can stand in for it: header and answers come back from it as they were. What a
protocol read, and how a picture was placed, are JSON in their columns; the column of a score is `PROTOCOL.METRIC`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lhrs_chat.errors import DataError, MissingExtraError

from .benchmarks import Question
from .estimates import cells_of, score_cell
from .records import ANSWERS, SAMPLES, Key, Record, check_format, read_header, read_records

if TYPE_CHECKING:
    from .runs import ScoredRun

HEADER = b"lhrs_chat_eval"
BLOCK_ROWS = 1024
TEXTS = ("id", "condition", "set", "task", "question", "true", "text", "error", "placement", "parsed")
REALS = ("confidence", "seconds")
COUNTS = ("tokens", "width_px", "height_px")


def _pyarrow() -> tuple[Any, Any]:
    """The two parts of pyarrow that are needed.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "eval", f"writing and reading {SAMPLES}") from error
    return pyarrow, parquet


def write(run: ScoredRun) -> Path:
    """Write `samples.parquet` into the folder of a run, whole or not at all, one block of rows in memory at a time.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow, parquet = _pyarrow()
    scores = scores_of(run)
    metrics = {metric for found in scores.values() for metric in found}
    fields = [(name, pyarrow.string()) for name in TEXTS]
    fields += [(name, pyarrow.float64()) for name in (*REALS, *sorted(metrics))]
    fields += [(name, pyarrow.int64()) for name in COUNTS]
    schema = pyarrow.schema(fields, metadata={HEADER: json.dumps(run.header).encode()})
    half = run.folder / f".{SAMPLES}.half"
    with parquet.ParquetWriter(half, schema, compression="zstd") as writer:
        left = iter(run.records.values())
        while rows := [{**_row(run, record), **scores[record.key]} for record in islice(left, BLOCK_ROWS)]:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    os.replace(half, run.folder / SAMPLES)
    return run.folder / SAMPLES


def scores_of(run: ScoredRun) -> dict[Key, dict[str, float]]:
    """Every metric of every answer as `PROTOCOL.METRIC`, those included that need all answers of a set and task."""
    found: dict[Key, dict[str, float]] = {key: {} for key in run.records}
    conditions = dict.fromkeys(condition for _, condition in run.records)
    for name, protocol in run.data.benchmark.protocols.items():
        for cell in cells_of(run.data.questions).values():
            answered = {c: [run.asks[q.id, c].question for q in cell if (q.id, c) in run.records] for c in conditions}
            for condition, scored in score_cell(name, protocol, answered, run.records).items():
                for number, own in scored.items():
                    found[number, condition].update({f"{name}.{metric}": value for metric, value in own.items()})
    return found


def _row(run: ScoredRun, record: Record) -> dict[str, Any]:
    question = run.asks[record.key].question
    asked = {"set": question.subset, "task": question.task, "question": question.text, "true": true_text(question)}
    said = {name: getattr(record, name) for name in ("id", "condition", "text", "error", *REALS, "tokens")}
    size = {"width_px": record.size_px[0], "height_px": record.size_px[1]}
    placement = None if record.placement is None else json.dumps(asdict(record.placement))
    return {**asked, **said, **size, "placement": placement, "parsed": json.dumps(record.parsed)}


def true_text(question: Question) -> str:
    """What is true, in words: each answer or caption in a line, else each number and box."""
    targets = question.targets
    numbers = [f"{number.value:g} {number.unit}".strip() for number in targets.numbers]
    boxes = [", ".join(f"{value:g}" for value in box.xyxy) + f" ({box.frame})" for box in targets.boxes]
    parts = [targets.answer or "", *targets.captions] if targets.answer or targets.captions else [*numbers, *boxes]
    return "\n".join(dict.fromkeys(part for part in parts if part))


def header_of(folder: Path) -> dict[str, Any]:
    """The header of the answers in a folder: of `answers.jsonl`, or where that is gone, of `samples.parquet`.

    Raises:
        DataError: there are no answers, or they were written in another format.
        MissingExtraError: there is only the second, and pyarrow is not installed.
    """
    path = folder / SAMPLES
    if (folder / ANSWERS).is_file() or not path.is_file():
        return read_header(folder / ANSWERS)
    pyarrow, parquet = _pyarrow()
    try:
        header: dict[str, Any] = json.loads((parquet.read_schema(path).metadata or {})[HEADER])
    except (OSError, KeyError, ValueError, pyarrow.ArrowException) as error:
        raise DataError("this file holds no answers of ours", found=f"{path}: {error!r}"[:200]) from error
    return check_format(header, path)


def records_of(folder: Path) -> Iterator[Record]:
    """Yield the answers in a folder, from the same file as `header_of`; they are not scored.

    Raises:
        DataError: one cannot be read.
        MissingExtraError: there is only `samples.parquet`, and pyarrow is not installed.
    """
    path = folder / SAMPLES
    if (folder / ANSWERS).is_file() or not path.is_file():
        yield from (record for record, _ in read_records(folder / ANSWERS))
        return
    pyarrow, parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path) as table:
            for block in table.iter_batches(batch_size=BLOCK_ROWS, columns=_STORED):
                for row in block.to_pylist():
                    placement = None if row["placement"] is None else json.loads(row["placement"])
                    size_px = (row["width_px"], row["height_px"])
                    yield Record.read({**row, "placement": placement, "size_px": size_px})
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise DataError("this file cannot be read", found=f"{path}: {error!r}"[:200]) from error


_STORED = ["id", "condition", "text", "error", "placement", *REALS, *COUNTS]
