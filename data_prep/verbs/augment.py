"""`python -m data_prep augment DATA --out DIR`: training rows once more, flipped, turned or cropped."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample

from ..augment import CHANGES, changed, crop
from ..engine import EachRow, run
from . import Verb
from ._options import add_data, add_engine, engine_of


@dataclass(frozen=True)
class Augment:
    """Yield a row, and changed copies of it where it trains.

    Args:
        names: the changes to draw from.
        copies: how many of them, each another one.
        crop_px: side of a crop that is made besides; None makes none. Rows that a crop would make untrue get none.
        seed: with the row's id it decides what is drawn.
    """

    names: tuple[str, ...]
    copies: int
    crop_px: int | None
    seed: int

    def __call__(self, row: Sample) -> Iterator[Sample]:
        """Yield the row first."""
        yield row
        if row.split != "train":
            return
        digest = hashlib.sha256(f"{self.seed}/{row.id}".encode()).digest()
        rng = np.random.default_rng(list(digest[:8]))
        for place in rng.permutation(len(self.names))[: self.copies]:
            yield changed(row, CHANGES[self.names[int(place)]])
        size = row.images[0].size_px
        if self.crop_px is not None and size is not None and min(size) > self.crop_px:
            x, y = (int(rng.integers(side - self.crop_px + 1)) for side in size)
            try:
                yield crop(row, (x, y, x + self.crop_px, y + self.crop_px))
            except DataError:  # its words may be untrue of a part: the row goes on uncropped
                return


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--changes", metavar="NAME[,NAME]", help=f"to draw from (all: {', '.join(CHANGES)})")
    parser.add_argument("--copies", type=int, default=1, metavar="N", help="changed copies of a row (%(default)s)")
    parser.add_argument("--crop-px", type=int, metavar="N", help="besides, cut a square of this side out of each row")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (%(default)s)")
    add_engine(parser)


def _run(args: argparse.Namespace) -> int:
    names = tuple(CHANGES) if args.changes is None else tuple(name.strip() for name in args.changes.split(","))
    unknown = [name for name in names if name not in CHANGES]
    if unknown or len(set(names)) < len(names):
        raise DataError("changes are named once each", found=args.changes, allowed=", ".join(CHANGES))
    if args.copies < 0 or (args.crop_px is not None and args.crop_px < 1):
        raise DataError("copies and crops are not negative", found=(args.copies, args.crop_px))
    step = EachRow("augment", Augment(names, args.copies, args.crop_px, args.seed))
    plan = {"verb": "augment", "changes": names, "copies": args.copies, "crop_px": args.crop_px, "seed": args.seed}
    run(args.data, args.out, [step], plan=plan, filters=("augment",), **engine_of(args))
    return 0


VERB = Verb("add flipped, turned and cropped copies of the rows that train", _add_arguments, _run)
