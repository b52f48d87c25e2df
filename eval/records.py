"""Stored answers: a header, then one line of JSON for each answer, written at once and read back strictly."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import lhrs_chat
from lhrs_chat.errors import DataError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.registry import file_sha256

from .benchmarks import Benchmark, Parsed, Question

if TYPE_CHECKING:
    from lhrs_chat.models.backends import Backend

ANSWERS = "answers.jsonl"
SAMPLES = "samples.parquet"
FORMAT = 2
MISSING = "missing"

Key = tuple[str, str]
"""Question id and condition."""


@dataclass(frozen=True, slots=True)
class Record:
    """One stored answer, or the failure to get one.

    Args:
        id: of the question.
        condition: under which it was asked.
        text: what the model said; empty where it failed.
        confidence: mean probability of its tokens; None where the model does not tell.
        tokens: how many it said.
        size_px: width and height of the picture that was shown, or of the question's own where none was.
        seconds: time since the answer before it, so that they add up to the running time.
        placement: how the picture was resized and padded, where the model tells it.
        error: why there is no answer; empty where there is one.
        parsed: what each protocol read.
        scores: the metrics of each protocol.
    """

    id: str
    condition: str
    text: str
    confidence: float | None
    tokens: int
    size_px: tuple[int, int]
    seconds: float
    placement: Placement | None = None
    error: str = ""
    parsed: dict[str, Parsed] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Question id and condition."""
        return self.id, self.condition

    def line(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @staticmethod
    def read(row: Mapping[str, Any]) -> Record:
        """Make a record from a line that `line` wrote; what was parsed and scored is left to the parser at hand.

        Raises:
            DataError: a field is missing.
        """
        try:
            placement = row["placement"]
            return Record(
                id=row["id"],
                condition=row["condition"],
                text=row["text"],
                confidence=known(row["confidence"]),
                tokens=int(row["tokens"]),
                size_px=(int(row["size_px"][0]), int(row["size_px"][1])),
                seconds=float(row["seconds"]),
                placement=None if placement is None else Placement(**{k: tuple(v) for k, v in placement.items()}),
                error=row["error"],
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise DataError("a stored answer cannot be read", found=f"{error!r} in {str(row)[:200]}") from error


def known(confidence: float | None) -> float | None:
    """The confidence, or None where it is unknown, which a model tells as nan."""
    return None if confidence is None or math.isnan(confidence) else float(confidence)


def image_sha256(path: Path) -> str:
    """Hash the bytes of a picture, once for as long as the file does not change; `missing` where there is none."""
    try:
        stat = path.stat()
        return _sha256(path, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return MISSING


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    return file_sha256(path)


def fingerprint(questions: Sequence[Question]) -> str:
    """SHA-256 over all questions and the bytes of their pictures; file locations do not count."""
    digest = hashlib.sha256()
    for question in questions:
        row = asdict(question)
        del row["same_as"]  # it says nothing that is asked
        row["images"] = [image_sha256(path) for path in question.images]
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def make_header(benchmark: Benchmark, questions: Sequence[Question], backend: Backend, seed: int) -> dict[str, Any]:
    """Everything that must be equal for two answers to stand in one file."""
    return {
        "format": FORMAT,
        "benchmark": benchmark.name,
        "protocols": {name: protocol.id for name, protocol in benchmark.protocols.items()},
        "data_sha256": fingerprint(questions),
        "questions": len(questions),
        "model": backend.name,
        "weights_sha256": backend.weights_sha256,
        "dialect": backend.dialect,
        "temperature": 0.0,
        "seed": seed,
        "version": lhrs_chat.__version__,
    }


def check_header(stored: Mapping[str, Any], header: Mapping[str, Any], path: Path) -> None:
    """Refuse to mix answers of different weights, data or settings.

    Raises:
        DataError: names the first thing that differs.
    """
    for name in [*header, *stored]:
        if stored.get(name) != header.get(name):
            raise DataError(
                f"{path} holds answers of another run: {name} differs",
                found=stored.get(name),
                allowed=header.get(name),
                next_step="give another folder with --out, or start anew with --no-resume",
            )


def read_header(path: Path) -> dict[str, Any]:
    """The first line of a file of answers.

    Raises:
        DataError: there is no such file, it has no header, or it was written in another format.
    """
    first = _first_line(path)
    if not first.endswith(b"\n"):
        raise DataError("there are no answers here", found=path, next_step="python -m eval run BENCHMARK --out FOLDER")
    row = _load(first, 1, path)
    if not isinstance(row, dict) or not isinstance(row.get("header"), dict):
        raise DataError(f"{path} does not begin with a header", found=str(row)[:80], next_step="use another --out")
    return check_format(row["header"], path)


def check_format(header: dict[str, Any], path: Path) -> dict[str, Any]:
    """The header, if its answers are written as they are today.

    Raises:
        DataError: they were written in another format.
    """
    if header.get("format") != FORMAT:
        raise DataError(
            f"{path} was written by another version of this program",
            found=f"format {header.get('format', 1)}",
            allowed=f"format {FORMAT}",
            next_step="ask again: another --out, or --no-resume",
        )
    return header


def _first_line(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.readline()


def read_records(path: Path) -> Iterator[tuple[Record, int]]:
    """Yield each answer of a file, and where its line ends in bytes; an answer after a failure stands for both.

    A line without its end was being written when the run stopped; it is not counted.

    Raises:
        DataError: a whole line cannot be read, or one answer stands there twice.
    """
    answered: dict[Key, bool] = {}
    with path.open("rb") as file:
        end = len(file.readline())
        for number, line in enumerate(file, start=2):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            record = Record.read(_load(line, number, path))
            if answered.get(record.key):
                raise DataError(
                    f"{path} holds an answer twice",
                    found=record.id,
                    next_step="use --no-resume, and let one run at a time write",
                )
            answered[record.key] = not record.error
            yield record, end


def _load(line: bytes, number: int, path: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise DataError(f"line {number} of {path} is no JSON", found=line[:80], next_step="use --no-resume") from error


class Store:
    """The file of answers while a run writes to it. `answered`: what needs not be asked again."""

    def __init__(self, file: IO[bytes], answered: set[Key], failed: set[Key]) -> None:
        self.answered = answered
        self.failed = failed
        self._file = file

    def add(self, record: Record) -> None:
        """Write one answer, at once."""
        self._file.write(record.line().encode())
        self._file.flush()
        (self.failed if record.error else self.answered).add(record.key)
        if not record.error:
            self.failed.discard(record.key)


@contextmanager
def open_store(folder: Path, header: Mapping[str, Any], *, resume: bool) -> Iterator[Store]:
    """Open the file of answers of a folder for one run at a time.

    Raises:
        DataError: another run writes there, or the answers that are there are of other weights, data or settings, or
            are in `samples.parquet` only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ANSWERS
    if resume and not path.is_file() and (folder / SAMPLES).is_file():
        raise DataError(
            f"the answers of this folder are in {SAMPLES} only, where no more can be added",
            found=folder,
            next_step=f"put {ANSWERS} back, or give another --out, or start anew with --no-resume",
        )
    with _alone(folder):
        answered: set[Key] = set()
        failed: set[Key] = set()
        whole = 0
        first = _first_line(path) if resume else b""
        if first.endswith(b"\n"):
            check_header(read_header(path), header, path)
            whole = len(first)
            for record, end in read_records(path):
                (failed if record.error else answered).add(record.key)
                whole = end
        with path.open("r+b" if whole else "wb") as file:
            file.truncate(whole)
            file.seek(whole)
            if not whole:
                file.write((json.dumps({"header": dict(header)}) + "\n").encode())
                file.flush()
            yield Store(file, answered, failed - answered)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder: two that write one file would tear each other's lines.

    Raises:
        DataError: another run writes there.
    """
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise DataError(
            "another run writes to this folder",
            found=str(folder),
            next_step="wait for it, or give another folder with --out",
        ) from error
    finally:
        os.close(lock)
