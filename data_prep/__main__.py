"""`python -m data_prep VERB`: nano (facts and questions for lhrs-nano), probe (its held-out questions)."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from lhrs_chat.errors import LhrsError


def main(argv: list[str] | None = None) -> int:
    """Run a verb and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep", description="Make data.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    nano = verbs.add_parser("nano", help="facts and questions that lhrs-nano learns from")
    nano.add_argument("--out", type=Path, default=Path("runs/nano/data"), help="folder to write (default: %(default)s)")
    nano.add_argument("--shared", type=Path, help="folder of real data sets (default: LHRS_CHAT_SHARED_DATA)")
    nano.add_argument("--synthetic", type=int, default=5000, help="procedural scenes (default: %(default)s)")
    probe = verbs.add_parser("probe", help="the held-out questions of nano_probe")
    probe.add_argument("--data", type=Path, default=Path("runs/nano/data"), help="what `nano` wrote")
    probe.add_argument("--out", type=Path, default=Path("runs/nano/probe"), help="folder to write")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        if args.verb == "nano":
            from .nano import build

            build(args.out, args.shared, args.synthetic)
        else:
            from .probe import build as build_probe

            build_probe(args.data, args.out)
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
