"""`python -m data_prep recaption DATA --model M --out DIR`: a model rewords the descriptions, under their facts."""

from __future__ import annotations

import argparse
import dataclasses

from ..engine import run
from . import Verb
from ._options import add_data, add_engine, engine_of


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument(
        "--model", required=True, help="who words it: a preset, a folder, a hub id or openai:URL#MODEL for a server"
    )
    parser.add_argument("--tries", type=int, default=3, help="of one row, before its own words stay (%(default)s)")
    parser.add_argument("--temperature", type=float, default=0.7, help="0 takes the likeliest words (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the words that are drawn (%(default)s)")
    add_engine(parser)


def _run(args: argparse.Namespace) -> int:
    from ..builders._recaption import Recaption  # brings torch

    step = Recaption(args.model, args.tries, args.seed, args.temperature)
    plan = {"verb": "recaption", **dataclasses.asdict(step)}
    run(args.data, args.out, [step], plan=plan, filters=("recaption",), **engine_of(args))
    return 0


VERB = Verb("reword captions with a model, under the facts they tell", _add_arguments, _run)
