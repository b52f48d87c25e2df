"""All sets of one folder of small real data sets, mixed: one row of each set in turn until all are read.

The folder is given, or named by the variable `LHRS_CHAT_SHARED_DATA`, or `../shared/data` beside the checkout. Sets of
it that are absent are passed over. Pairs of dates (dsifn_cd_samples, levir_cd_samples) and unlabelled tiles
(rsvqa_tiles) are not read here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample

from . import SOURCES, Source, SourceOptions, _chips

LICENCE = "each row carries the licence of its set; aid_rsicd and rsscn7 are for research use only"
VARIABLE = "LHRS_CHAT_SHARED_DATA"
SETS = ("aid_rsicd", "rsscn7", "vehicles_aerial", "neon_trees", "spacenet_samples", "sen1floods11_sample")


def folder(root: Path | None) -> Path:
    """Return the folder that holds the sets.

    Raises:
        DataError: there is no such folder, or none of the sets lies in it.
    """
    setting = os.environ.get(VARIABLE, "")
    chosen = root or (Path(setting) if setting else Path(__file__).resolve().parents[3] / "shared" / "data")
    if not any((chosen / name / "annotations.jsonl").is_file() for name in SETS):
        raise DataError(
            "the folder of shared data sets is not there",
            found=str(chosen),
            allowed="a folder with one or more of " + ", ".join(SETS),
            next_step=f"give the folder, or set {VARIABLE} to it",
        )
    return chosen


def read(root: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield the rows of all sets, one of each in turn.

    Raises:
        DataError: the folder is missing, or a set in it cannot be read.
    """
    chosen = folder(root)
    whole = replace(options, count=None)
    names = [name for name in SETS if (chosen / name / "annotations.jsonl").is_file()]
    readers = [SOURCES.get(name).read(chosen / name, whole) for name in names]
    yield from _chips.take(_chips.in_turn(readers), options)


SOURCE = Source(LICENCE, read, "the folders of the small real sets; or the variable LHRS_CHAT_SHARED_DATA names it")
