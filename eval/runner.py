"""Asking the questions of a benchmark: one line on disk for each answer at once, and going on where a run stopped."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.schema import Message

from .benchmarks import Benchmark, Question, Reply
from .cache import AnswerCache, generate, key_of, open_cache
from .conditions import Ask, plan
from .pictures import Pictures
from .progress import Progress
from .records import Record, known, make_header, open_store

if TYPE_CHECKING:
    from lhrs_chat.models.backends import Backend, Done, Request

log = logging.getLogger(__name__)

FAILURES = (LhrsError, OSError, RuntimeError, ValueError)
"""What a server, a decoder or a model out of memory raises. Anything else is a fault of the program and ends it."""

MAX_IN_A_ROW = 10
"""Questions that the model fails alike, one after the other, before a run ends that books failures."""


@dataclass(frozen=True)
class Settings:
    """How a run asks.

    Args:
        limit: questions of each set and task; all where None.
        batch_size: requests given to the model at once.
        seed: of the exchange of pictures, of the choice under a limit, of permutations and of corruptions.
        resume: use the answers that are there; False starts anew.
        on_error: what a question that fails does: `stop` ends the run, `record` books it as wrong and goes on.
        retries: how often a question that failed is asked again, alone.
        cache: file of the answers that runs share; None asks everything anew.
    """

    limit: int | None = None
    batch_size: int = 8
    seed: int = 0
    resume: bool = True
    on_error: Literal["stop", "record"] = "stop"
    retries: int = 1
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError("a batch holds requests", found=self.batch_size, allowed="1 or more")
        if self.retries < 0:
            raise DataError("retries are counted", found=self.retries, allowed="0 or more")


@dataclass(frozen=True)
class Run:
    """What a run did: the header of its file, and how many answers it reused, took from the cache, asked and missed."""

    header: dict[str, Any]
    reused: int
    cached: int
    asked: int
    failed: int

    def sentence(self) -> str:
        """The counts in words."""
        text = f"{self.reused} answers reused from this folder, {self.cached} from the cache, {self.asked} asked"
        return text + (f"; {self.failed} failed and count as wrong" if self.failed else "")


def rescore(benchmark: Benchmark, question: Question, record: Record, dialect: str) -> Record:
    """Parse and score an answer with every protocol; a failure is scored as a blank answer."""
    reply = Reply(record.text, dialect, record.size_px, record.placement)
    parsed = {name: protocol.parse(question, reply) for name, protocol in benchmark.protocols.items()}
    scores = {name: p.score(question, parsed[name]) for name, p in benchmark.protocols.items()}
    return replace(record, parsed=parsed, scores=scores)


def run(
    benchmark: Benchmark,
    questions: Sequence[Question],
    backend: Backend,
    folder: Path,
    conditions: Sequence[str] | None = None,
    settings: Settings | None = None,
) -> Run:
    """Ask everything that is not yet answered in `folder`.

    Args:
        benchmark: whose protocols score the answers.
        questions: all questions of the data, whatever the limit.
        backend: the model.
        folder: gets `answers.jsonl`; one line an answer, written as soon as it is there.
        conditions: names of conditions; the benchmark's own where None.
        settings: how to ask.

    Raises:
        DataError: the answers that are there come from other weights, data or settings.
        LhrsError: a question failed, and the settings say to stop.
    """
    settings = settings or Settings()
    names = benchmark.conditions if conditions is None else conditions
    asks = plan(questions, names, limit=settings.limit, seed=settings.seed)
    header = make_header(benchmark, questions, backend, settings.seed)
    with ExitStack() as stack:
        store = stack.enter_context(open_store(folder, header, resume=settings.resume))
        ids = {question.id for question in questions}
        lost = [key for key in store.answered | store.failed if key[0] not in ids]
        if lost:
            raise DataError("stored answers belong to no question of the data", found=f"{len(lost)}, e.g. {lost[0][0]}")
        cache = None if settings.cache is None else stack.enter_context(open_cache(settings.cache))
        todo = [ask for ask in asks if ask.key not in store.answered]
        reused = len(asks) - len(todo)
        again = sum(ask.key in store.failed for ask in todo)
        log.info("%s: %d of %d answers reused, %d to ask", benchmark.name, reused, len(asks), len(todo))
        if again:
            log.info("%d of them failed before and are asked again", again)
        progress = Progress(benchmark, reused, len(asks))
        counts: Counter[str] = Counter()
        asker = _Asker(backend, settings, cache, counts)
        for ask, record in asker.answers(todo):
            scored = rescore(benchmark, ask.question, record, backend.dialect)
            store.add(scored)
            progress.add(ask, scored)
        return Run(header, reused, counts["cached"], counts["asked"], sum(ask.key in store.failed for ask in asks))


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


def make_request(ask: Ask, pictures: Pictures, seed: int) -> Request:
    """The prompt of one question; a blind one has no image part at all.

    Raises:
        RasterError: a picture cannot be read.
    """
    from lhrs_chat.models.backends import Request

    shown = [pictures.get(path, ask.condition, ask.drawn) for path in ask.shown]
    return Request(
        messages=(Message.of("user", ask.question.text, images=tuple(range(len(shown)))),),
        images=tuple(picture.pixels for picture in shown),
        image_hashes=tuple(picture.sha256 for picture in shown),
        max_new_tokens=ask.question.max_new_tokens,
        seed=seed,
    )


Prepared = list[tuple[Ask, "Request | Exception"]]
"""The requests of a batch, or why one could not be made."""


class _Asker:
    """Gets answers from the cache and from the model; reads the pictures of the next batch while the model works."""

    def __init__(self, backend: Backend, settings: Settings, cache: AnswerCache | None, counts: Counter[str]) -> None:
        self._backend = backend
        self._settings = settings
        self._cache = cache
        self._counts = counts
        self._pictures = Pictures()
        self._cause = ""
        self._in_a_row = 0
        self._before = time.perf_counter()

    def answers(self, asks: Sequence[Ask]) -> Iterator[tuple[Ask, Record]]:
        """Yield the answer of each question as soon as it is there."""
        self._before = time.perf_counter()
        with ThreadPoolExecutor(1) as reader:
            waiting = None
            for batch in batches(asks, self._settings.batch_size):
                coming = reader.submit(self._prepare, batch)
                if waiting is not None:
                    yield from self._batch(waiting.result())
                waiting = coming
            if waiting is not None:
                yield from self._batch(waiting.result())

    def _prepare(self, batch: Sequence[Ask]) -> Prepared:
        prepared: Prepared = []
        for ask in batch:
            try:
                prepared.append((ask, make_request(ask, self._pictures, self._settings.seed)))
            except FAILURES as error:
                prepared.append((ask, error))
        return prepared

    def _batch(self, prepared: Prepared) -> Iterator[tuple[Ask, Record]]:
        todo: list[tuple[Ask, Request]] = []
        for ask, request in prepared:
            if isinstance(request, Exception):
                yield ask, self._failed(ask, request)
                continue
            found = None if self._cache is None else self._cache.get(key_of(self._backend, request), 0)
            if found is None:
                todo.append((ask, request))
            else:
                self._counts["cached"] += 1
                yield ask, self._record(ask, request, found)
        left = dict(enumerate(todo))
        error: Exception | None = None
        try:
            for done in self._generate([request for _, request in todo]):
                ask, request = left.pop(done.request)
                yield ask, self._record(ask, request, done)
        except FAILURES as caught:
            error = caught
        for ask, request in left.values():
            yield ask, self._alone(ask, request, error, self._settings.retries + (len(todo) > 1))

    def _generate(self, requests: Sequence[Request]) -> Iterator[Done]:
        """Ask the model, and count its answers."""
        for done in generate(self._backend, requests, self._cache):
            self._counts["asked"] += 1
            self._in_a_row = 0
            yield done

    def _alone(self, ask: Ask, request: Request, error: Exception | None, tries: int) -> Record:
        """Ask one question of a batch that failed by itself: one of many need not be the one that failed.

        Raises:
            LhrsError: the settings say to stop, or so many questions in a row failed alike that the model is not there.
        """
        for _ in range(tries):
            try:
                for done in self._generate([request]):
                    return self._record(ask, request, done)
            except FAILURES as caught:
                error = caught
        failed = self._failed(ask, error or LhrsError("the model left a question without an answer"))
        cause = failed.error.split("\n")[0]
        self._in_a_row = self._in_a_row + 1 if cause == self._cause else 1
        self._cause = cause
        if self._in_a_row == MAX_IN_A_ROW:
            raise LhrsError(
                f"{MAX_IN_A_ROW} questions in a row failed alike, so the run stops and books no more as wrong",
                found=failed.error,
                next_step="mend it and give the same command again; the failed questions are asked again",
            )
        return failed

    def _record(self, ask: Ask, request: Request, done: Done) -> Record:
        now = time.perf_counter()
        seconds, self._before = now - self._before, now
        images = request.images
        return Record(
            id=ask.question.id,
            condition=ask.condition.name,
            text=done.text,
            confidence=known(done.confidence),
            tokens=done.tokens,
            size_px=(images[0].shape[1], images[0].shape[0]) if images else ask.question.size_px,
            seconds=round(seconds, 6),
            placement=done.placement,
        )

    def _failed(self, ask: Ask, error: Exception) -> Record:
        """Book a failure, or stop.

        Raises:
            LhrsError: the settings say to stop.
        """
        why = f"{type(error).__name__}: {error}"
        if self._settings.on_error == "stop":
            raise LhrsError(
                f"question {ask.question.id} ({ask.condition.name}) failed",
                found=why,
                next_step="mend it and give the same command again, or book failures as wrong: --on-error record",
            ) from error
        log.warning("question %s (%s) failed: %s", ask.question.id, ask.condition.name, why.replace("\n", "; "))
        now = time.perf_counter()
        seconds, self._before = now - self._before, now
        return Record(
            ask.question.id, ask.condition.name, "", 0.0, 0, ask.question.size_px, round(seconds, 6), error=why
        )
