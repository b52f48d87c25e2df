"""Steps over the rows of a data set: on all cores of one machine, or the same steps on a Ray cluster.

The rows are cut into shards, and these into batches. Batches are worked on in any order by anyone; the process that was
started puts their results together and writes a shard when all of it is there. So a shard is written once, by one
process, whoever was killed on the way, and its bytes depend on the rows and the steps alone.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from lhrs_chat import samples, storage
from lhrs_chat.errors import DataError, LhrsError, MissingExtraError
from lhrs_chat.progress import Bar
from lhrs_chat.samples import Rows
from lhrs_chat.schema import Sample
from lhrs_chat.storage import Location

from .output import UNREADABLE, Dropped, Output, inputs
from .pictures import keep

log = logging.getLogger(__name__)

SHARD_ROWS = 1000
BATCH_ROWS = 64
"""Rows that a worker gets at once: little enough to show progress, enough to forget the cost of handing them over."""


@dataclass(frozen=True)
class Outcome:
    """What a step makes of a batch: rows for the next step, and those that it left out."""

    rows: list[Sample]
    dropped: list[Dropped] = field(default_factory=list)


Step = Callable[[list[Sample]], Outcome]
"""A plain function of a batch. It depends on the rows alone, and can be pickled."""


@dataclass(frozen=True)
class EachRow:
    """A step made of a function of one row. A row that it fails on is dropped, and the others go on.

    Args:
        name: what `Dropped.filter` tells.
        make: takes a row and gives the rows that take its place.
    """

    name: str
    make: Callable[[Sample], Iterable[Sample]]

    def __call__(self, rows: list[Sample]) -> Outcome:
        """Do it to each row of a batch."""
        made: list[Sample] = []
        dropped = []
        for row in rows:
            try:
                made += list(self.make(row))
            except (LhrsError, ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno in storage.FULL:
                    raise
                dropped.append(Dropped.of(row, self.name, str(error)))
        return Outcome(made, dropped)


def run(
    source: Location,
    out: Location,
    steps: Sequence[Step],
    *,
    plan: Mapping[str, Any],
    filters: Sequence[str] = (),
    shard_rows: int = SHARD_ROWS,
    workers: int | None = None,
    engine: str = "local",
) -> dict[str, Any]:
    """Put the rows of a data set through steps, and write a new data set; return its manifest.

    Killed at any time and started again, it writes the same bytes as a run that nobody disturbed.

    Args:
        source: the data set, a folder or a file.
        out: the folder to write.
        steps: what is done to each batch, one after the other.
        plan: all that decides what the steps do, in plain values; another plan does not go on with this folder.
        filters: who may drop a row, in their order, for the funnel.
        shard_rows: rows of the input that make one shard.
        workers: processes; None takes all cores that this process may use, of Ray all of the cluster.
        engine: `local` or `ray`.

    Raises:
        DataError: there are no rows, the folder holds another result, or nothing can be written.
        MissingExtraError: a package of the engine is not installed.
    """
    if engine not in ENGINES:
        raise DataError("unknown engine", found=engine, allowed=", ".join(ENGINES))
    if shard_rows < 1 or (workers is not None and workers < 1):
        raise DataError("a shard has rows, and somebody works", found=(shard_rows, workers), allowed=">= 1")
    source, out = _full(source), _full(out)
    unreadable: list[Dropped] = []
    rows = Rows.open(source, lambda where, reason: unreadable.append(Dropped(where, UNREADABLE, reason)))
    output = Output(out, {**plan, "shard_rows": shard_rows}, inputs(source))
    shards = range(max(1, math.ceil(len(rows) / shard_rows)))
    todo = [shard for shard in shards if not output.has(shard)]
    left = sum(len(_rows_of(shard, shard_rows, len(rows))) for shard in todo)
    bar = Bar(str(plan.get("verb", "run")), "rows", len(rows), len(rows) - left, speed_of="images")
    jobs = [job for shard in todo for job in _jobs(shard, shard_rows, len(rows))]
    results = ENGINES[engine](partial(_work, rows, tuple(steps), out), jobs, workers)
    with output.room():
        for shard, parts in _together(results, jobs, bar):
            dropped = unreadable if shard == 0 else []
            dropped = [*dropped, *(row for part in parts for row in part.dropped)]
            output.add(shard, (record for part in parts for record in part.records), dropped)
        bar.close()
        return output.finish(len(rows) + len(unreadable), filters)


def store(
    out: Location,
    outcomes: Iterable[Outcome],
    *,
    plan: Mapping[str, Any],
    source: Mapping[str, Any],
    filters: Sequence[str] = (),
    shard_rows: int = SHARD_ROWS,
    total: int | None = None,
    notes: Callable[[], Mapping[str, Any]] = dict,
) -> dict[str, Any]:
    """Write a data set from a stream of outcomes, in their order; return its manifest.

    For what needs the whole set or has no rows yet, and so is no step of `run`. Started again, it goes through the
    stream from the beginning and writes the shards that are missing.

    Args:
        out: the folder to write.
        outcomes: rows and dropped rows, the same ones in the same order each time.
        plan: all that decides what comes out, in plain values.
        source: what it comes from: `inputs(location)` of a data set, or other plain values.
        filters: who may drop a row, in their order, for the funnel.
        shard_rows: rows of a shard.
        total: how many rows come in, where it is known.
        notes: called at the end, gives more for the manifest.

    Raises:
        DataError: the folder holds another result, or nothing can be written.
    """
    out = _full(out)
    output = Output(out, {**plan, "shard_rows": shard_rows}, source)
    bar = Bar(str(plan.get("verb", "store")), "rows", total)
    rows: list[Sample] = []
    dropped: list[Dropped] = []
    shard = rows_in = 0

    def add(count: int) -> None:
        nonlocal shard, dropped
        if not output.has(shard):
            records, unfit = _records(rows[:count], out)
            output.add(shard, records, [*dropped, *unfit])
        del rows[:count]
        shard, dropped = shard + 1, []

    with output.room():
        for outcome in outcomes:
            rows += outcome.rows
            dropped += outcome.dropped
            rows_in += len(outcome.rows) + len(outcome.dropped)
            bar.add(len(outcome.rows) + len(outcome.dropped))
            while len(rows) >= shard_rows:
                add(shard_rows)
        if rows or dropped or not shard:
            add(len(rows))
        bar.close()
        return output.finish(rows_in, filters, notes())


def _full(location: Location) -> str:
    """A path in full: workers may run in other folders."""
    return str(location) if storage.is_url(location) else os.path.abspath(location)


@dataclass(frozen=True)
class Job:
    """One batch: rows `start` to `stop` of the input, part `part` of a shard."""

    shard: int
    part: int
    start: int
    stop: int


@dataclass(frozen=True)
class Result:
    """What became of a batch, ready to be written."""

    job: Job
    images: int
    records: list[dict[str, Any]]
    dropped: list[Dropped]


Work = Callable[[Job], Result]


def _rows_of(shard: int, shard_rows: int, count: int) -> range:
    return range(shard * shard_rows, min((shard + 1) * shard_rows, count))


def _jobs(shard: int, shard_rows: int, count: int) -> Iterator[Job]:
    """Cut a shard into batches; an empty one has an empty batch."""
    rows = _rows_of(shard, shard_rows, count)
    for part, start in enumerate(range(rows.start, max(rows.stop, rows.start + 1), BATCH_ROWS)):
        yield Job(shard, part, start, min(start + BATCH_ROWS, rows.stop))


def _work(rows: Rows, steps: tuple[Step, ...], out: str, job: Job) -> Result:
    dropped: list[Dropped] = []
    batch = rows.slice(job.start, job.stop, lambda where, reason: dropped.append(Dropped(where, UNREADABLE, reason)))
    images = sum(len(row.images) for row in batch)
    for step in steps if batch else ():
        outcome = step(batch)
        batch = outcome.rows
        dropped += outcome.dropped
    records, unfit = _records(batch, out)
    return Result(job, images, records, [*dropped, *unfit])


def _records(rows: Sequence[Sample], out: str) -> tuple[list[dict[str, Any]], list[Dropped]]:
    """Bring rows into the form they are written in; those that have none are dropped."""
    records = []
    unfit = []
    for row in rows:
        try:
            records.append(samples.to_record(keep(row, out)))
        except LhrsError as error:
            unfit.append(Dropped(row.id, "unfit to be stored", str(error)))
    return records, unfit


def _together(results: Iterable[Result], jobs: Sequence[Job], bar: Bar) -> Iterator[tuple[int, list[Result]]]:
    """Yield each shard with its parts in order, as soon as the last of them is there."""
    parts: dict[int, dict[int, Result]] = {}
    wanted: dict[int, int] = {}
    for job in jobs:
        wanted[job.shard] = job.part + 1
    for result in results:
        shard = result.job.shard
        parts.setdefault(shard, {})[result.job.part] = result
        bar.add(result.job.stop - result.job.start, result.images)
        if len(parts[shard]) == wanted[shard]:
            found = parts.pop(shard)
            yield shard, [found[part] for part in sorted(found)]
    if parts:
        raise DataError("batches were lost on the way", found=sorted(parts), next_step="run the same command again")


def _local(work: Work, jobs: Sequence[Job], workers: int | None) -> Iterator[Result]:
    """Work in processes; so many batches are on the way as keep all of them busy, and no more."""
    count = workers or len(os.sched_getaffinity(0))
    if count == 1 or len(jobs) == 1:
        yield from map(work, jobs)
        return
    waiting = iter(jobs)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_enter_worker, initargs=(work,))
    try:
        with _one_thread(), _uninterrupted():
            busy: set[Future[Result]] = {pool.submit(_work_here, job) for job in islice(waiting, 4 * count)}
        while busy:
            done, busy = wait(busy, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            busy |= {pool.submit(_work_here, job) for job in islice(waiting, len(done))}
    except BrokenProcessPool as error:
        raise DataError(
            "a worker was killed",
            found=error,
            allowed="enough memory for all workers",
            next_step="run the same command again, with fewer --workers: the shards that are finished are kept",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_here: list[Work] = []


def _enter_worker(work: Work) -> None:
    """Prepare a worker process: it does not outlive its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _here[:] = [work]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work_here(job: Job) -> Result:
    return _here[0](job)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back; processes that start now never see it, and leave it to their parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tell the numerical libraries of processes that start now to use one thread: there is one process a core."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
        os.environ.update(before)


def _ray(work: Work, jobs: Sequence[Job], workers: int | None) -> Iterator[Result]:
    """Work on a Ray cluster, which does again what was lost with one of its machines."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray[data]", "ray", "the engine ray") from error
    if not jobs:
        return
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(logging_level=logging.WARNING, log_to_driver=False)
        except (ConnectionError, RuntimeError) as error:
            raise DataError(
                "no cluster answers", found=error, next_step="docs/cluster_data.md says how one is started"
            ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False  # there is our own
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    shards = len({job.shard for job in jobs})
    try:
        todo = ray.data.from_items([{"job": pickle.dumps(job)} for job in jobs], override_num_blocks=shards)
        for row in todo.map(partial(_work_there, work), concurrency=workers).iter_rows():
            yield pickle.loads(row["result"])
    except ray.exceptions.RayError as error:
        raise DataError("the cluster gave up", found=error, next_step="run the same command again") from error
    finally:
        if started:
            ray.shutdown()


def _work_there(work: Work, row: Mapping[str, bytes]) -> dict[str, bytes]:
    """Do one batch; what Ray passes on are plain bytes."""
    return {"result": pickle.dumps(work(pickle.loads(row["job"])))}


ENGINES: Mapping[str, Callable[[Work, Sequence[Job], int | None], Iterator[Result]]] = {"local": _local, "ray": _ray}
