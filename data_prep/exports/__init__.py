"""Exports write rows for other programs: each file of this folder defines `EXPORT`, its name is the format's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lhrs_chat.plugins import Folder
from lhrs_chat.schema import Sample


@dataclass(frozen=True)
class Export:
    """One format. `write` takes rows and the folder to write; it returns the number of rows written."""

    write: Callable[[Iterable[Sample], Path], int]


EXPORTS: Folder[Export] = Folder(__name__, "EXPORT", Export)
