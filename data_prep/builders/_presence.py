"""Questions whether something is there, as many of them answered with yes as with no."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lhrs_chat.schema import Sample, Targets

from . import _nouns, _wordings
from ._facts import pick
from ._rows import Rows

MOST = 2  # of each answer


def balanced(rows: Rows, there: Sequence[str], absent: Sequence[str], rng: np.random.Generator) -> Iterator[Sample]:
    """Ask for as many things or covers that are there as for such that are not; for none where one kind is missing."""
    absent = [name for name in absent if not _nouns.is_head(name, there)]
    each = min(MOST, len(there), len(absent))
    for names, answer in ((there, "Yes."), (absent, "No.")):
        for i in rng.permutation(len(names))[:each]:
            name = names[int(i)]
            targets = Targets(choices=("Yes.", "No."), labels=(name,))
            yield rows.make("presence", [(_question(name, rng), answer)], targets)


def _question(name: str, rng: np.random.Generator) -> str:
    if _nouns.is_counted(name):
        return pick(rng, _wordings.PRESENCE_THING).format(a=_nouns.one(name), plural=_nouns.plural(name))
    return pick(rng, _wordings.PRESENCE_COVER).format(name=name)
