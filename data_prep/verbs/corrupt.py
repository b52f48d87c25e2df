"""`python -m data_prep corrupt PAIRS ... --share 50% --out DIR`: captions of pictures, a part of them false.

PAIRS are what the builder `preferences` made. Of every picture one pair is drawn, and its caption is the true text or,
with the chance `--share`, the false one; `meta["error"]` tells which error that is. The true captions of the picture
are kept in the targets. `DIR/truth.parquet` scores true rows 1 and false ones 0, in the form of `lhrs-chat score`, so
that `select` can make the arm of a perfect score.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lhrs_chat import samples, storage
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample, Targets
from lhrs_chat.storage import Location

from ..builders import _wordings
from ..builders._facts import pick
from ..builders._rows import Rows
from ..builders.preferences import ERRORS, TASK
from ..engine import Outcome, store
from ..output import Dropped, inputs
from ..sources import SPLITS
from ..whole_set import batches
from . import Verb
from ._options import add_out
from .select import share_of

NAME = "corrupt"
STILL_TRUE = ("dropped_facts", "verbose")
FALSE = tuple(name for name in ERRORS if name not in STILL_TRUE)


def caption(pairs: Sequence[Sample], share: float, seed: int) -> Sample:
    """Make the row of one picture.

    Args:
        pairs: of a picture and its description.
        share: the chance that the caption is false.
        seed: with the scene's id it decides every draw.
    """
    digest = hashlib.sha256(f"{seed}/{NAME}/{pairs[0].scene_id}".encode()).digest()
    rng = np.random.default_rng(list(digest[:8]))
    kinds = sorted({pair.meta["error"] for pair in pairs})
    kind = pick(rng, kinds)
    pair = pick(rng, [one for one in pairs if one.meta["error"] == kind])
    question = pick(rng, _wordings.CAPTION)
    is_false = rng.random() < share
    text = str(pair.meta["rejected"][0] if is_false else pair.messages[-1].text)
    true = tuple(dict.fromkeys(one.messages[-1].text for one in pairs))
    facts = replace(pair, id=pair.scene_id, meta={})
    targets = Targets(labels=pair.targets.labels, captions=true)
    return Rows(facts, NAME).make("caption", [(question, text)], targets, meta={"error": kind} if is_false else None)


def descriptions(source: Location, kinds: Sequence[str], split: str | None) -> Iterator[Sample | Dropped]:
    """Yield the pairs of a data set that describe a whole picture.

    Raises:
        DataError: a row is no pair.
    """
    for batch in batches(source):
        yield from batch.dropped
        for row in batch.rows:
            if row.task != TASK:
                raise DataError("captions are made false by pairs", found=f"{row.id}: {row.task}", allowed=TASK)
            asked = row.messages[0].text
            wanted = row.meta["error"] in kinds and split in (None, row.split)
            if wanted and (not asked or asked in _wordings.CAPTION):
                yield row


def captions(
    sources: Sequence[Location], kinds: Sequence[str], split: str | None, share: float, seed: int
) -> Iterator[Outcome]:
    """Yield the rows of all pictures, those of one data set after those of another."""
    for source in sources:
        of_picture: dict[str, list[Sample]] = defaultdict(list)
        for found in descriptions(source, kinds, split):
            if isinstance(found, Dropped):
                yield Outcome([], [found])
            else:
                of_picture[found.scene_id].append(found)
        yield Outcome([caption(pairs, share, seed) for pairs in of_picture.values()])


def corrupt(
    sources: Sequence[Location],
    out: Location,
    share: float,
    kinds: Sequence[str] = FALSE,
    split: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write captions, a part of them false, and the scores of a judge that knows; return the manifest.

    Args:
        sources: pairs.
        out: the folder to write.
        share: of the captions, that are false.
        kinds: errors that are put in, equally likely where a picture allows them.
        split: only pairs of this split; None takes all.
        seed: of the draws.

    Raises:
        DataError: rows that are no pairs, or no picture is left.
    """
    plan = {"verb": NAME, "share": share, "kinds": list(kinds), "split": split, "seed": seed}
    made = captions(sources, kinds, split, share, seed)
    manifest = store(out, made, plan=plan, source={str(source): inputs(source) for source in sources})
    if not manifest["rows_out"]:
        raise DataError("no pair describes a picture", found=", ".join(map(str, sources)), allowed=", ".join(kinds))
    _write_truth(storage.join(out, "truth.parquet"), samples.read(out))
    return manifest


def _write_truth(file: Location, rows: Iterable[Sample]) -> None:
    from lhrs_chat.scoring import COLUMNS, fingerprint  # it loads torch

    lines = (
        {
            **dict.fromkeys(COLUMNS, ""),
            "id": row.id,
            "score": float("error" not in row.meta),
            "model": "truth",
            "row_sha256": fingerprint(row),
        }
        for row in rows
    )
    samples.write_table(file, COLUMNS, lines)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pairs", nargs="+", metavar="PAIRS", help="data sets that the builder `preferences` made")
    add_out(parser)
    parser.add_argument("--share", default="50%", metavar="P", help="of the captions that are false (%(default)s)")
    parser.add_argument("--kinds", default=",".join(FALSE), metavar="A,B", help="errors that are put in (%(default)s)")
    parser.add_argument("--split", choices=SPLITS, help="only this split (all)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (%(default)s)")


def _run(args: argparse.Namespace) -> int:
    kinds = tuple(name for name in args.kinds.split(",") if name)
    unknown = [name for name in kinds if name not in ERRORS]
    if unknown or not kinds:
        raise DataError("no such error", found=", ".join(unknown), allowed=", ".join(ERRORS))
    share = share_of(args.share) if args.share not in ("0", "0%") else 0.0
    corrupt(args.pairs, args.out, share, kinds, args.split, args.seed)
    return 0


VERB = Verb("make a part of the captions of pictures false", _add_arguments, _run)
