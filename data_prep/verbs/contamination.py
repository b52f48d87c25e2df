"""`python -m data_prep contamination DATA --against BENCH --out DIR`: rows that a benchmark shows too are put aside.

A row goes if one of its pictures shows the same as a picture of the benchmark (also where one is a turned or mirrored
part of the other), comes from the same tile or scene, or lies on the same ground. A picture that cannot be read cannot
be told to be clean, and goes too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from lhrs_chat import overlap
from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.overlap import Bench, Overlap, Shot
from lhrs_chat.schema import Sample
from lhrs_chat.storage import Location

from ..engine import Outcome, run
from ..output import Dropped
from . import Verb
from ._options import add_data, add_engine, engine_of

NAME = "contamination"
UNKNOWN = "not comparable"
_WORDS = {
    "look": "shows the same as {bench}, {detail}",
    "tile": "comes from tile {detail}, as {bench} does",
    "scene": "comes from scene {detail}, as {bench} does",
    "footprint": "lies on {detail} {bench}",
}


@dataclass(frozen=True)
class Clean:
    """A step that keeps the rows whose pictures share nothing with a benchmark.

    Args:
        bench: its pictures.
        kinds: which overlaps count, of `overlap.KINDS`.
    """

    bench: Bench
    kinds: tuple[str, ...]

    def __call__(self, rows: list[Sample]) -> Outcome:
        """Compare the pictures of a batch, each once."""
        seen: dict[Shot, tuple[str, str] | None] = {}
        kept, dropped = [], []
        for row in rows:
            for shot in overlap.of_sample(row):
                if shot not in seen:
                    seen[shot] = self._against(shot)
            found = next((seen[shot] for shot in overlap.of_sample(row) if seen[shot] is not None), None)
            if found is None:
                kept.append(row)
            else:
                dropped.append(Dropped.of(row, f"{NAME}: {found[0]}", found[1]))
        return Outcome(kept, dropped)

    def _against(self, shot: Shot) -> tuple[str, str] | None:
        """What speaks against a picture: the kind of overlap, and the reason in words."""
        try:
            found = [each for each in self.bench.overlaps(shot) if each.kind in self.kinds]
        except (LhrsError, OSError) as error:
            return UNKNOWN, f"{shot.path} cannot be compared: {error}"
        return (found[0].kind, _told(found)) if found else None


def _told(found: Sequence[Overlap]) -> str:
    first = found[0]
    words = _WORDS[first.kind].format(bench=first.bench, detail=first.detail)
    return words if len(found) == 1 else f"{words}, and {len(found) - 1} more"


def clean(
    source: Location, against: Sequence[Path], out: Location, kinds: tuple[str, ...], engine: dict[str, Any]
) -> dict[str, Any]:
    """Write the rows of `source` that share nothing with `against` to `out`; return the manifest.

    Args:
        source: the data set.
        against: data sets or folders of pictures.
        out: the folder to write.
        kinds: which overlaps count, of `overlap.KINDS`.
        engine: who works, as `engine.run` takes it.

    Raises:
        DataError: there are no rows or no pictures, a kind is unknown, or `out` holds something else.
    """
    unknown = set(kinds) - set(overlap.KINDS)
    if unknown or not kinds:
        raise DataError("unknown kind of overlap", found=sorted(unknown), allowed=", ".join(overlap.KINDS))
    bench = Bench(chain.from_iterable(map(overlap.shots, against)))
    plan = {
        "verb": NAME,
        "against": [str(place) for place in against],
        "against_sha256": bench.sha256,
        "against_pictures": len(bench.shots),
        "against_unreadable": len(bench.unreadable),
        "by": kinds,
    }
    filters = [f"{NAME}: {kind}" for kind in (*kinds, UNKNOWN)]
    return run(source, out, [Clean(bench, kinds)], plan=plan, filters=filters, **engine)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument(
        "--against", type=Path, action="append", required=True, metavar="BENCH",
        help="what must not be trained on: a data set or a folder of pictures; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--by", default=",".join(overlap.KINDS), metavar="A,B", help="which overlaps count (%(default)s)"
    )
    add_engine(parser)


def _run(args: argparse.Namespace) -> int:
    kinds = tuple(kind.strip() for kind in args.by.split(",") if kind.strip())
    clean(args.data, args.against, args.out, kinds, engine_of(args))
    return 0


VERB = Verb("put rows aside that a benchmark shows too", _add_arguments, _run)
