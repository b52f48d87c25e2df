"""Rows of data on disk: one `Sample` a line of JSON, read strictly and written as it comes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lhrs_chat.config import from_dict
from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.schema import Sample


def _lean(value: Any) -> Any:
    """Turn a dataclass into a dict without the fields that still have their default."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            default = field.default_factory() if callable(field.default_factory) else field.default
            if not _same(item, default):
                kept[field.name] = _lean(item)
        return kept
    if isinstance(value, (list, tuple)):
        return [_lean(item) for item in value]
    if isinstance(value, dict):
        return {key: _lean(item) for key, item in value.items()}
    return value


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def to_line(sample: Sample) -> str:
    """Write one row.

    Raises:
        DataError: an image of the row has no path; pixels are not stored in JSON.
    """
    if any(image.path is None for image in sample.images):
        raise DataError("a stored row points at image files", found=sample.id, next_step="save its images first")
    return json.dumps(_lean(sample), ensure_ascii=False)


def write(path: Path, samples: Iterable[Sample]) -> int:
    """Write rows to `path`, which appears only when all are written; return their number."""
    scratch = path.with_name(path.name + ".part")
    count = 0
    with scratch.open("w", encoding="utf-8") as stream:
        for sample in samples:
            stream.write(to_line(sample) + "\n")
            count += 1
    scratch.replace(path)
    return count


def read(path: Path) -> Iterator[Sample]:
    """Read the rows of `path`; image paths in it are relative to its folder.

    Raises:
        DataError: the file is missing, or a line is no row; the error names the line.
    """
    if not path.is_file():
        raise DataError("no such file of rows", found=str(path))
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                sample = from_dict(Sample, json.loads(line))
            except (ValueError, ConfigError) as error:
                raise DataError(f"line {number} of {path} is no row", found=str(error)) from error
            images = tuple(
                dataclasses.replace(image, path=str(path.parent / image.path)) if image.path else image
                for image in sample.images
            )
            yield dataclasses.replace(sample, images=images)
