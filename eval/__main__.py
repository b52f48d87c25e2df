"""Command line: `python -m eval list`, `run`, `score`, `report`, `compare`, `export`, `contamination`."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lhrs_chat import model_options
from lhrs_chat.corruptions import parse
from lhrs_chat.errors import LhrsError, MissingExtraError

from . import cache, compare, contamination, export, judge, page, passports, report, runner, runs, samples
from .benchmarks import BENCHMARKS, REAL, Benchmark
from .conditions import CONTROLS

log = logging.getLogger(__name__)

DATA = "folder of the benchmark's data, or hf:OWNER/NAME[/FOLDER][@REVISION]"


def build_parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    parser = argparse.ArgumentParser(prog="python -m eval", description="Measure a model on a benchmark.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    listed = verbs.add_parser("list", help="name the benchmarks, or show the passport of one")
    listed.add_argument("benchmark", nargs="?", help="show its passport")
    listed.add_argument("--data", type=Path, help="folder to compare with the passport")
    _run_options(verbs.add_parser("run", help="ask a model and print its scores; goes on where it was stopped"))
    _stored_options(verbs.add_parser("score", help="score stored answers anew and print the tables"))
    shown = verbs.add_parser("report", help="one page with the tables, plots and samples of stored answers")
    _stored_options(shown)
    shown.add_argument(
        "--samples", type=int, default=page.SAMPLES, metavar="N", help="samples on the page at most (%(default)s)"
    )
    compared = verbs.add_parser("compare", help="differences between runs, question by question")
    compared.add_argument(
        "folders",
        type=lambda given: [Path(folder) for folder in given.split(",")],
        nargs="+",
        metavar="FOLDER[,FOLDER...]",
        help="folders of runs on the same data; those of one method, trained several times, joined by commas",
    )
    compared.add_argument("--data", type=Path, help=DATA)
    compared.add_argument("--condition", default=REAL, help="under which the questions were asked (%(default)s)")
    compared.add_argument("--out", type=Path, help="also write compare.md and compare.json into this folder")
    exported = verbs.add_parser("export", help="a benchmark for other tools, or the scores of runs as one CSV")
    exported.add_argument("format", choices=(*export.FORMATS, "leaderboard"), help="who reads it")
    exported.add_argument("names", nargs="+", metavar="NAME", help="a benchmark, or the folders of runs")
    exported.add_argument("--data", type=Path, help=DATA)
    exported.add_argument("--out", type=Path, required=True, help="folder of the export; of a leaderboard, its file")
    overlap = verbs.add_parser("contamination", help="pictures of a benchmark that are in training data")
    overlap.add_argument("--train", type=Path, required=True, help="JSONL file of samples, or a folder of pictures")
    overlap.add_argument("--bench", required=True, metavar="NAME", help="a name printed by `list`")
    overlap.add_argument("--data", type=Path, help=DATA)
    overlap.add_argument("--runs", type=Path, nargs="+", default=[], metavar="FOLDER", help="score without overlaps")
    overlap.add_argument("--out", type=Path, help="folder of the results (runs/eval/NAME)")
    return parser


def _stored_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", type=Path, help="folder of a run")
    verb.add_argument("--data", type=Path, help=DATA)
    verb.add_argument("--judge", metavar="MODEL", help="also ask this model, or server, whether free text is right")
    _cache_option(verb)


def _cache_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--cache", action=argparse.BooleanOptionalAction, default=True, help="use answers that other runs got"
    )


def _run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("benchmark", help="a name printed by `list`")
    model_options.arguments(run)
    run.add_argument("--data", type=Path, help=DATA)
    run.add_argument("--out", type=Path, help="folder of answers and scores (runs/eval/BENCHMARK/MODEL)")
    run.add_argument("--limit", type=int, metavar="N", help="ask at most N questions of each set and task")
    run.add_argument("--controls", action="store_true", help=f"ask also under {', '.join(CONTROLS)}")
    run.add_argument(
        "--corrupt", nargs="+", default=[], metavar="NAME[:SEVERITY]", help="ask also about damaged pictures, or `all`"
    )
    run.add_argument("--conditions", nargs="+", metavar="NAME", help="begin with these conditions only")
    run.add_argument("--batch-size", type=int, default=8, metavar="N", help="requests at once (%(default)s)")
    run.add_argument("--seed", type=int, default=0, help="of all that is random in the conditions (%(default)s)")
    run.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True, help="use stored answers")
    _cache_option(run)
    run.add_argument(
        "--on-error",
        choices=("stop", "record"),
        default="stop",
        help="a question that fails ends the run, or counts as wrong (%(default)s)",
    )
    run.add_argument("--retries", type=int, default=1, metavar="N", help="ask a failed question again (%(default)s)")


def list_benchmarks(args: argparse.Namespace) -> str:
    """One line a benchmark: name, protocols, summary; or all that is known of one."""
    if args.benchmark is None:
        lines = []
        for name in BENCHMARKS.names():
            benchmark = BENCHMARKS.get(name)
            protocols = ", ".join(protocol.id for protocol in benchmark.protocols.values())
            lines.append(f"{name}  [{protocols}]  {benchmark.summary}")
        return "\n".join(lines) + "\n"
    benchmark = BENCHMARKS.get(args.benchmark)
    lines = [f"{benchmark.name}: {benchmark.summary}", *passports.describe(benchmark)]
    for protocol in benchmark.protocols.values():
        lines += [f"protocol {protocol.id}", *(f"  {sentence}" for sentence in protocol.quirks)]
    if args.data is not None:
        lines.append(f"{args.data} is {runs.open_data(args.benchmark, args.data).check.label}")
    return "\n".join(lines) + "\n"


def wanted(benchmark: Benchmark, args: argparse.Namespace) -> list[str]:
    """The conditions a run asks under: those it begins with, the controls, the corruptions."""
    names = list(args.conditions or benchmark.conditions)
    names += CONTROLS if args.controls else ()
    names += [f"{name}:{severity}" for text in args.corrupt for name, severity in parse(text)]
    return list(dict.fromkeys(names))


def run_benchmark(args: argparse.Namespace) -> str:
    """Ask what is not yet answered, write the scores and return the tables."""
    from lhrs_chat.models.backends import open_backend

    data = runs.open_data(args.benchmark, args.data)
    benchmark = data.benchmark
    conditions = wanted(benchmark, args)
    backend = open_backend(args.model, dtype=args.dtype, quantise=args.quantise)
    folder = args.out or Path("runs/eval") / benchmark.name / re.sub(r"[^A-Za-z0-9._-]+", "_", backend.name).strip("._")
    settings = runner.Settings(
        limit=args.limit,
        batch_size=args.batch_size,
        seed=args.seed,
        resume=args.resume,
        on_error=args.on_error,
        retries=args.retries,
        cache=_cache(args),
    )
    done = runner.run(benchmark, data.questions, backend, folder, conditions, settings)
    scored = runs.score(data, folder)
    found = scored.summary()
    written = ", ".join(str(path) for path in _write(scored, found))
    return report.markdown(found) + f"\n{done.sentence()}. Written: {written}\n"


def _write(scored: runs.ScoredRun, found: dict[str, Any]) -> list[Path]:
    """Write what a run leaves beside its answers: scores, tables, and, where pyarrow is there, the samples."""
    written = [*report.write(scored.folder, found)]
    try:
        written.append(samples.write(scored))
    except MissingExtraError as error:
        log.info("%s", str(error).replace("\n", "; "))
    return written


def _cache(args: argparse.Namespace) -> Path | None:
    return cache.default_path() if args.cache else None


def _scored(args: argparse.Namespace) -> tuple[runs.ScoredRun, dict[str, Any]]:
    """The stored answers of a run, scored anew, and all scores; those of a judge too where one is named."""
    scored = runs.score(runs.data_of(args.folder, args.data), args.folder)
    found = scored.summary()
    if args.judge is not None:
        from lhrs_chat.models.backends import open_backend

        found["judge"] = judge.judge(scored, open_backend(args.judge), _cache(args))
    return scored, found


def score_folder(args: argparse.Namespace) -> str:
    """Score the stored answers of a run anew, write the scores and return the tables."""
    scored, found = _scored(args)
    _write(scored, found)
    return report.markdown(found)


def report_folder(args: argparse.Namespace) -> str:
    """Write the page of a run, and say where."""
    scored, found = _scored(args)
    return f"{page.write(scored, found, args.samples)}\n"


def compare_runs(args: argparse.Namespace) -> str:
    """Compare runs, and return the table."""
    data = runs.data_of(args.folders[0][0], args.data)
    named = compare.names_of([[runs.score(data, folder) for folder in folders] for folders in args.folders])
    found = compare.compare(named, args.condition)
    text = compare.markdown(found, named, args.condition)
    if args.out is not None:
        report.write_whole(args.out / "compare.md", text)
        report.write_whole(args.out / "compare.json", json.dumps(compare.rows(found), indent=1) + "\n")
    return text


def export_files(args: argparse.Namespace) -> str:
    """Write a benchmark or a leaderboard for others, and say where.

    Raises:
        ConfigError: there is no such benchmark.
    """
    if args.format == "leaderboard":
        return f"{report.write_whole(args.out, export.leaderboard([Path(name) for name in args.names]))}\n"
    written: list[Path] = []
    for name in args.names:
        data = runs.open_data(name, args.data)
        log.info("%s: %s", name, data.check.label)
        written += export.FORMATS[args.format](data, args.out)
    return "".join(f"{path}\n" for path in written)


def find_overlaps(args: argparse.Namespace) -> str:
    """Look for pictures of a benchmark in training data, write what was found, and return the tables."""
    data = runs.open_data(args.bench, args.data)
    found = contamination.find(data, args.train)
    rows = [row for folder in args.runs for row in contamination.scores(runs.score(data, folder), found.pictures)]
    folder = args.out or Path("runs/eval") / args.bench
    text = contamination.markdown(data, args.train, found, rows)
    report.write_whole(folder / "contamination.md", text)
    listed = {**asdict(found), "train_data": str(args.train), "data_sha256": data.sha256, "scores": rows}
    report.write_whole(folder / "contamination.json", json.dumps(listed, indent=1) + "\n")
    return text


VERBS = {
    "list": list_benchmarks,
    "run": run_benchmark,
    "score": score_folder,
    "report": report_folder,
    "compare": compare_runs,
    "export": export_files,
    "contamination": find_overlaps,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 2 on a user's error."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        text = VERBS[args.verb](args)
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
