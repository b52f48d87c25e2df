"""Command line: `python -m bench`, all measurements in one run, a Markdown table each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import memory, startup
from bench.row import Row, table
from lhrs_chat.errors import LhrsError

RESULTS = Path(__file__).parent / "results.md"
TITLE = "# Measured by `make bench`"
SHAPES = ("nanovlm", "mixed")


# What loads torch is imported when its turn comes; the others are measured without it.
def _conversion(asked: argparse.Namespace) -> list[Row]:
    from bench.conversion import measure

    return [measure()]


def _generation(asked: argparse.Namespace) -> list[Row]:
    from bench.generation import measure

    return measure(asked.model)


def _second_turn(asked: argparse.Namespace) -> list[Row]:
    from bench.second_turn import measure

    return [measure()]


def _harness(asked: argparse.Namespace) -> list[Row]:
    from bench.harness import measure

    return measure()


def _bridge(asked: argparse.Namespace) -> list[Row]:
    from bench.bridge import measure

    return measure()


def _prep(asked: argparse.Namespace) -> list[Row]:
    from bench.prep import measure

    return measure()


def _dedup(asked: argparse.Namespace) -> list[Row]:
    from bench.dedup import measure

    return [measure()]


def _scenes(asked: argparse.Namespace) -> list[Row]:
    from bench.scenes import measure

    return measure()


def _scoring(asked: argparse.Namespace) -> list[Row]:
    from bench.scoring import measure

    return measure()


def _train_step(asked: argparse.Namespace) -> list[Row]:
    from lhrs_chat.models import torchvision_guard

    torchvision_guard.install()  # before the part imports transformers
    from bench.train_step import measure

    return measure(asked.shapes)


PARTS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "startup": lambda asked: [startup.measure()],
    "memory": lambda asked: [memory.measure()],
    "conversion": _conversion,
    "generation": _generation,
    "second_turn": _second_turn,
    "bridge": _bridge,
    "harness": _harness,
    "scenes": _scenes,
    "prep": _prep,
    "dedup": _dedup,
    "scoring": _scoring,
    "train_step": _train_step,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables; 1 when a target is missed, 2 on a user's error."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure speed and memory as ratios.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--model", default="lhrs-nano", help="preset or folder of ours (%(default)s)")
    parser.add_argument(
        "--shapes",
        nargs="+",
        choices=SHAPES,
        default=SHAPES,
        help="of train_step: a step at the sizes of nanoVLM, packing of mixed lengths (both)",
    )
    parser.add_argument(
        "--write", action="store_true", help=f"also put what was measured into {RESULTS.name} beside this program"
    )
    args = parser.parse_args(argv)
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; there are {', '.join(PARTS)}")
    rows: dict[str, list[Row]] = {}
    try:
        for part in PARTS:
            if part in args.parts or not args.parts:
                sys.stderr.write(f"measuring {part}\n")
                rows[part] = PARTS[part](args)
    except LhrsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    measured = {part: table(found) for part, found in rows.items()}
    sys.stdout.write(page(measured))
    if args.write:
        old = sections(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        RESULTS.write_text(page({**old, **measured}), encoding="utf-8")
    return 1 if any(row.passed is False for found in rows.values() for row in found) else 0


def page(tables: Mapping[str, str]) -> str:
    """Put the tables of the parts under each other."""
    return "\n".join([f"{TITLE}\n", *(f"## {part}\n\n{tables[part]}" for part in PARTS if part in tables)])


def sections(text: str) -> dict[str, str]:
    """Take a page of `page` apart again."""
    return {part: rest.strip() + "\n" for part, _, rest in (each.partition("\n") for each in text.split("\n## ")[1:])}


if __name__ == "__main__":
    raise SystemExit(main())
