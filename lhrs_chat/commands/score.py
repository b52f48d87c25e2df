"""`lhrs-chat score`: how well the answers of a data set fit their pictures, one number a row."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lhrs_chat.commands import Command


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("data", metavar="DATA", help="a data set: its folder, a .parquet file or a .jsonl file")
    parser.add_argument(
        "--model", default="score-nano", help="a score model: score-nano, a folder or a hub id (default: %(default)s)"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="F.parquet", help="file to write")
    parser.add_argument("--dtype", default="auto", metavar="D", help="number format of the backbone (%(default)s)")
    parser.add_argument("--layout", metavar="L", help="answer, user or text_first (default: as the model says)")


def run(args: argparse.Namespace) -> int:
    """Score; what was done goes to stdout, progress to stderr."""
    from lhrs_chat.models.scorers import open_scorer
    from lhrs_chat.scoring import score_rows

    scorer = open_scorer(args.model, dtype=args.dtype, layout=args.layout)
    done = score_rows(args.data, scorer, args.out)
    sys.stdout.write(
        f"{done.rows} rows in {args.out}: {done.reused} taken over from an earlier run, {done.unscored.total()} "
        f"without a score; {done.rows_per_second:.1f} rows a second\n"
    )
    sys.stdout.writelines(f"  {count} without a score: {reason}\n" for reason, count in done.unscored.most_common())
    return 0


COMMAND = Command("score how well the answers of a data set fit their pictures", arguments, run)
