"""Rows of data on disk: one `Sample` a line of JSON or a row of Parquet, read strictly and written as it comes.

A data set is a folder with the shards `rows-00000.parquet`, `rows-00001.parquet` ... or one `rows.jsonl`. Every
location may be a URL that fsspec knows. Images are told relative to the folder of the rows, or in full.
"""

from __future__ import annotations

import dataclasses
import json
import types
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate, islice
from typing import Any, TypeVar

from lhrs_chat import storage
from lhrs_chat.config import from_dict
from lhrs_chat.errors import DataError, LhrsError, MissingExtraError
from lhrs_chat.schema import Sample
from lhrs_chat.storage import Location

T = TypeVar("T")
Reject = Callable[[str, str], None]
"""Takes the place (file and row) and the reason of a row that cannot be read."""
COLUMNS: Mapping[str, type] = {
    **dict.fromkeys(("id", "source", "task", "split", "scene_id", "licence"), str),
    **{"score": float, "row": str},
}
"""The columns of a shard: `row` holds the whole row as JSON, the others let other programs select."""
BLOCK_ROWS = 128
"""Rows that are read and held at once: a row group of a Parquet file, or so many lines of JSON."""


_PLAIN = (str, int, float, bool, type(None))


def refuse(where: str, reason: str) -> None:
    """Stop at a row that cannot be read: what is done where nobody takes note of such rows."""
    raise DataError(f"{where} is no row", found=reason)


def grouped(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into lists of `size`, the last one shorter."""
    stream = iter(items)
    while group := list(islice(stream, size)):
        yield group


def _lean(value: Any) -> Any:
    """Turn a dataclass into a dict without the fields that still have their default."""
    if type(value) in _PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = {}
        for name, default in _defaults(type(value)):
            item = getattr(value, name)
            if not _same(item, default):
                kept[name] = _lean(item)
        return kept
    if isinstance(value, (list, tuple)):
        return [_lean(item) for item in value]
    if isinstance(value, dict):
        return {key: _lean(item) for key, item in value.items()}
    return value


@cache
def _defaults(cls: type[Any]) -> list[tuple[str, Any]]:
    """The fields of a dataclass and their defaults."""
    fields = dataclasses.fields(cls)
    return [(f.name, f.default_factory() if callable(f.default_factory) else f.default) for f in fields]


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def to_line(sample: Sample) -> str:
    """Write one row as JSON.

    Raises:
        DataError: an image of the row has no path (pixels are not stored in JSON), or a value has no form in JSON.
    """
    if any(image.path is None for image in sample.images):
        raise DataError("a stored row points at image files", found=sample.id, next_step="save its images first")
    try:
        line = json.dumps(_lean(sample), ensure_ascii=False)
        line.encode()
    except (TypeError, ValueError) as error:
        raise DataError(f"row {sample.id!r} holds a value that JSON cannot", found=error) from error
    return line


def to_record(sample: Sample) -> dict[str, Any]:
    """Write one row as the `COLUMNS` of a shard. Raises as `to_line` does."""
    return {name: getattr(sample, name) for name in COLUMNS if name != "row"} | {"row": to_line(sample)}


def write(location: Location, samples: Iterable[Sample]) -> int:
    """Write rows to a .parquet file, or as JSON; it appears only when all are written. Return their number."""
    if str(location).endswith(".parquet"):
        return write_table(location, COLUMNS, map(to_record, samples))
    count = 0
    with storage.replacing(location) as stream:
        for sample in samples:
            stream.write(to_line(sample).encode() + b"\n")
            count += 1
    return count


def write_table(location: Location, columns: Mapping[str, type], records: Iterable[Mapping[str, Any]]) -> int:
    """Write records of plain values as Parquet, the same bytes for the same records; return their number."""
    pyarrow, tables = parquet()
    kinds = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    count = 0
    with (
        storage.replacing(location) as stream,
        tables.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for group in grouped(records, BLOCK_ROWS):
            writer.write_table(pyarrow.Table.from_pylist(group, schema))
            count += len(group)
    return count


def read_columns(location: Location, names: Sequence[str]) -> dict[str, list[Any]]:
    """Read some columns of a Parquet file, whole.

    Raises:
        DataError: there is no such file, it is no Parquet file, or it lacks a column.
    """
    try:
        with _parquet_file(str(location)) as table:
            there = table.schema_arrow.names
            found: dict[str, list[Any]] = table.read(list(names), use_threads=False).to_pydict()
    except FileNotFoundError as error:
        raise DataError("no such file", found=str(location), allowed="a Parquet file") from error
    except ValueError as error:  # pyarrow's own errors are of this kind
        raise DataError("this is no Parquet file", found=f"{location}: {error}") from error
    missing = [name for name in names if name not in there]
    if missing:
        raise DataError(
            "this Parquet file lacks columns", found=f"no {', '.join(missing)} in {location}", allowed=", ".join(there)
        )
    return found


def read(location: Location) -> Iterator[Sample]:
    """Read the rows of a folder, a .parquet file or a file of JSON lines.

    Raises:
        DataError: there are no rows, or one is broken; the error names the file and the row.
    """
    for block in _blocks(_files(location, refuse), refuse):
        yield from block.samples(refuse)


@dataclass(frozen=True)
class Rows:
    """The rows of a data set by number, read block by block: its size does not matter.

    Args:
        files: the files that hold them, in order.
        blocks: where each of them lies.
    """

    files: tuple[str, ...]
    blocks: tuple[Block, ...]

    @staticmethod
    def open(location: Location, reject: Reject = refuse) -> Rows:
        """Find the rows of a folder, a .parquet file or a file of JSON lines.

        Args:
            location: where they are.
            reject: told of each shard that cannot be opened and is left out; by default the first one is an error.

        Raises:
            DataError: there are no rows.
        """
        files = _files(location, reject)
        return Rows(tuple(files), tuple(_blocks(files, reject)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def slice(self, start: int, stop: int, reject: Reject = refuse) -> list[Sample]:
        """Read the rows from number `start` up to `stop`; those that are rejected are left out."""
        found: list[Sample] = []
        for index in range(bisect_right(self._ends, start), len(self.blocks)):
            block, before = self.blocks[index], self._ends[index] - self.blocks[index].count
            if before >= stop:
                break
            wanted = range(max(start - before, 0), min(stop - before, block.count))
            found += block.samples(reject, wanted)
        return found

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(block.count for block in self.blocks))


@dataclass(frozen=True)
class Block:
    """Rows of one file that are read at once.

    Args:
        file: the file.
        first: the number of the first row in it, from 1.
        count: how many there are.
        group: the row group of a Parquet file; None for lines of JSON.
        start: the first byte of the lines.
        size: how many bytes they take.
    """

    file: str
    first: int
    count: int
    group: int | None = None
    start: int = 0
    size: int = 0

    def samples(self, reject: Reject, wanted: range | None = None) -> Iterator[Sample]:
        """Yield the rows, or those at the positions `wanted` of the block, that can be read."""
        wanted = range(self.count) if wanted is None else wanted
        kind = "line" if self.group is None else "row"
        try:
            lines = self._lines()
        except _DAMAGE as error:
            for number in wanted:
                reject(f"{kind} {self.first + number} of {self.file}", f"cannot be read: {error}")
            return
        folder = storage.parent(self.file)
        for number in wanted:
            try:
                sample = from_dict(Sample, json.loads(lines[number]))
            except (ValueError, LhrsError) as error:
                reject(f"{kind} {self.first + number} of {self.file}", str(error))
                continue
            images = tuple(
                dataclasses.replace(image, path=storage.join(folder, image.path)) if image.path else image
                for image in sample.images
            )
            yield dataclasses.replace(sample, images=images)

    def _lines(self) -> list[Any]:
        if self.group is not None:
            with _parquet_file(self.file) as table:
                return list(table.read_row_group(self.group, ["row"], use_threads=False)["row"].to_pylist())
        with storage.opened(self.file) as stream:
            stream.seek(self.start)
            return stream.read(self.size).split(b"\n")


def _files(location: Location, reject: Reject) -> list[str]:
    """List the files of rows at a location; a shard that the manifest of the folder names must be there."""
    if storage.is_file(location):
        return [str(location)]
    if not storage.is_folder(location):
        raise DataError("no such file of rows", found=str(location))
    shards = storage.names(location, "rows-*.parquet")
    if shards and storage.is_file(storage.join(location, "rows.jsonl")):
        raise DataError("two sets of rows in one folder", found=str(location), allowed="rows-*.parquet or rows.jsonl")
    manifest = read_manifest(location)
    if manifest.get("finished") is False:
        raise DataError("this data set is not finished", found=str(location), next_step="run its command again")
    for name in manifest.get("files", {}):
        if name.startswith("rows-") and name not in shards:
            reject(storage.join(location, name), "the manifest names this shard, but it is not there")
    if not shards and not storage.is_file(storage.join(location, "rows.jsonl")):
        raise DataError("no rows in this folder", found=str(location), allowed="rows-*.parquet or rows.jsonl")
    return [storage.join(location, name) for name in shards or ["rows.jsonl"]]


def read_manifest(folder: Location) -> dict[str, Any]:
    """Read `manifest.json` of a data set; empty where there is none.

    Raises:
        DataError: it is not JSON.
    """
    place = storage.join(folder, "manifest.json")
    if not storage.is_file(place):
        return {}
    with storage.opened(place) as stream:
        try:
            found = json.load(stream)
        except ValueError as error:
            raise DataError("a manifest that is not JSON", found=place, next_step=str(error)) from error
    return found if isinstance(found, dict) else {}


def _blocks(files: Iterable[str], reject: Reject) -> Iterator[Block]:
    for file in files:
        if file.endswith(".parquet"):
            try:
                with _parquet_file(file) as table:
                    if "row" not in table.schema_arrow.names:
                        raise ValueError(f"it has no column `row` but {', '.join(table.schema_arrow.names)}")
                    counts = [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)]
            except _DAMAGE as error:
                reject(file, f"no Parquet file of rows, or cut off: {error}")
                continue
            for group, end in enumerate(accumulate(counts)):
                yield Block(file, end - counts[group] + 1, counts[group], group)
        else:
            first = 1
            start = 0
            with storage.opened(file) as stream:
                for lines in grouped(stream, BLOCK_ROWS):
                    size = sum(map(len, lines))
                    yield Block(file, first, len(lines), None, start, size)
                    first, start = first + len(lines), start + size


@contextmanager
def _parquet_file(file: str) -> Iterator[Any]:
    """Open a Parquet file. Arrow reads it in threads of its own, which must not hold objects of Python at its end."""
    pyarrow, tables = parquet()
    opened: Any = file
    if storage.is_url(file):
        with storage.opened(file) as stream:
            opened = pyarrow.BufferReader(stream.read())
    with tables.ParquetFile(opened, page_checksum_verification=True) as table:
        yield table


def parquet() -> tuple[types.ModuleType, types.ModuleType]:
    """Import pyarrow and its Parquet, which reading lines of JSON does not need.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "prep", "reading and writing Parquet") from error
    return pyarrow, pyarrow.parquet


_DAMAGE = (ValueError, OSError, NotImplementedError, KeyError)  # what pyarrow raises for bytes that are no Parquet
