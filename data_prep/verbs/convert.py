"""`python -m data_prep convert SOURCE FOLDER --out DIR`: a published set, as it is, becomes rows of facts."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lhrs_chat import storage

from ..engine import Outcome, store
from ..sources import SOURCES, SPLITS, SourceOptions
from . import Verb
from ._options import add_out

log = logging.getLogger(__name__)


def listing(folder: Path, out: Path) -> dict[str, Any]:
    """Describe a folder by the names and sizes of its files, without opening one; `out` is no part of it."""
    digest = hashlib.sha256()
    count = size = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if Path(place, name) != out)
        for name in sorted(files):
            path = Path(place, name)
            length = path.stat(follow_symlinks=path.exists()).st_size  # of a link that leads nowhere, its own
            digest.update(f"{path.relative_to(folder)}\0{length}\n".encode(errors="surrogateescape"))
            count, size = count + 1, size + length
    return {"folder": str(folder), "files": count, "bytes": size, "sha256_of_names_and_sizes": digest.hexdigest()}


def convert(name: str, folder: Path | None, out: Path, options: SourceOptions) -> dict[str, Any]:
    """Write the rows of a source as a data set, and `rejected.jsonl`: place and reason of each row that is broken.

    Raises:
        ConfigError: no such source.
        DataError: the folder does not hold what the source reads, or `out` holds something else.
    """
    source = SOURCES.get(name)
    taken = {key: getattr(options, key) for key in ("count", "split", "seed", "size_px")}
    rejected = 0

    def outcomes() -> Iterator[Outcome]:
        nonlocal rejected
        with storage.replacing(out / "rejected.jsonl") as stream:

            def reject(where: str, reason: str) -> None:
                nonlocal rejected
                rejected += 1
                stream.write(json.dumps({"where": where, "reason": reason}, ensure_ascii=False).encode() + b"\n")

            for row in source.read(folder, dataclasses.replace(options, reject=reject)):
                yield Outcome([row])

    origin = {} if folder is None else listing(folder.absolute(), out.absolute())
    made = store(
        out,
        outcomes(),
        plan={"verb": "convert", "source": name, **taken},
        source=origin,
        total=options.count,
        notes=lambda: {"rejected": rejected},
    )
    if rejected:
        log.warning("%d rejected, each with its place and the reason: %s", rejected, out / "rejected.jsonl")
    return made


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="its name; `sources` lists them")
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="where its files are, if it needs any")
    add_out(parser)
    parser.add_argument("--count", type=int, metavar="N", help="at most so many rows (all)")
    parser.add_argument("--split", choices=SPLITS, help="only this split (all)")
    parser.add_argument("--seed", type=int, default=0, help="of what a source draws at random (%(default)s)")
    parser.add_argument("--size-px", type=int, default=256, help="side of pictures that a source makes (%(default)s)")


def _run(args: argparse.Namespace) -> int:
    options = SourceOptions(count=args.count, seed=args.seed, size_px=args.size_px, split=args.split)
    convert(args.source, args.folder, Path(args.out), options)
    return 0


VERB = Verb("turn a published set into rows of facts", _add_arguments, _run)
