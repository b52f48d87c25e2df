"""Asking the questions of a benchmark: one line on disk for each answer at once, and going on where a run stopped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

import lhrs_chat
from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.registry import file_sha256
from lhrs_chat.schema import Message

from .benchmarks import BLIND, REAL, SHUFFLED, Benchmark, Parsed, Question, Reply

if TYPE_CHECKING:
    from lhrs_chat.models.backends import Backend, Done, Request

log = logging.getLogger(__name__)

ANSWERS = "answers.jsonl"
CACHED_IMAGES = 64
PROGRESS_S = 10.0

Key = tuple[str, str]
"""Question id and condition."""


@dataclass(frozen=True)
class Ask:
    """One question under one condition, with the pictures that are shown for it."""

    question: Question
    condition: str
    shown: tuple[Path, ...]

    @property
    def key(self) -> Key:
        """What identifies the answer in the file."""
        return self.question.id, self.condition


@dataclass(frozen=True)
class Record:
    """One stored answer. `seconds`: time since the answer before it, so that they add up to the running time."""

    id: str
    condition: str
    text: str
    confidence: float
    tokens: int
    size_px: tuple[int, int]
    seconds: float
    placement: Placement | None = None
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
        """Make a record from a line that `line` wrote.

        Raises:
            DataError: a field is missing.
        """
        try:
            placement = row["placement"]
            return Record(
                id=row["id"],
                condition=row["condition"],
                text=row["text"],
                confidence=float(row["confidence"]),
                tokens=int(row["tokens"]),
                size_px=(int(row["size_px"][0]), int(row["size_px"][1])),
                seconds=float(row["seconds"]),
                placement=None if placement is None else Placement(**{k: tuple(v) for k, v in placement.items()}),
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise DataError("a stored answer cannot be read", found=f"{error!r} in {str(row)[:200]}") from error


@dataclass(frozen=True)
class Run:
    """What a run left: the header of its file, its answers, and how many were there before."""

    header: dict[str, Any]
    records: dict[Key, Record]
    reused: int
    asked: int


def fingerprint(questions: Sequence[Question]) -> str:
    """SHA-256 over all questions and the bytes of their pictures; file locations do not count."""
    digest = hashlib.sha256()
    for question in questions:
        row = asdict(question)
        row["images"] = [image_sha256(path) for path in question.images]
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def image_sha256(path: Path) -> str:
    """Hash the bytes of a picture, once for as long as the file does not change."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    return file_sha256(path)


def derange(questions: Sequence[Question], seed: int) -> dict[tuple[Path, ...], tuple[Path, ...]]:
    """Give every picture another one of its set, each exactly once, and of another scene wherever that is possible.

    Pictures are laid out scene by scene in random order and moved on by the size of the largest scene, or by half
    where one scene holds more than half of the set. The only picture of a set has none to be exchanged for.
    """
    exchange: dict[tuple[Path, ...], tuple[Path, ...]] = {}
    scenes: dict[str, dict[str, dict[tuple[Path, ...], None]]] = {}
    for question in questions:
        if question.images:
            scenes.setdefault(question.subset, {}).setdefault(question.scene_id, {})[question.images] = None
    for subset in sorted(scenes):
        groups = [sorted(scenes[subset][scene]) for scene in sorted(scenes[subset])]
        random.Random(f"{seed}/{subset}").shuffle(groups)
        pictures = list(dict.fromkeys(picture for group in groups for picture in group))
        step = min(max(len(group) for group in groups), len(pictures) // 2)
        if step == 0:
            log.warning("%s: there is one picture only, so that it cannot be shuffled", subset)
            continue
        for position, picture in enumerate(pictures):
            exchange[picture] = pictures[(position + step) % len(pictures)]
    return exchange


def choose(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """Keep at most `limit` questions of each set and task; a smaller limit keeps a part of what a larger one keeps."""
    if limit is None:
        return list(questions)
    if limit < 1:
        raise DataError("a limit is a number of questions", found=limit, allowed="1 or more")
    cells: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        cells.setdefault((question.subset, question.task), []).append(question)
    kept: set[str] = set()
    for cell in cells.values():
        ranked = sorted(cell, key=lambda q: hashlib.sha256(f"{seed}/{q.id}".encode()).digest())
        kept.update(question.id for question in ranked[:limit])
    return [question for question in questions if question.id in kept]


def plan(
    questions: Sequence[Question], conditions: Sequence[str], *, limit: int | None = None, seed: int = 0
) -> list[Ask]:
    """Lay out what will be asked: condition by condition, answers of one length and pictures of one set together."""
    exchange = derange(questions, seed) if SHUFFLED in conditions else {}
    asks = []
    for condition in conditions:
        for question in choose(questions, limit, seed):
            if condition == REAL:
                shown = question.images
            elif condition == BLIND:
                shown = ()
            elif condition == SHUFFLED:
                if question.images not in exchange:
                    continue
                shown = exchange[question.images]
            else:
                raise DataError("unknown condition", found=condition, allowed=f"{REAL}, {BLIND}, {SHUFFLED}")
            asks.append(Ask(question, condition, shown))
    order = {condition: place for place, condition in enumerate(conditions)}
    return sorted(asks, key=lambda a: (order[a.condition], a.question.max_new_tokens, a.question.subset, a.shown))


def make_header(benchmark: Benchmark, questions: Sequence[Question], backend: Backend, seed: int) -> dict[str, Any]:
    """Everything that must be equal for two answers to stand in one file."""
    return {
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


def read_answers(path: Path) -> tuple[dict[str, Any] | None, list[Record], int]:
    """Read a file of answers: its header, its records, and the bytes that hold whole lines.

    A line without its end was being written when the run stopped; it is not counted.

    Raises:
        DataError: a whole line cannot be read, or one answer stands there twice.
    """
    if not path.exists():
        return None, [], 0
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    rows = []
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(
                f"line {number} of {path} is no JSON", found=line[:80], next_step="use --no-resume"
            ) from error
    if not rows:
        return None, [], 0
    if not isinstance(rows[0], dict) or "header" not in rows[0]:
        raise DataError(f"{path} does not begin with a header", found=str(rows[0])[:80], next_step="use another --out")
    records = [Record.read(row) for row in rows[1:]]
    if len({record.key for record in records}) != len(records):
        raise DataError(f"{path} holds an answer twice", next_step="use --no-resume, and let one run at a time write")
    return rows[0]["header"], records, whole


def rescore(benchmark: Benchmark, question: Question, record: Record, dialect: str) -> Record:
    """Parse and score an answer with every protocol."""
    reply = Reply(record.text, dialect, record.size_px, record.placement)
    parsed = {name: protocol.parse(question, reply) for name, protocol in benchmark.protocols.items()}
    scores = {name: p.score(question, parsed[name]) for name, p in benchmark.protocols.items()}
    return Record(
        record.id,
        record.condition,
        record.text,
        record.confidence,
        record.tokens,
        record.size_px,
        record.seconds,
        record.placement,
        parsed,
        scores,
    )


def rescore_all(
    benchmark: Benchmark, questions: Sequence[Question], records: Sequence[Record], dialect: str
) -> dict[Key, Record]:
    """Score stored answers anew, so that numbers always come from the parser at hand.

    Raises:
        DataError: an answer belongs to no question.
    """
    by_id = {question.id: question for question in questions}
    lost = [record.id for record in records if record.id not in by_id]
    if lost:
        raise DataError("stored answers belong to no question of the data", found=f"{len(lost)}, e.g. {lost[0]}")
    return {record.key: rescore(benchmark, by_id[record.id], record, dialect) for record in records}


def run(
    benchmark: Benchmark,
    questions: Sequence[Question],
    backend: Backend,
    folder: Path,
    *,
    conditions: Sequence[str] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    seed: int = 0,
    resume: bool = True,
) -> Run:
    """Ask everything that is not yet answered in `folder`.

    Args:
        benchmark: whose protocols score the answers.
        questions: all questions of the data, whatever the limit.
        backend: the model.
        folder: gets `answers.jsonl`; one line an answer, written as soon as it is there.
        conditions: some of the benchmark's conditions; all where None.
        limit: questions of each set and task; all where None.
        batch_size: requests given to the model at once.
        seed: of the exchange of pictures and of the choice under a limit.
        resume: use the answers that are there; False starts anew.

    Raises:
        DataError: the answers that are there come from other weights, data or settings.
    """
    if batch_size < 1:
        raise DataError("a batch holds requests", found=batch_size, allowed="1 or more")
    asks = plan(questions, benchmark.conditions if conditions is None else conditions, limit=limit, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        path = folder / ANSWERS
        header = make_header(benchmark, questions, backend, seed)
        stored, records, whole = read_answers(path) if resume else (None, [], 0)
        if stored is not None:
            check_header(stored, header, path)
        done = rescore_all(benchmark, questions, records, backend.dialect)
        open_asks = [ask for ask in asks if ask.key not in done]
        reused = len(asks) - len(open_asks)
        log.info("%s: %d of %d answers reused, %d to ask", benchmark.name, reused, len(asks), len(open_asks))
        with path.open("r+b" if whole else "wb") as file:
            file.truncate(whole)
            file.seek(whole)
            if stored is None:
                _write(file, json.dumps({"header": header}) + "\n")
            progress = _Progress(benchmark, reused, len(asks))
            for batch in batches(open_asks, batch_size):
                for record in answer(benchmark, backend, batch, seed):
                    _write(file, record.line())
                    done[record.key] = record
                    progress.add(record)
        return Run(header, {ask.key: done[ask.key] for ask in asks}, reused, len(open_asks))


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


def batches(asks: Sequence[Ask], size: int) -> Iterator[list[Ask]]:
    """Cut into batches that never mix conditions or lengths of answer."""
    batch: list[Ask] = []
    for ask in asks:
        same = batch and (ask.condition, ask.question.max_new_tokens) == (
            batch[0].condition,
            batch[0].question.max_new_tokens,
        )
        if batch and (not same or len(batch) == size):
            yield batch
            batch = []
        batch.append(ask)
    if batch:
        yield batch


def make_request(ask: Ask, seed: int) -> Request:
    """The prompt of one question; a blind one has no image part at all."""
    from lhrs_chat.models.backends import Request

    return Request(
        messages=(Message.of("user", ask.question.text, images=tuple(range(len(ask.shown)))),),
        images=tuple(read_image(path) for path in ask.shown),
        image_hashes=tuple(image_sha256(path) for path in ask.shown),
        max_new_tokens=ask.question.max_new_tokens,
        seed=seed,
    )


@lru_cache(maxsize=CACHED_IMAGES)
def read_image(path: Path) -> np.ndarray:
    """Read one picture as the chat does: (H, W, 3), uint8."""
    from lhrs_chat.geo.raster import Raster

    with Raster.open(path) as raster:
        return raster.rgb()


def answer(benchmark: Benchmark, backend: Backend, batch: Sequence[Ask], seed: int) -> Iterator[Record]:
    """Ask one batch and yield each answer, scored, as soon as it is complete.

    Raises:
        LhrsError: the model left a request without an answer.
    """
    from lhrs_chat.models.backends import Done

    requests = [make_request(ask, seed) for ask in batch]
    missing = set(range(len(batch)))
    before = time.perf_counter()
    for event in backend.generate(requests):
        if not isinstance(event, Done):
            continue
        now = time.perf_counter()
        missing.discard(event.request)
        ask = batch[event.request]
        images = requests[event.request].images
        size_px = (images[0].shape[1], images[0].shape[0]) if images else ask.question.size_px
        record = _record(ask, event, size_px, now - before)
        before = now
        yield rescore(benchmark, ask.question, record, backend.dialect)
    if missing:
        lost = batch[min(missing)].question.id
        raise LhrsError("the model left questions without an answer", found=f"{len(missing)}, e.g. {lost}")


def _record(ask: Ask, done: Done, size_px: tuple[int, int], seconds: float) -> Record:
    return Record(
        id=ask.question.id,
        condition=ask.condition,
        text=done.text,
        confidence=float(done.confidence),
        tokens=done.tokens,
        size_px=size_px,
        seconds=round(seconds, 6),
        placement=done.placement,
    )


def _write(file: IO[bytes], line: str) -> None:
    file.write(line.encode())
    file.flush()


class _Progress:
    """A line on stderr every few seconds: how far, how long still, and the running score of this run."""

    def __init__(self, benchmark: Benchmark, reused: int, total: int) -> None:
        self.name = benchmark.name
        self.reused = reused
        self.total = total
        self.asked = 0
        self.start = self.last = time.perf_counter()

    def add(self, record: Record) -> None:
        self.asked += 1
        now = time.perf_counter()
        done = self.reused + self.asked
        if now - self.last < PROGRESS_S and done != self.total:
            return
        self.last = now
        rate = self.asked / max(now - self.start, 1e-9)
        log.info(
            "%s: %d of %d (%s), %.2f answers/s, %.0f min left",
            self.name,
            done,
            self.total,
            record.condition,
            rate,
            (self.total - done) / rate / 60,
        )
