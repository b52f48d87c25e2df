"""A data set that is being made: shards that appear whole, a manifest that says what made them, a funnel."""

from __future__ import annotations

import json
import logging
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from lhrs_chat import __version__, samples, storage
from lhrs_chat.errors import DataError
from lhrs_chat.samples import COLUMNS
from lhrs_chat.schema import Sample
from lhrs_chat.storage import Location

log = logging.getLogger(__name__)

DROPPED_COLUMNS: Mapping[str, type] = dict.fromkeys(("id", "filter", "reason", "row"), str)
COUNTED = ("source", "task", "split", "licence")
UNREADABLE = "unreadable"
"""The filter that is named for rows of the input that cannot be read."""


@dataclass(frozen=True)
class Dropped:
    """One row that was left out.

    Args:
        id: the row's id; where it could not be read, its place.
        filter: who left it out.
        reason: why.
        row: the row as a line of JSON; empty where it could not be read.
    """

    id: str
    filter: str
    reason: str
    row: str = ""

    @staticmethod
    def of(sample: Sample, filter: str, reason: str) -> Dropped:  # noqa: A002 - the column's name
        """Drop a row that was read."""
        return Dropped(sample.id, filter, reason, samples.to_line(sample))


def inputs(location: Location) -> dict[str, Any]:
    """Describe the rows that a data set is made from: where they are and the hash of each file."""
    files = samples.Rows.open(location, lambda where, reason: None).files
    return {"location": str(location), "files": {file.rpartition("/")[2]: storage.sha256(file) for file in files}}


class Output:
    """The folder of a data set that is being made. Shards that an earlier run of the same plan left are kept.

    Args:
        folder: where it is made.
        plan: all that decides what comes out, in plain values.
        source: what it is made from, in plain values, with hashes.

    Raises:
        DataError: the folder holds something else.
    """

    def __init__(self, folder: Location, plan: Mapping[str, Any], source: Mapping[str, Any]) -> None:
        self.folder = folder
        versions = {"lhrs_chat": __version__, "python": platform.python_version()}
        versions |= {"pyarrow": samples.parquet()[0].__version__}
        versions |= {name: version(name) for name in ("numpy", "pillow")}
        begun = {"finished": False, "plan": plan, "input": source, "versions": versions}
        self._begun = json.loads(json.dumps(begun))
        there = storage.is_folder(folder)
        only_begun = there and storage.names(folder) == ["manifest.json"]  # by a command that failed at once
        old = samples.read_manifest(folder) if there and not only_begun else {}
        changed = [key for key in ("plan", "input", "versions") if old and old.get(key) != self._begun[key]]
        if changed or (there and not old and storage.names(folder, "rows*")):
            raise DataError(
                "the folder holds the rows of another command",
                found=f"{folder}: {_difference(old, self._begun, changed) if changed else 'rows without a manifest'}",
                next_step="choose another folder, or remove this one",
            )
        if not old:
            self._write_manifest(self._begun)

    def has(self, shard: int) -> bool:
        """Say whether a shard is there, whole."""
        place = storage.join(self.folder, _name("rows", shard))
        broken: list[str] = []
        return storage.is_file(place) and bool(
            samples.Rows.open(place, lambda where, reason: broken.append(reason)).files and not broken
        )

    def add(self, shard: int, records: Iterable[Mapping[str, Any]], dropped: Sequence[Dropped]) -> None:
        """Write a shard; its file of rows appears last, and whole."""
        if dropped:
            place = storage.join(self.folder, _name("dropped", shard))
            samples.write_table(place, DROPPED_COLUMNS, map(asdict, dropped))
        samples.write_table(storage.join(self.folder, _name("rows", shard)), COLUMNS, records)

    @contextmanager
    def room(self) -> Iterator[None]:
        """Say what to do when the disk is full.

        Raises:
            DataError: it is.
        """
        try:
            yield
        except OSError as error:
            if error.errno not in storage.FULL:
                raise
            raise DataError(
                f"there is no room left in {self.folder}",
                found=error,
                next_step="make room and run the same command again: the shards that are finished are kept",
            ) from error

    def finish(
        self, rows_in: int, filters: Sequence[str] = (), notes: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Count what was written, write `funnel.md` and the manifest, and return the manifest.

        Args:
            rows_in: rows that were read or tried to.
            filters: who may drop a row, in their order; they stand in the funnel even if they dropped none.
            notes: more for the manifest, in plain values.
        """
        counts: dict[str, Counter[str]] = {column: Counter() for column in COUNTED}
        dropped: Counter[str] = Counter(dict.fromkeys(filters, 0))
        rows_out = 0
        files = {}
        for name in storage.names(self.folder, "*-*.parquet"):
            place = storage.join(self.folder, name)
            files[name] = storage.sha256(place)
            if name.startswith("dropped-"):
                dropped.update(samples.read_columns(place, ["filter"])["filter"])
            else:
                columns = samples.read_columns(place, COUNTED)
                rows_out += len(columns["source"])
                for column in COUNTED:
                    counts[column].update(columns[column])
        found = {
            "rows_in": rows_in,
            "dropped": dict(dropped),
            "rows_out": rows_out,
            **{f"{column}s": dict(sorted(counts[column].items())) for column in COUNTED},
            **(notes or {}),
            "files": files,
        }
        with storage.replacing(storage.join(self.folder, "funnel.md")) as stream:
            stream.write(funnel(found).encode())
        return self.close(found)

    def close(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Write the manifest of what is finished and return it: the plan, the input, the versions, and what was found.

        Args:
            found: more for the manifest, in plain values; at least `rows_in` and `rows_out`.
        """
        storage.sweep(self.folder)
        manifest = {**self._begun, "finished": True, **found}
        self._write_manifest(manifest)
        log.info("%d rows in, %d rows out: %s", found["rows_in"], found["rows_out"], self.folder)
        return manifest

    def _write_manifest(self, manifest: Mapping[str, Any]) -> None:
        with storage.replacing(storage.join(self.folder, "manifest.json")) as stream:
            stream.write(json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n")


def funnel(manifest: Mapping[str, Any]) -> str:
    """Write the counts of a manifest as a table: rows in, what each filter dropped, rows out."""
    left = manifest["rows_in"]
    lines = ["# Funnel\n", "| step | dropped | left |", "|---|---:|---:|", f"| rows in | | {left} |"]
    for name, count in manifest["dropped"].items():
        left -= count
        lines.append(f"| {name} | {count} | {left} |")
    return "\n".join([*lines, f"| rows out | | {manifest['rows_out']} |", ""])


def _name(kind: str, shard: int) -> str:
    return f"{kind}-{shard:05d}.parquet"


def _difference(old: Mapping[str, Any], new: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Say which value of the plan, the input or the versions is another one."""
    told = []
    for key in keys:
        before, after = old.get(key) or {}, new[key]
        told += [
            f"{key}.{name} was {before.get(name)}, is {after.get(name)}"
            for name in {**before, **after}
            if before.get(name) != after.get(name)
        ]
    return "; ".join(told)
