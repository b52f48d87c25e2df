"""Command line: `python -m bench`, all measurements in one run as a Markdown table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import memory, startup
from bench.row import Row, table
from lhrs_chat.errors import LhrsError

RESULTS = Path(__file__).parent / "results.md"
PARTS = ("startup", "memory", "generation", "bridge")


def _generation(model: str) -> list[Row]:
    from bench.generation import measure  # loads torch; the others are measured without it

    return measure(model)


def _bridge() -> list[Row]:
    from bench.bridge import measure

    return measure()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table; 1 when a target is missed, 2 on a user's error."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure speed and memory as ratios.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--model", default="lhrs-nano", help="preset or folder of ours (%(default)s)")
    parser.add_argument("--write", action="store_true", help=f"also write {RESULTS.name} beside this program")
    args = parser.parse_args(argv)
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; there are {', '.join(PARTS)}")
    measure: dict[str, Callable[[], list[Row]]] = {
        "startup": lambda: [startup.measure()],
        "memory": lambda: [memory.measure()],
        "generation": lambda: _generation(args.model),
        "bridge": _bridge,
    }
    rows: list[Row] = []
    try:
        for part in PARTS:
            if part in args.parts or not args.parts:
                sys.stderr.write(f"measuring {part}\n")
                rows.extend(measure[part]())
    except LhrsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    text = table(rows)
    sys.stdout.write(text)
    if args.write:
        RESULTS.write_text(f"# Measured by `make bench`\n\n{text}", encoding="utf-8")
    return 1 if any(row.passed is False for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
