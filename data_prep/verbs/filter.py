"""`python -m data_prep filter DATA --out DIR`: rows that break a rule are put aside, with the rule and the reason."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from lhrs_chat.config import from_dict
from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.schema import Sample

from ..engine import Outcome, run
from ..filters import FILTERS, FilterOptions
from ..output import Dropped
from . import Verb
from ._options import add_data, add_engine, chosen, engine_of

_filter = cache(FILTERS.get)  # looked up once, not for every row


@dataclass(frozen=True)
class Sieve:
    """A step that keeps the rows no rule speaks against; the first rule that does is told.

    Args:
        rules: the filters, in the order they are asked.
        options: the bounds they keep to.
    """

    rules: tuple[str, ...]
    options: FilterOptions

    def __call__(self, rows: list[Sample]) -> Outcome:
        """Judge a batch."""
        judged = [(row, self._judge(row)) for row in rows]
        return Outcome(
            [row for row, dropped in judged if dropped is None], [dropped for _, dropped in judged if dropped]
        )

    def _judge(self, row: Sample) -> Dropped | None:
        for rule in self.rules:
            try:
                reason = _filter(rule).check(row, self.options)
            except (LhrsError, OSError, ValueError) as error:
                reason = f"cannot be judged: {error}"
            if reason is not None:
                return Dropped.of(row, rule, reason)
        return None


def options_of(settings: Sequence[str]) -> FilterOptions:
    """Read `name=value` settings.

    Raises:
        ConfigError: no such bound, or a value of the wrong type.
        DataError: a setting without an equals sign.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise DataError("a setting is name=value", found=setting, allowed=", ".join(vars(FilterOptions())))
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return from_dict(FilterOptions, values)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--rules", metavar="A,B", help=f"of {', '.join(FILTERS.names())} (all)")
    bounds = ", ".join(f"{name}={value}" for name, value in vars(FilterOptions()).items())
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help=f"another bound than {bounds}")
    add_engine(parser)


def _run(args: argparse.Namespace) -> int:
    rules = tuple(chosen(args.rules, FILTERS))
    options = options_of(args.settings)
    plan = {"verb": "filter", "rules": rules, "options": dataclasses.asdict(options)}
    run(args.data, args.out, [Sieve(rules, options)], plan=plan, filters=rules, **engine_of(args))
    return 0


VERB = Verb("put rows aside that break a rule", _add_arguments, _run)
