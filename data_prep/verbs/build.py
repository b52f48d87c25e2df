"""`python -m data_prep build BUILDER[,BUILDER] DATA --out DIR`: rows of facts become rows a model is trained on."""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample

from ..builders import BUILDERS
from ..engine import EachRow, Outcome, run
from . import Verb
from ._options import add_data, add_engine, chosen, engine_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Build:
    """Ask the builders, one after the other, for rows made from a row of facts.

    Args:
        names: the builders.
        seed: with the names and the row's id it decides every draw.
        rows: those of the batch, for builders that look beside a row.
    """

    names: tuple[str, ...]
    seed: int
    rows: Sequence[Sample] = ()

    def __call__(self, facts: Sample) -> Iterator[Sample]:
        """Yield the rows made from `facts`."""
        if facts.task != "facts":
            raise DataError("builders take rows of facts", found=facts.task, allowed="facts")
        for name, build in self._makers.items():
            digest = hashlib.sha256(f"{self.seed}/{name}/{facts.id}".encode()).digest()
            yield from build(facts, np.random.default_rng(list(digest[:8])))

    @cached_property
    def _makers(self) -> dict[str, Callable[[Sample, np.random.Generator], Iterator[Sample]]]:
        builders = {name: BUILDERS.get(name) for name in self.names}
        return {name: one.build if one.beside is None else one.beside(self.rows) for name, one in builders.items()}


@dataclass(frozen=True)
class BuildBatch:
    """A step that asks the builders for each row of a batch; see `Build`."""

    names: tuple[str, ...]
    seed: int

    def __call__(self, rows: list[Sample]) -> Outcome:
        """Build the rows of a batch."""
        return EachRow("build", Build(self.names, self.seed, rows))(rows)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("builders", metavar="BUILDER[,BUILDER]", help=f"of {', '.join(BUILDERS.names())}")
    add_data(parser)
    parser.add_argument("--seed", type=int, default=0, help="of what is asked and how it is worded (%(default)s)")
    add_engine(parser)


def _run(args: argparse.Namespace) -> int:
    names = tuple(chosen(args.builders, BUILDERS))
    plan = {"verb": "build", "builders": names, "seed": args.seed}
    step = BuildBatch(names, args.seed)
    made = run(args.data, args.out, [step], plan=plan, filters=("build",), **engine_of(args))
    if not made["rows_out"]:
        needs = "; ".join(f"{name}: {BUILDERS.get(name).needs}" for name in names)
        log.warning("no row could be made: %s does not hold what is needed (%s)", args.data, needs)
    return 0


VERB = Verb("make rows to train on from rows of facts", _add_arguments, _run)
