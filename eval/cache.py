"""Answers that any run got before: one SQLite file, shared by all runs and safe for several at once.

An answer is found again by the model's name and weights hash, the messages, the hashes of the pictures, the settings
of generation and the version of this program.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lhrs_chat
from lhrs_chat.errors import DataError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.registry import cache_folder

if TYPE_CHECKING:
    from lhrs_chat.models.backends import Backend, Done, Request

WAIT_S = 60.0
TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"


def default_path() -> Path:
    """The file that all runs share."""
    return cache_folder() / "eval" / "answers.sqlite"


def key_of(backend: Backend, request: Request) -> str:
    """What an answer depends on, as one hash."""
    row = {
        "version": lhrs_chat.__version__,
        "model": backend.name,
        "weights_sha256": backend.weights_sha256,
        "messages": [asdict(message) for message in request.messages],
        "images": request.image_hashes,
        "max_new_tokens": request.max_new_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        "choices": request.choices,
    }
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


class AnswerCache:
    """A cache that is open. Several processes may read and write one file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, key: str, place: int) -> Done | None:
        """The stored answer, as that of request number `place`."""
        from lhrs_chat.models.backends import Done

        found = self._connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        row: dict[str, Any] = json.loads(found[0])
        placement = row.pop("placement")
        if placement is not None:
            placement = Placement(**{name: tuple(value) for name, value in placement.items()})
        return Done(**{**row, "request": place, "placement": placement})

    def put(self, key: str, done: Done) -> None:
        """Store an answer; the first one stays where two runs had the same question at once."""
        self._connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (key, json.dumps(asdict(done))))


def generate(backend: Backend, requests: Sequence[Request], cache: AnswerCache | None) -> Iterator[Done]:
    """Ask a model, and store each answer for other runs."""
    from lhrs_chat.models.backends import Done

    for event in backend.generate(requests) if requests else ():
        if isinstance(event, Done):
            if cache is not None:
                cache.put(key_of(backend, requests[event.request]), event)
            yield event


@contextmanager
def open_cache(path: Path) -> Iterator[AnswerCache]:
    """Open the cache, made where it is missing. What fails while it is used is told as its fault, not the model's.

    Raises:
        DataError: the file is no cache, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(TABLE)
            yield AnswerCache(connection)
    except sqlite3.Error as error:
        raise DataError(
            "the cache of answers cannot be used",
            found=f"{path}: {error}",
            next_step="delete that file, or ask without it: --no-cache",
        ) from error
