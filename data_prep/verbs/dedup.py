"""`python -m data_prep dedup DATA --out DIR`: of rows whose pictures show nearly the same, those of one stay.

Rows about one picture belong together and stay together. Of several pictures that show nearly the same, the one stays
whose rows have the highest score, then the one with most pixels, then the first. Rows that only repeat an earlier row
about the same pictures are put aside too.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lhrs_chat.samples import Rows, to_line
from lhrs_chat.schema import Sample
from lhrs_chat.storage import Location

from ..duplicates import Alike, cluster, difference
from ..engine import store
from ..fingerprints import Pictures, collect, paths_of
from ..output import inputs
from ..whole_set import batches, judged
from . import Verb
from ._options import add_data, add_engine, engine_of

NAME = "dedup"
RULE = "highest score, then most pixels, then first"
BITS = 6
COSINE = 0.9  # with the encoder of lhrs-nano other pictures stay below 0.83, mirrored copies above 0.9


@dataclass
class _Unit:
    """The rows about the same pictures: the id of the first one, and their highest score."""

    first: str
    score: float = -math.inf


def dedup(source: Location, out: Location, rule: Alike, model: str | None, engine: dict[str, Any]) -> dict[str, Any]:
    """Write `source` without near-duplicates to `out`; return the manifest.

    Args:
        source: the data set.
        out: the folder to write.
        rule: when two pictures count as one.
        model: whose encoder gives the embeddings; None where none are compared.
        engine: who works, as `engine.run` takes it.

    Raises:
        DataError: there are no rows, or `out` holds something else.
    """
    pictures = collect(source, out, model, engine)
    against = reasons(source, pictures, rule)
    plan = {"verb": NAME, "bits": rule.bits, "least_cosine": rule.least_cosine, "embeddings": model, "keeps": RULE}
    unreadable = sum(not one.sha256 for one in pictures.prints)
    return store(
        out,
        judged(source, NAME, _Judge(against)),
        plan=plan,
        source=inputs(source),
        filters=[NAME],
        shard_rows=engine["shard_rows"],
        total=len(Rows.open(source, lambda where, reason: None)),
        notes=lambda: {"pictures": len(pictures.paths), "unreadable_pictures": unreadable},
    )


def reasons(source: Location, pictures: Pictures, rule: Alike) -> dict[tuple[str, ...], str]:
    """Tell what speaks against the pictures of a row, where something does."""
    units: dict[tuple[str, ...], _Unit] = {}
    for batch in batches(source):
        for row in batch.rows:
            unit = units.setdefault(paths_of(row), _Unit(row.id))
            unit.score = max(unit.score, -math.inf if row.score is None else row.score)
    found = cluster(pictures.prints, rule)
    groups: dict[tuple[int, ...], list[tuple[str, ...]]] = {}
    for paths in units:
        groups.setdefault(tuple(found.find(number) for number in pictures.rows[paths]), []).append(paths)
    against = {}
    for members in groups.values():
        best = max(members, key=lambda paths: (units[paths].score, _pixels(pictures, paths)))
        for paths in members:
            if paths != best:
                apart = [
                    difference(pictures.prints[one], pictures.prints[other], rule)
                    for one, other in zip(pictures.rows[best], pictures.rows[paths], strict=True)
                ]
                against[paths] = f"near-duplicate of {units[best].first}, {' and '.join(dict.fromkeys(apart))}"
    return against


def _pixels(pictures: Pictures, paths: tuple[str, ...]) -> int:
    return sum(math.prod(pictures.prints[number].size_px) for number in pictures.rows[paths])


@dataclass
class _Judge:
    """Drops rows by their pictures, and rows that say again what an earlier one said."""

    against: Mapping[tuple[str, ...], str]
    said: dict[bytes, str] = field(default_factory=dict)

    def __call__(self, row: Sample) -> Sample | str:
        reason = self.against.get(paths_of(row))
        if reason is not None:
            return reason
        digest = hashlib.sha256(to_line(replace(row, id="", score=None)).encode()).digest()
        if digest in self.said:
            return f"says the same as {self.said[digest]}"
        self.said[digest] = row.id
        return row


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument(
        "--bits", type=int, default=BITS, metavar="N", help="of 64, by which near-duplicates differ (%(default)s)"
    )
    parser.add_argument(
        "--embeddings", metavar="MODEL", help="also compare pictures by the encoder of this model, e.g. lhrs-nano"
    )
    parser.add_argument(
        "--cosine", type=float, default=COSINE, metavar="C", help="that makes embeddings near-duplicates (%(default)s)"
    )
    add_engine(parser)


def _run(args: argparse.Namespace) -> int:
    rule = Alike(args.bits, args.cosine if args.embeddings else None)
    dedup(args.data, args.out, rule, args.embeddings, engine_of(args))
    return 0


VERB = Verb("keep one of pictures that show nearly the same", _add_arguments, _run)
