"""`python -m data_prep validate DATA`: what is wrong with a data set, counted.

The exit code is 2 where there are errors, or no rows at all.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from ..validation import Report, validate
from . import Verb

ERRORS = 2


def text(report: Report) -> str:
    """The findings in words, errors first."""
    lines = []
    for finding in sorted(report.findings, key=lambda each: each.severity != "error"):
        lines.append(f"{finding.severity:<8}{finding.text}")
        lines += [f"        {example}" for example in finding.examples]
    verdict = "fit to train on" if not report.errors else "not fit to train on before the errors are mended"
    verdict = verdict if report.rows else "nothing to train on"
    return "\n".join([*lines, f"rows: {report.rows}; {verdict}"]) + "\n"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="a data set: its folder, or a .parquet or .jsonl file")
    parser.add_argument("--decode", action="store_true", help="decode every image whole, not only its head and end")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def _run(args: argparse.Namespace) -> int:
    report = validate(args.data, decode=args.decode)
    if args.json:
        findings = [{**dataclasses.asdict(finding), "text": finding.text} for finding in report.findings]
        found = {"rows": report.rows, "errors": report.errors, "findings": findings}
        sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(text(report))
    return ERRORS if report.errors or not report.rows else 0


VERB = Verb("count what is wrong with a data set", _add_arguments, _run)
