"""`python -m data_prep export FORMAT DATA --out DIR`: rows in the form another program reads."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lhrs_chat import samples, storage
from lhrs_chat.schema import Sample

from ..exports import EXPORTS
from ..output import Output, inputs
from . import Verb
from ._options import add_data


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("format", metavar="FORMAT", help=f"one of {', '.join(EXPORTS.names())}")
    add_data(parser)


def _run(args: argparse.Namespace) -> int:
    export = EXPORTS.get(args.format)
    output = Output(args.out, {"verb": "export", "format": args.format}, inputs(args.data))
    licences: Counter[str] = Counter()

    def rows() -> Iterator[Sample]:
        for row in samples.read(args.data):
            licences[row.licence] += 1
            yield row

    with output.room():
        written = export.write(rows(), Path(args.out))
        there = [name for name in storage.names(args.out) if name != "manifest.json"]
        places = {name: storage.join(args.out, name) for name in there}
        files = {name: storage.sha256(place) for name, place in places.items() if storage.is_file(place)}
        output.close(
            {
                "rows_in": licences.total(),
                "rows_out": written,
                "licences": dict(sorted(licences.items())),
                "files": files,
            }
        )
    return 0


VERB = Verb("write rows for another program", _add_arguments, _run)
