"""Going through a whole data set in order, for what cannot judge one row alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lhrs_chat.samples import Rows
from lhrs_chat.schema import Sample
from lhrs_chat.storage import Location

from .engine import Outcome
from .output import UNREADABLE, Dropped

BATCH_ROWS = 256


def batches(source: Location) -> Iterator[Outcome]:
    """Read a data set in order; rows that cannot be read come as dropped ones.

    Raises:
        DataError: there are no rows.
    """
    broken: list[Dropped] = []

    def reject(where: str, reason: str) -> None:
        broken.append(Dropped(where, UNREADABLE, reason))

    rows = Rows.open(source, reject)
    for start in range(0, max(len(rows), 1), BATCH_ROWS):
        found = rows.slice(start, min(start + BATCH_ROWS, len(rows)), reject)
        yield Outcome(found, list(broken))
        broken.clear()


def judged(source: Location, name: str, judge: Callable[[Sample], Sample | str]) -> Iterator[Outcome]:
    """Go through a data set and put aside the rows that `judge` gives a reason against; it may change the others.

    Args:
        source: the data set.
        name: what `Dropped.filter` tells.
        judge: takes a row, and gives the row to keep or the reason not to.
    """
    for batch in batches(source):
        kept: list[Sample] = []
        dropped = list(batch.dropped)
        for row in batch.rows:
            found = judge(row)
            if isinstance(found, str):
                dropped.append(Dropped.of(row, name, found))
            else:
                kept.append(found)
        yield Outcome(kept, dropped)
