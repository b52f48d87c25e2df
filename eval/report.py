"""The tables of a run in Markdown, and the files that hold them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .averages import PARSED
from .benchmarks import REAL
from .plots import SMALLEST_REAL, left, mean_left

SCORES = "scores.json"
TABLE = "report.md"
OVER = ("questions", "tasks", "sets")
"""What an average may be taken over."""
MAX_ERROR_CHARS = 160

Summary = Mapping[str, Any]


def markdown(summary: Summary) -> str:
    """All tables of a run."""
    shown = [c for c in summary["conditions"] if c not in summary["corruptions"]]
    lines = [
        *_head(summary),
        *_failures(summary),
        *_sets(summary),
        *_scores(summary, shown, "## Main scores", main=True),
        *_judge(summary),
        *_overall(summary, shown),
        *_between_sets(summary),
        *_protocols(summary),
        *_corruptions(summary),
        *_scores(summary, shown, "## All other metrics", main=False),
        "",
        "`read`: share of the answers to the real picture that the parser could read. Metrics that are errors are "
        "marked (lower is better); their differences are negative where the picture helps.",
        *_calibration(summary),
        "",
        "## Passport",
        "",
        *(f"- {line}" for line in summary["passport"]["lines"]),
    ]
    return "\n".join(lines) + "\n"


def label(summary: Summary) -> str:
    """What stands over every table of a run that is not about the published data, else an empty string."""
    passport = summary["passport"]
    return "" if passport["state"] == "as published" else f"{passport['label'][0].upper()}{passport['label'][1:]}."


def _head(summary: Summary) -> list[str]:
    run = summary["run"]
    lines = [f"# {run['benchmark']}: {run['model']}", ""]
    if summary["passport"]["state"] == "altered copy":
        lines += [f"**{label(summary)}**", ""]
    lines += [
        f"Protocol {', '.join(run['protocols'].values())}; "
        f"{summary['answers']} of {summary['expected_answers']} answers; data {run['data_sha256'][:12]} "
        f"({summary['passport']['state']}), weights {run['weights_sha256'][:12]}, seed {run['seed']}, "
        f"version {run['version']}.",
        "Standard errors (±) are clustered by picture. "
        + " ".join(f"`{c}`: {summary['about'][c]}." for c in summary["conditions"] if c not in summary["corruptions"]),
    ]
    return lines


def _failures(summary: Summary) -> list[str]:
    if not summary["failures"]:
        return []
    lines = ["", "## Questions without an answer", "", "They are scored as blank answers.", ""]
    lines += [line(["condition", "questions", "error", "e.g."]), line(["---"] * 4)]
    for failure in summary["failures"]:
        lines.append(
            line([failure["condition"], failure["questions"], failure["error"][:MAX_ERROR_CHARS], failure["example"]])
        )
    return lines


def _sets(summary: Summary) -> list[str]:
    heads = ["set", "scenes", "pictures", "questions", "asked", "shuffled within a scene", "terms"]
    lines = ["", line(heads), line(["---"] * len(heads))]
    for own in summary["sets"]:
        counts = [own[key] for key in ("scenes", "images", "questions", "asked", "exchanged_within_scene")]
        lines.append(line([own["set"], *counts, "; ".join(own["licences"])]))
    return lines


def _scores(summary: Summary, shown: Sequence[str], title: str, *, main: bool) -> list[str]:
    controls = [c for c in shown if c != REAL]
    heads = ["protocol", "set", "task", "metric", "questions", "pictures", *shown]
    heads += [f"{REAL} - {control}" for control in controls] + ["read"]
    lines = ["", title, "", line(heads), line(["---"] * len(heads))]
    for row in summary["rows"]:
        if row["main"] == main and row["metric"] != PARSED:
            lines.append(line(_cells(row, summary, shown)))
    return lines


def _cells(row: Mapping[str, Any], summary: Summary, shown: Sequence[str]) -> list[object]:
    estimates = row["conditions"]
    first = estimates.get(REAL) or next(iter(estimates.values()))
    cells: list[object] = [row["protocol"], row["subset"], row["task"], metric_name(row)]
    cells += [first["questions"], first["images"]]
    cells += [show(estimates.get(condition)) for condition in shown]
    cells += [show(row["differences"].get(condition), "+") for condition in shown if condition != REAL]
    read = [
        other["conditions"].get(REAL)
        for other in summary["rows"]
        if other["metric"] == PARSED and all(other[k] == row[k] for k in ("protocol", "subset", "task"))
    ]
    return [*cells, f"{read[0]['mean']:.0%}" if read and read[0] else "-"]


def metric_name(row: Mapping[str, Any]) -> str:
    """The metric, marked where it is an error."""
    return str(row["metric"]) + (" (lower is better)" if row["lower_is_better"] else "")


def _judge(summary: Summary) -> list[str]:
    """What a judge made of free-text answers, beside the rule-based score."""
    found = summary.get("judge")
    if found is None:
        return []
    lines = [
        *("", "## Free text, judged by a model", ""),
        "The judge saw the question, what is true and the answer to the real picture, and said yes or no. No other "
        "table depends on it. Blank answers are not shown to it; they and unreadable judgements count as not right. "
        "Agreement and Cohen's kappa with the rule-based verdict are over the readable judgements (compared).",
        "",
    ]
    heads = ["protocol", "set", "task", "metric", "score", "judged right", "questions", "blank", "unreadable"]
    heads += ["compared", "agreement", "kappa", "judge"]
    lines += [line(heads), line(["---"] * len(heads))]
    judge = f"{found['model']}, weights {found['weights_sha256'][:12]}, prompt {found['prompt_sha256'][:12]}"
    for row in found["rows"]:
        cells = [row["protocol"], row["subset"], row["task"], row["metric"], show(row["score"]), show(row["judged"])]
        cells += [row[count] for count in ("questions", "blank", "unreadable", "compared")]
        lines.append(line([*cells, show(row["agreement"]), show(row["kappa"]), judge]))
    return lines


def _overall(summary: Summary, shown: Sequence[str]) -> list[str]:
    if not summary["overall"]:
        return []
    about = "Over all questions; over tasks, or over sets, each counting the same."
    lines = ["", "## Averages", "", about, ""]
    heads = ["protocol", "set", "tasks", "metric", "average over", *shown]
    lines += [line(heads), line(["---"] * len(heads))]
    for row in summary["overall"]:
        for over in OVER:
            found = [row["conditions"].get(c, {}).get(over) for c in shown]
            if any(found):
                cells = [row["protocol"], row["subset"], row["task"], metric_name(row), over]
                lines.append(line([*cells, *(show(each) for each in found)]))
    return lines


def _between_sets(summary: Summary) -> list[str]:
    """What a set with versions of the same questions changes, e.g. without a second picture."""
    if not summary["between_sets"]:
        return []
    heads = ["protocol", "task", "metric", "set", "against", "questions", "pictures", "scores", "difference"]
    lines = ["", "## Differences between sets", "", "Paired: the same questions, asked as both sets ask them.", ""]
    lines += [line(heads), line(["---"] * len(heads))]
    for row in summary["between_sets"]:
        cells = [row["protocol"], row["task"], metric_name(row), row["reference"], row["subset"]]
        cells += [row["difference"]["questions"], row["difference"]["images"]]
        scores = " and ".join(show(score) for score in row["scores"])
        lines.append(line([*cells, scores, show(row["difference"], "+")]))
    return lines


def _protocols(summary: Summary) -> list[str]:
    if not summary["protocols"]:
        return []
    heads = ["set", "task", "protocol", "metric", "questions", "score", "more than strict"]
    lines = ["", "## The same answers under each protocol", "", line(heads), line(["---"] * len(heads))]
    for row in summary["protocols"]:
        cells = [row["subset"], row["task"], row["protocol"], row["metric"], row["score"]["questions"]]
        lines.append(line([*cells, show(row["score"]), show(row["more_than_strict"], "+")]))
    for protocol, quirks in summary["quirks"].items():
        if quirks:
            lines += ["", f"What `{protocol}` does that one would not expect:", ""]
            lines += [f"- {sentence}" for sentence in quirks]
    return lines


def _corruptions(summary: Summary) -> list[str]:
    """Main scores by corruption and severity, as drops from the real picture."""
    names = list(dict.fromkeys(name for name, _ in summary["corruptions"].values()))
    if not names:
        return []
    severities = sorted({severity for _, severity in summary["corruptions"].values()})
    lines = ["", "## Corrupted pictures", ""]
    if parts := left(summary):
        about = (
            f"What is left of the score, mean over the tasks that score {SMALLEST_REAL} or more on the real picture:"
        )
        heads = ["corruption", "tasks", *(f"left at {s}" for s in severities)]
        lines += [about, "", line(heads), line(["---"] * len(heads))]
        for name, tasks in parts.items():
            mean = {severity: f"{share:.0%} ± {stderr:.0%}" for severity, share, stderr in mean_left(tasks)}
            lines.append(line([name, len(tasks), *(mean.get(severity, "-") for severity in severities)]))
        lines.append("")
    heads = ["protocol", "set", "task", "metric", "corruption", REAL, *(f"drop at {s}" for s in severities)]
    lines += ["Drops are paired: real minus corrupted, over the same questions.", ""]
    lines += [line(heads), line(["---"] * len(heads))]
    for row in summary["rows"]:
        for name in names if row["main"] else ():
            drops = [row["differences"].get(f"{name}:{severity}") for severity in severities]
            if any(drops):
                cells = [row["protocol"], row["subset"], row["task"], metric_name(row), name]
                lines.append(line([*cells, show(row["conditions"].get(REAL)), *(show(drop, "+") for drop in drops)]))
    return lines


def _calibration(summary: Summary) -> list[str]:
    return [
        f"\nCalibration under {found['protocol']}: the expected calibration error of the model's confidence over "
        f"{found['answers']} answers scored by accuracy is {found['ece']:.3f}."
        for found in summary["calibration"]
    ]


def line(cells: Sequence[object]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def show(estimate: Mapping[str, Any] | None, sign: str = "") -> str:
    """A score with its standard error, or a dash."""
    if estimate is None:
        return "-"
    digits = 1 if abs(estimate["mean"]) >= 10 else 3
    stderr = "" if estimate["stderr"] is None else f" ± {estimate['stderr']:.{digits}f}"
    return f"{estimate['mean']:{sign}.{digits}f}{stderr}"


def write_whole(path: Path, text: str) -> Path:
    """Write a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    half.write_text(text, encoding="utf-8")
    os.replace(half, path)
    return path


def write(folder: Path, summary: Summary) -> tuple[Path, Path]:
    """Write `scores.json` and `report.md`."""
    scores = write_whole(folder / SCORES, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    return scores, write_whole(folder / TABLE, markdown(summary))
