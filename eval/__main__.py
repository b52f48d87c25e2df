"""Command line: `python -m eval list`, `run BENCHMARK --model M`, `report FOLDER`."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from lhrs_chat.errors import DataError, LhrsError

from . import report, runner
from .benchmarks import BENCHMARKS, CONDITIONS


def build_parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    parser = argparse.ArgumentParser(prog="python -m eval", description="Measure a model on a benchmark.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="name the benchmarks")
    run = verbs.add_parser("run", help="ask a model and print its scores; goes on where it was stopped")
    run.add_argument("benchmark", help="a name printed by `list`")
    run.add_argument("--model", default="lhrs-nano", help="preset, folder or hub id (%(default)s)")
    run.add_argument("--data", type=Path, help="folder of the benchmark's data")
    run.add_argument("--out", type=Path, help="folder of answers and scores (runs/eval/BENCHMARK/MODEL)")
    run.add_argument("--limit", type=int, metavar="N", help="ask at most N questions of each set and task")
    run.add_argument("--conditions", nargs="+", choices=CONDITIONS, help="ask under these conditions only")
    run.add_argument("--batch-size", type=int, default=8, metavar="N", help="requests at once (%(default)s)")
    run.add_argument("--seed", type=int, default=0, help="of the exchange of pictures (%(default)s)")
    run.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True, help="use stored answers")
    shown = verbs.add_parser("report", help="score stored answers anew and print the tables")
    shown.add_argument("folder", type=Path, help="folder of a run")
    shown.add_argument("--data", type=Path, help="folder of the benchmark's data")
    return parser


def list_benchmarks() -> str:
    """One line a benchmark: name, protocols, summary."""
    lines = []
    for name in BENCHMARKS.names():
        benchmark = BENCHMARKS.get(name)
        protocols = ", ".join(protocol.id for protocol in benchmark.protocols.values())
        lines.append(f"{name}  [{protocols}]  {benchmark.summary}\n")
    return "".join(lines)


def run_benchmark(args: argparse.Namespace) -> str:
    """Ask what is not yet answered, write the scores and return the tables."""
    from lhrs_chat.models.backends import open_backend

    benchmark = BENCHMARKS.get(args.benchmark)
    questions = benchmark.load(benchmark.find(args.data))
    folder = args.out or Path("runs/eval") / benchmark.name / re.sub(r"[^A-Za-z0-9._-]+", "_", args.model).strip("._")
    done = runner.run(
        benchmark,
        questions,
        open_backend(args.model),
        folder,
        conditions=args.conditions,
        limit=args.limit,
        batch_size=args.batch_size,
        seed=args.seed,
        resume=args.resume,
    )
    summary = report.summarise(benchmark, questions, done.records, done.header)
    scores, table = report.write(folder, summary)
    return (
        report.markdown(summary) + f"\n{done.reused} answers reused, {done.asked} asked. Written: {scores}, {table}\n"
    )


def report_folder(args: argparse.Namespace) -> str:
    """Score the stored answers of a run with the parser of this version, write and return the tables.

    Raises:
        DataError: there are no answers, or the data are not those that were asked.
    """
    path = args.folder / runner.ANSWERS
    header, records, _ = runner.read_answers(path)
    if header is None:
        raise DataError("there are no answers here", found=path, next_step="python -m eval run BENCHMARK --out FOLDER")
    benchmark = BENCHMARKS.get(str(header.get("benchmark")))
    questions = benchmark.load(benchmark.find(args.data))
    protocols = {name: protocol.id for name, protocol in benchmark.protocols.items()}
    now = {**header, "data_sha256": runner.fingerprint(questions), "protocols": protocols}
    runner.check_header({**header, "protocols": protocols}, now, path)
    scored = runner.rescore_all(benchmark, questions, records, str(header.get("dialect")))
    summary = report.summarise(benchmark, questions, scored, now)
    report.write(args.folder, summary)
    return report.markdown(summary)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 2 on a user's error."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if args.verb == "list":
            text = list_benchmarks()
        elif args.verb == "run":
            text = run_benchmark(args)
        else:
            text = report_folder(args)
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on from here\n")
        return 130
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
