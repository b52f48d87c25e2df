"""`python -m data_prep select DATA --scores F --top 30% --out DIR`: the rows with the best scores, and control arms.

`DIR/top` holds what was selected, `DIR/random` as many rows drawn by chance, `DIR/longest` those with the longest
answers, and each `--control NAME=F` what the same rule selects by other scores. `selection.md` and `curve.csv` tell the
thresholds and what other shares would have kept.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lhrs_chat import samples, storage
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample
from lhrs_chat.storage import Location

from ..engine import store
from ..output import inputs
from ..whole_set import batches, judged
from . import Verb
from ._options import add_data

NAME = "select"
STRATA = ("source", "task", "length")
CONTROLS = ("random", "longest")
LENGTHS = (8, 16, 32, 64, 128)
"""Bounds of the strata by length, in words of the answer."""
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Scored:
    """The rows of a data set, in their order: ids, strata, and scores, NaN where there is none, with the reason.

    `lengths`: characters of the answers.
    """

    ids: list[str]
    strata: list[str]
    scores: np.ndarray
    reasons: list[str]
    lengths: np.ndarray


def stratum(row: Sample, by: Sequence[str]) -> str:
    """Name the stratum of a row, such as `source=rsicd, length=8-15`."""
    words = len(_answer(row).split())
    place = int(np.searchsorted(LENGTHS, words, side="right"))
    ends = [0, *LENGTHS]
    length = f"{ends[place]}-{ends[place + 1] - 1}" if place < len(LENGTHS) else f"{ends[-1]}-"
    values = {"source": row.source, "task": row.task, "length": length}
    return ", ".join(f"{name}={values[name]}" for name in by) or "all"


def _answer(row: Sample) -> str:
    return row.targets.answer or (row.messages[-1].text if row.messages else "")


def read_scores(source: Location, file: Location, by: Sequence[str]) -> Scored:
    """Put the scores of a file beside the rows of a data set.

    Raises:
        DataError: a row has no score line, or the line is of other words.
    """
    from lhrs_chat.scoring import fingerprint  # it loads torch

    columns = samples.read_columns(file, ["id", "score", "reason", "row_sha256"])
    lines = zip(columns["score"], columns["reason"], columns["row_sha256"], strict=True)
    known = dict(zip(columns["id"], lines, strict=True))
    if len(known) < len(columns["id"]):
        double = Counter(columns["id"]).most_common(1)[0][0]
        raise DataError("the scores name a row twice", found=double, allowed="ids of their own, see prep validate")
    ids: list[str] = []
    strata: list[str] = []
    reasons: list[str] = []
    values: list[float] = []
    lengths: list[int] = []
    for batch in batches(source):
        for row in batch.rows:
            if row.id not in known or known[row.id][2] != fingerprint(row):
                raise DataError(
                    "these scores are of another data set",
                    found=f"{row.id}: {'other words' if row.id in known else 'no score'} in {file}",
                    next_step="score this data set: lhrs-chat score DATA --model M -o scores.parquet",
                )
            score, reason, _ = known[row.id]
            ids.append(row.id)
            strata.append(stratum(row, by))
            reasons.append(reason)
            values.append(float("nan") if score is None else score)
            lengths.append(len(_answer(row)))
    return Scored(ids, strata, np.array(values), reasons, np.array(lengths))


def best(scored: Scored, share: float) -> tuple[np.ndarray, dict[str, float]]:
    """Select the best `share` of each stratum; of equal scores those whose id has the smaller hash.

    Returns:
        Which rows are kept: (N,), bool; and the lowest score that is kept in each stratum.
    """
    ties = np.array([int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big") for name in scored.ids])
    groups = np.array(scored.strata)
    kept = np.zeros(len(scored.ids), dtype=bool)
    lowest = {}
    for name in sorted(set(scored.strata)):
        members = np.flatnonzero((groups == name) & np.isfinite(scored.scores))
        wanted = round(share * int((groups == name).sum()))
        order = members[np.lexsort((ties[members], -scored.scores[members]))][:wanted]
        kept[order] = True
        if len(order):
            lowest[name] = float(scored.scores[order].min())
    return kept, lowest


def drawn(scored: Scored, like: np.ndarray, seed: int) -> np.ndarray:
    """Draw by chance as many rows of each stratum as `like`: (N,), bool, keeps."""
    rng = np.random.default_rng(seed)
    groups = np.array(scored.strata)
    kept = np.zeros(len(scored.ids), dtype=bool)
    for name in sorted(set(scored.strata)):
        members = np.flatnonzero(groups == name)
        kept[rng.choice(members, int(like[members].sum()), replace=False)] = True
    return kept


def curve(scored: Scored) -> list[dict[str, float]]:
    """What other shares would keep: how many rows, the lowest score and the mean of those kept."""
    told = []
    for share in SHARES:
        kept, lowest = best(scored, share)
        scores = scored.scores[kept]
        if len(scores):
            told.append(
                {"share": share, "rows": len(scores), "lowest": min(lowest.values()), "mean": float(scores.mean())}
            )
    return told


def write_arm(
    source: Location,
    out: Location,
    scored: Scored,
    kept: np.ndarray,
    plan: Mapping[str, Any],
    lowest: Mapping[str, float],
) -> dict[str, Any]:
    """Write one arm as a data set; every row that is left out says why."""
    place = {name: number for number, name in enumerate(scored.ids)}

    def judge(row: Sample) -> Sample | str:
        number = place[row.id]
        if kept[number]:
            return row
        if scored.reasons[number]:
            return f"no score: {scored.reasons[number]}"
        if not lowest:
            return "not drawn"
        bound = lowest.get(scored.strata[number])
        said = "nothing is kept" if bound is None else f"the lowest kept is {bound:.6g}"
        return f"score {scored.scores[number]:.6g}; {said} of {scored.strata[number]}"

    return store(out, judged(source, NAME, judge), plan=plan, source=inputs(source), filters=(NAME,))


def select(
    source: Location,
    scores: Mapping[str, Location],
    out: Location,
    share: float,
    by: Sequence[str] = (),
    seed: int = 0,
    tell: str = "",
) -> str:
    """Write the selected rows and the control arms; return the report.

    Args:
        source: the data set.
        scores: files that `lhrs-chat score` wrote: `top`, and controls by name.
        out: the folder to write.
        share: of the rows, that are kept.
        by: what makes the strata, of `STRATA`; none for the whole set.
        seed: of the random arm.
        tell: an entry of `meta`; the report counts what each arm keeps of its values.

    Raises:
        DataError: the scores are not of this data set, or nothing would be kept.
    """
    read = {name: read_scores(source, file, by) for name, file in scores.items()}
    top = read["top"]
    chosen = {name: best(scored, share) for name, scored in read.items()}
    for name, (kept, _) in chosen.items():
        if not kept.any():
            raise DataError(
                "no row would be kept",
                found=f"{share:.4g} of {len(kept)} rows, {int(np.isfinite(read[name].scores).sum())} with a score",
                allowed="a row or more in at least one stratum",
                next_step="raise --top, take fewer strata, or look at the reasons in the file of the scores",
            )
    arms = {name: (read[name], *found) for name, found in chosen.items()}
    arms["random"] = (top, drawn(top, chosen["top"][0], seed), {})
    by_length = replace(top, scores=top.lengths.astype(float))
    arms["longest"] = (by_length, *best(by_length, share))
    for name, (scored, kept, lowest) in arms.items():
        plan = {"verb": NAME, "arm": name, "share": share, "by": list(by), "seed": seed}
        if name in scores:
            plan["scores"] = storage.sha256(scores[name])
        write_arm(source, storage.join(out, name), scored, kept, plan, lowest)
    told = curve(top)
    table = io.StringIO()
    writer = csv.DictWriter(table, ["share", "rows", "lowest", "mean"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(told)
    masks = {name: arm[1] for name, arm in arms.items()}
    report = _report(top, masks, chosen["top"][1], told)
    if tell:
        values = [str(row.meta.get(tell, "-")) for batch in batches(source) for row in batch.rows]
        report += _kept_of(tell, np.array(values), masks)
    for file, text in (("curve.csv", table.getvalue()), ("selection.md", report)):
        with storage.replacing(storage.join(out, file)) as stream:
            stream.write(text.encode())
    return report


def _report(
    top: Scored, arms: Mapping[str, np.ndarray], lowest: Mapping[str, float], told: Sequence[Mapping[str, float]]
) -> str:
    lines = ["# Selection", "", "| arm | rows | mean score | in common with top |", "|---|---:|---:|---:|"]
    for name, kept in arms.items():
        mean = np.nanmean(top.scores[kept]) if np.isfinite(top.scores[kept]).any() else float("nan")
        common = int((kept & arms["top"]).sum())
        lines.append(f"| {name} | {int(kept.sum())} | {mean:.4g} | {common} |")
    missing = int((~np.isfinite(top.scores)).sum())
    bare = sorted(set(top.strata) - set(lowest))
    lines += [
        "",
        f"{len(top.ids)} rows, {missing} of them without a score.",
        "",
        "| stratum | lowest kept |",
        "|---|---:|",
    ]
    lines += [f"| {name} | {value:.4g} |" for name, value in lowest.items()]
    lines += [f"| {name} | nothing is kept of {top.strata.count(name)} |" for name in bare]
    lines += ["", "| share | rows | lowest | mean |", "|---:|---:|---:|---:|"]
    lines += [f"| {row['share']:.0%} | {row['rows']} | {row['lowest']:.4g} | {row['mean']:.4g} |" for row in told]
    return "\n".join(lines) + "\n"


def _kept_of(tell: str, values: np.ndarray, arms: Mapping[str, np.ndarray]) -> str:
    """How many rows with each value of an entry of `meta` the arms keep; `-` where a row has none."""
    lines = ["", f"| {tell} | rows | {' | '.join(arms)} |", f"|---|---:|{'---:|' * len(arms)}"]
    for value in sorted(set(values)):
        cells = (f"{int(kept[values == value].sum())} ({kept[values == value].mean():.0%})" for kept in arms.values())
        lines.append(f"| {value} | {int((values == value).sum())} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def share_of(text: str) -> float:
    """Read `30%` or `0.3`.

    Raises:
        DataError: it is no share.
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = float("nan")
    if not 0 < value <= 1:
        raise DataError("no share of the rows", found=text, allowed="such as 30% or 0.3")
    return value


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--scores", required=True, metavar="F", help="what lhrs-chat score wrote")
    parser.add_argument("--top", default="30%", metavar="P", help="share that is kept (%(default)s)")
    parser.add_argument("--by", default="", metavar="A,B", help=f"keep the share in each stratum: {', '.join(STRATA)}")
    parser.add_argument(
        "--control", action="append", default=[], metavar="NAME=F", help="another arm by these scores, e.g. of a CLIP"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random arm (%(default)s)")
    parser.add_argument("--tell", default="", metavar="NAME", help="count what is kept by this entry of meta")


def _run(args: argparse.Namespace) -> int:
    by = tuple(name for name in args.by.split(",") if name)
    unknown = [name for name in by if name not in STRATA]
    if unknown:
        raise DataError("no such stratum", found=", ".join(unknown), allowed=", ".join(STRATA))
    scores: dict[str, Location] = {"top": args.scores}
    for control in args.control:
        name, equals, file = control.partition("=")
        if not equals or name in (*scores, *CONTROLS) or Path(name).name != name:
            raise DataError(
                "a control is NAME=FILE", found=control, allowed=f"a new name, not top, {', '.join(CONTROLS)}"
            )
        scores[name] = file
    sys.stdout.write(select(args.data, scores, args.out, share_of(args.top), by, args.seed, args.tell))
    return 0


VERB = Verb("keep the rows with the best scores, beside control arms", _add_arguments, _run)
