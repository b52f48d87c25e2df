"""Arguments that several verbs take, and what they make of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from lhrs_chat.errors import DataError
from lhrs_chat.plugins import Folder

from ..engine import ENGINES, SHARD_ROWS


def add_data(parser: argparse.ArgumentParser) -> None:
    """The data set a verb reads and the folder it writes."""
    parser.add_argument("data", metavar="DATA", help="a data set: its folder, or a .parquet or .jsonl file")
    add_out(parser)


def add_out(parser: argparse.ArgumentParser) -> None:
    """The folder a verb writes."""
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="the folder to write; an unfinished one is gone on with"
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """How the work is spread."""
    parser.add_argument("--engine", choices=list(ENGINES), default="local", help="who works (%(default)s)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (as many as there are cores)")
    parser.add_argument(
        "--shard-rows", type=int, default=SHARD_ROWS, metavar="N", help="rows of the input to a shard (%(default)s)"
    )


def engine_of(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_engine` was told, as `engine.run` takes it."""
    return {"engine": args.engine, "workers": args.workers, "shard_rows": args.shard_rows}


def chosen(names: str | None, folder: Folder[Any]) -> Sequence[str]:
    """Take a comma-separated list of plug-ins apart; None takes all of the folder.

    Raises:
        ConfigError: one is not in the folder.
        DataError: the list is empty, or names one twice.
    """
    found = folder.names() if names is None else [name.strip() for name in names.split(",") if name.strip()]
    if not found or len(set(found)) < len(found):
        raise DataError("a list names one or more, each once", found=names, allowed=", ".join(folder.names()))
    for name in found:
        folder.get(name)
    return found
