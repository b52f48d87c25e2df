"""Sources of rows, of facts or of instructions: each file of this folder defines `SOURCE`; its name is the source's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.plugins import Folder
from lhrs_chat.samples import Reject, refuse
from lhrs_chat.schema import Sample

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SourceOptions:
    """What to take from a source.

    Args:
        count: at most this many scenes; None takes all of a finite source.
        seed: of everything a source draws at random.
        size_px: side of the square pictures of a source that makes or cuts them.
        split: only scenes of this split; None takes all.
        reject: called with the place (file and row) and the reason of each row that cannot be read, which is then
            left out; by default the first one stops the reading.
    """

    count: int | None = None
    seed: int = 0
    size_px: int = 224
    split: str | None = None
    reject: Reject = refuse

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 0:
            raise DataError("count is not negative", found=self.count, allowed=">= 0, or none for all")
        if self.seed < 0:
            raise DataError("seed is not negative", found=self.seed, allowed=">= 0")
        if self.size_px < 16:
            raise DataError("pictures of a source have at least 16 pixels", found=self.size_px, allowed=">= 16")
        if self.split is not None and self.split not in SPLITS:
            raise DataError("unknown split", found=self.split, allowed=", ".join(SPLITS))


@dataclass(frozen=True)
class Source:
    """One place that facts come from.

    Args:
        licence: what the rows may be used under, an SPDX name or a short sentence.
        read: takes the folder of the data (None for a source that needs none) and the options;
            yields rows of facts (the task `facts`, no messages), or, where the set is one of conversations,
            instructions as they were published.
        needs: the files that its folder holds, in a few words.
    """

    licence: str
    read: Callable[[Path | None, SourceOptions], Iterator[Sample]]
    needs: str = "no folder"


SOURCES: Folder[Source] = Folder(__name__, "SOURCE", Source)
