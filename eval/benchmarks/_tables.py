"""Reading Parquet files whose pictures lie inside them: rows as objects, pictures unpacked into the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lhrs_chat.errors import DataError, MissingExtraError
from lhrs_chat.formats.rows import Row
from lhrs_chat.registry import cache_folder

BATCH_ROWS = 64


def read_parquet(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, a few in memory at a time.

    Raises:
        DataError: the file is none of this kind.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "eval", "reading Parquet files") from error
    try:
        with parquet.ParquetFile(path) as table:
            place = 0
            for batch in table.iter_batches(batch_size=BATCH_ROWS):
                for values in batch.to_pylist():
                    yield Row(values, f"row {place} of {path.name}")
                    place += 1
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path.name} cannot be read", found=str(error)[:200], allowed="Parquet") from error


def unpack_picture(row: Row, name: str) -> Path:
    """Write the picture of a cell, bytes or {bytes, path}, into the cache under the hash of its bytes; return the file.

    Raises:
        DataError: the cell holds no bytes.
    """
    cell = row.values.get(name)
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes) or not data:
        raise row.bad(name, "a picture: bytes, or {bytes, path}")
    folder = cache_folder() / "benchmarks" / "pictures"
    suffix = ".png" if data.startswith(b"\x89PNG") else ".jpg" if data.startswith(b"\xff\xd8") else ".tif"
    path = folder / f"{hashlib.sha256(data).hexdigest()}{suffix}"
    if not path.is_file() or path.stat().st_size != len(data):
        folder.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f"{path.name}.part")
        half.write_bytes(data)
        half.replace(path)
    return path
