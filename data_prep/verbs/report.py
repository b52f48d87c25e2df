"""`python -m data_prep report DATA --out DIR`: a data card and a page that shows what a data set holds."""

from __future__ import annotations

import argparse
import re
import sys

from lhrs_chat import storage
from lhrs_chat.errors import DataError
from lhrs_chat.progress import Bar
from lhrs_chat.samples import Rows
from lhrs_chat.storage import Location

from ..whole_set import batches
from . import Verb
from ._options import add_data

CARD, PAGE = "card.md", "report.html"
SAMPLES = 120
EXAMPLES = 3


def report(source: Location, out: Location, *, samples: int = SAMPLES, seed: int = 0) -> list[str]:
    """Write `card.md` and `report.html`; return their places.

    Args:
        source: the data set.
        out: the folder to write.
        samples: rows that the page shows at most, some of every source, task and split.
        seed: another one draws others.

    Raises:
        DataError: there are no rows.
    """
    from ..card import markdown
    from ..census import Census, Shown
    from ..history import steps
    from ..report_page import render

    census, shown = Census(seed), Shown(samples, seed)
    bar = Bar("report", "rows", len(Rows.open(source, lambda where, reason: None)))
    for batch in batches(source):
        for row in batch.rows:
            census.add(row)
            shown.add(row)
        census.unreadable += len(batch.dropped)
        bar.add(len(batch.rows) + len(batch.dropped))
    bar.close()
    if not census.rows:
        raise DataError("no row can be read", found=str(source), next_step="python -m data_prep validate tells why")
    name = "/".join(re.split(r"[\\/]+", str(source).rstrip("/"))[-2:])
    made = steps(source, EXAMPLES, seed)
    card = markdown(name, census, made)
    page = render(name, census, made, shown.rows(), card)
    places = []
    for file, text in ((CARD, card), (PAGE, page)):
        places.append(storage.join(out, file))
        with storage.replacing(places[-1]) as stream:
            stream.write(text.encode())
    return places


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--samples", type=int, default=SAMPLES, metavar="N", help="rows to show at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which rows are shown (%(default)s)")


def _run(args: argparse.Namespace) -> int:
    if args.samples < 0:
        raise DataError("a number of rows is not negative", found=args.samples)
    for place in report(args.data, args.out, samples=args.samples, seed=args.seed):
        sys.stdout.write(f"{place}\n")
    return 0


VERB = Verb("write a data card and a page that shows what a data set holds", _add_arguments, _run)
