"""How a data set came about: the steps that made it, as their manifests tell, and the rows that each left out."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lhrs_chat import samples, storage
from lhrs_chat.config import from_dict
from lhrs_chat.errors import LhrsError
from lhrs_chat.schema import Sample
from lhrs_chat.storage import Location

from .census import Draw, Names
from .output import DROPPED_COLUMNS

REASONS = 200
"""Kinds of reasons that are counted apart, of each filter."""
REJECTED = "rejected"
"""Who left out what a source could not read."""


@dataclass(frozen=True)
class Example:
    """A row that was left out: who did, why, and the row as a line of JSON where there is one."""

    id: str
    step: str
    filter: str
    reason: str
    line: str = ""

    def row(self) -> Sample | None:
        """The row, where it could be read."""
        try:
            return from_dict(Sample, json.loads(self.line)) if self.line else None
        except (ValueError, LhrsError):
            return None


@dataclass
class Filtered:
    """What one filter of a step left out: how often for each kind of reason, and examples."""

    count: int
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """One command that made a data set from another.

    Args:
        verb: its name.
        folder: what it wrote.
        options: what it was told.
        rows_in: rows it read.
        rows_out: rows it wrote.
        filters: who left rows out, by name.
    """

    verb: str
    folder: str
    options: dict[str, Any]
    rows_in: int
    rows_out: int
    filters: dict[str, Filtered]


def steps(folder: Location, most: int, seed: int) -> list[Step]:
    """The steps that led to a data set, the first one first, as far back as their folders are still there.

    Args:
        folder: the data set; a file of rows tells no history.
        most: examples of each filter.
        seed: another one draws others.
    """
    found: list[Step] = []
    seen: set[str] = set()
    place = str(folder)
    while place and place not in seen and storage.is_folder(place):
        seen.add(place)
        manifest = samples.read_manifest(place)
        if "rows_in" not in manifest:
            break
        found.append(_step(place, manifest, most, seed))
        place = str(manifest["input"].get("location", ""))
    return found[::-1]


def _step(folder: str, manifest: dict[str, Any], most: int, seed: int) -> Step:
    options = dict(manifest["plan"])
    verb = str(options.pop("verb", "?"))
    filters = {name: Filtered(count) for name, count in manifest.get("dropped", {}).items()}
    if manifest.get(REJECTED):
        filters[REJECTED] = Filtered(manifest[REJECTED])
    kinds = {name: Names(REASONS) for name in filters}
    drawn: dict[str, Draw[Example]] = {name: Draw(most, seed) for name in filters}
    for one in (*_dropped(folder, verb), *_rejected(folder, verb)):
        if one.filter in filters:
            kinds[one.filter].add(kind(one.reason))
            drawn[one.filter].add(f"{one.id}/{one.reason}", one)
    for name, filtered in filters.items():
        filtered.reasons = kinds[name].counts
        filtered.examples = drawn[name].items()
    return Step(verb, folder, options, manifest["rows_in"], manifest["rows_out"], filters)


def _dropped(folder: str, verb: str) -> Iterator[Example]:
    for name in storage.names(folder, "dropped-*.parquet"):
        columns = samples.read_columns(storage.join(folder, name), list(DROPPED_COLUMNS))
        for where, by, reason, line in zip(*(columns[column] for column in DROPPED_COLUMNS), strict=True):
            yield Example(where, verb, by, reason, line)


def _rejected(folder: str, verb: str) -> Iterator[Example]:
    place = storage.join(folder, "rejected.jsonl")
    if storage.is_file(place):
        with storage.opened(place) as stream:
            for line in stream:
                told = json.loads(line)
                yield Example(told["where"], verb, REJECTED, told["reason"])


def kind(reason: str) -> str:
    """What reasons of a kind have in common: numbers become #, words in quotes an ellipsis."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", reason)
    return re.sub(r"\d+(?:\.\d+)?", "#", text)[:160]
