"""Scores with standard errors clustered by picture, differences to the controls, and the tables that show them."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lhrs_chat.metrics.stats import mean_stderr

from .benchmarks import REAL, Benchmark, Protocol, Question
from .runner import Key, Record, derange, plan

SCORES = "scores.json"
TABLE = "report.md"
PARSED = "parsed"
GROUPS = 20

Scored = dict[str, dict[str, dict[str, float]]]
"""Metrics by condition, then question id."""


@dataclass(frozen=True)
class Estimate:
    """A score or a difference; `stderr` is None where it cannot be told from so few pictures."""

    mean: float
    stderr: float | None
    questions: int
    images: int


@dataclass(frozen=True)
class Row:
    """One metric of one set and task. `differences`: real minus a control, over the questions answered under both."""

    protocol: str
    subset: str
    task: str
    metric: str
    main: bool
    lower_is_better: bool
    conditions: dict[str, Estimate]
    differences: dict[str, Estimate]


def summarise(
    benchmark: Benchmark, questions: Sequence[Question], records: Mapping[Key, Record], header: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that is known of a run, ready for JSON.

    Args:
        benchmark: whose protocols scored the answers.
        questions: all questions of the data.
        records: answers by question id and condition.
        header: what the answers were made with.
    """
    cells: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        cells.setdefault((question.subset, question.task), []).append(question)
    conditions = [c for c in benchmark.conditions if any(key[1] == c for key in records)]
    rows: list[Row] = []
    classes: list[dict[str, Any]] = []
    for name, protocol in benchmark.protocols.items():
        for cell in (cells[key] for key in sorted(cells)):
            answered = {c: [q for q in cell if (q.id, c) in records] for c in conditions}
            scored = score_cell(name, protocol, answered, records)
            rows.extend(_mean_rows(protocol, cell[0], answered, scored))
            rows.extend(_pooled_rows(protocol, cell[0], answered, records))
            classes.extend(_per_class(protocol, answered, scored))
    return {
        "run": dict(header),
        "answers": len(records),
        "expected_answers": len(plan(questions, benchmark.conditions, seed=header["seed"])),
        "conditions": conditions,
        "seconds": round(sum(record.seconds for record in records.values()), 3),
        "sets": _sets(questions, records, derange(questions, header["seed"])),
        "rows": [asdict(row) for row in rows],
        "per_class": classes,
    }


def score_cell(
    name: str, protocol: Protocol, answered: Mapping[str, Sequence[Question]], records: Mapping[Key, Record]
) -> Scored:
    """Metrics of each question of one set and task, those included that need all answers of the set."""
    values: Scored = {}
    for condition, asked in answered.items():
        values[condition] = {q.id: dict(records[q.id, condition].scores[name]) for q in asked}
        whole = protocol.corpus.get(asked[0].task) if asked else None
        if whole is not None:
            texts = [records[q.id, condition].text for q in asked]
            for question, more in zip(asked, whole(asked, texts), strict=True):
                values[condition][question.id].update(more)
    return values


def _estimate(values: Sequence[float], clusters: Sequence[str]) -> Estimate:
    images = len(set(clusters))
    mean, stderr = mean_stderr(values, clusters)
    told = images > 1 and math.isfinite(stderr)
    return Estimate(float(mean), float(stderr) if told else None, len(values), images)


def _image(question: Question) -> str:
    return "\n".join(str(path) for path in question.images)


def _mean_rows(
    protocol: Protocol, first: Question, answered: Mapping[str, Sequence[Question]], scored: Scored
) -> list[Row]:
    """Rows of the metrics that each question has by itself."""
    metrics: dict[str, None] = {}
    for by_id in scored.values():
        for found in by_id.values():
            metrics.update(dict.fromkeys(found))
    rows = []
    for metric in metrics:
        conditions: dict[str, Estimate] = {}
        differences: dict[str, Estimate] = {}
        for condition, asked in answered.items():
            if not asked:
                continue
            values = [scored[condition][q.id][metric] for q in asked]
            conditions[condition] = _estimate(values, [_image(q) for q in asked])
            both = [q for q in asked if q.id in scored.get(REAL, {})]
            if condition != REAL and both:
                drops = [scored[REAL][q.id][metric] - scored[condition][q.id][metric] for q in both]
                differences[condition] = _estimate(drops, [_image(q) for q in both])
        rows.append(_row(protocol, first, metric, conditions, differences))
    return rows


def _row(
    protocol: Protocol,
    first: Question,
    metric: str,
    conditions: dict[str, Estimate],
    differences: dict[str, Estimate],
) -> Row:
    return Row(
        protocol=protocol.id,
        subset=first.subset,
        task=first.task,
        metric=metric,
        main=protocol.main.get(first.task) == metric,
        lower_is_better=metric in protocol.lower_is_better,
        conditions=conditions,
        differences=differences,
    )


def _pooled_rows(
    protocol: Protocol, first: Question, answered: Mapping[str, Sequence[Question]], records: Mapping[Key, Record]
) -> list[Row]:
    """Rows of the metrics that exist only for a whole set; standard errors by leaving out groups of pictures."""
    pool = protocol.pooled.get(first.task)
    if pool is None:
        return []

    known: dict[tuple[str, ...], dict[str, float]] = {}

    def measure(condition: str, asked: Sequence[Question]) -> dict[str, float]:
        key = (condition, *(q.id for q in asked))
        if key not in known:
            known[key] = pool(asked, [records[q.id, condition].text for q in asked])
        return known[key]

    def against(condition: str, asked: Sequence[Question]) -> dict[str, float]:
        real, control = measure(REAL, asked), measure(condition, asked)
        return {metric: real[metric] - control[metric] for metric in real}

    conditions: dict[str, dict[str, Estimate]] = {}
    differences: dict[str, dict[str, Estimate]] = {}
    for condition, asked in answered.items():
        for metric, estimate in jackknife(partial(measure, condition), asked).items():
            conditions.setdefault(metric, {})[condition] = estimate
        if condition != REAL:
            both = [q for q in asked if (q.id, REAL) in records]
            for metric, estimate in jackknife(partial(against, condition), both).items():
                differences.setdefault(metric, {})[condition] = estimate
    return [_row(protocol, first, m, found, differences.get(m, {})) for m, found in conditions.items()]


def jackknife(
    measure: Callable[[Sequence[Question]], dict[str, float]], questions: Sequence[Question]
) -> dict[str, Estimate]:
    """Measure a set, with standard errors from leaving out one random group of pictures at a time.

    stderr^2 = (G - 1) / G * sum_g (theta_g - mean theta)^2 with G = 20 groups, or as many as there are pictures
    (delete-a-group jackknife, Kott 2001).
    """
    if not questions:
        return {}
    images = sorted({_image(q) for q in questions})
    random.Random(0).shuffle(images)
    groups = min(GROUPS, len(images))
    group_of = {image: place % groups for place, image in enumerate(images)}
    whole = measure(questions)
    if groups < 2:
        return {metric: Estimate(value, None, len(questions), len(images)) for metric, value in whole.items()}
    parts = [measure([q for q in questions if group_of[_image(q)] != g]) for g in range(groups)]
    found = {}
    for metric, value in whole.items():
        left = np.array([part[metric] for part in parts])
        stderr = math.sqrt((groups - 1) / groups * float(((left - left.mean()) ** 2).sum()))
        found[metric] = Estimate(value, stderr, len(questions), len(images))
    return found


def _per_class(protocol: Protocol, answered: Mapping[str, Sequence[Question]], scored: Scored) -> list[dict[str, Any]]:
    """Accuracy of each true answer, for tasks that are scored by accuracy."""
    found = []
    for condition, asked in answered.items():
        if not asked or protocol.main.get(asked[0].task) != "accuracy":
            continue
        hits: dict[str, list[float]] = {}
        for question in asked:
            hits.setdefault(question.targets.answer or "", []).append(scored[condition][question.id]["accuracy"])
        found.append(
            {
                "protocol": protocol.id,
                "subset": asked[0].subset,
                "task": asked[0].task,
                "condition": condition,
                "classes": {
                    name: {"accuracy": sum(hits[name]) / len(hits[name]), "questions": len(hits[name])}
                    for name in sorted(hits)
                },
            }
        )
    return found


def _sets(
    questions: Sequence[Question],
    records: Mapping[Key, Record],
    exchange: Mapping[tuple[Path, ...], tuple[Path, ...]],
) -> list[dict[str, Any]]:
    """What each set is; `exchanged_within_scene`: pictures that are shuffled with one of their own scene."""
    asked = {key[0] for key in records}
    scene_of = {question.images: question.scene_id for question in questions}
    found = []
    for subset in sorted({question.subset for question in questions}):
        own = [question for question in questions if question.subset == subset]
        pictures = {question.images for question in own}
        within = [p for p in pictures if p in exchange and scene_of[exchange[p]] == scene_of[p]]
        found.append(
            {
                "set": subset,
                "questions": len(own),
                "asked": sum(question.id in asked for question in own),
                "images": len(pictures),
                "scenes": len({question.scene_id for question in own}),
                "exchanged_within_scene": len(within),
                "licences": sorted({question.licence for question in own}),
            }
        )
    return found


def markdown(summary: Mapping[str, Any]) -> str:
    """The tables of a run: where it comes from, the main scores, and all metrics."""
    run = summary["run"]
    controls = [c for c in summary["conditions"] if c != REAL]
    lines = [
        f"# {run['benchmark']}: {run['model']}",
        "",
        f"Protocol {', '.join(run['protocols'].values())}; "
        f"{summary['answers']} of {summary['expected_answers']} answers; data {run['data_sha256'][:12]}, "
        f"weights {run['weights_sha256'][:12]}, seed {run['seed']}, version {run['version']}.",
        "Standard errors are clustered by picture. `real` shows the picture of the question, `blind` none, `shuffled` "
        "another picture of the same set.",
        "",
        "| set | scenes | pictures | questions | asked | shuffled within a scene | terms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for own in summary["sets"]:
        counts = [own[key] for key in ("scenes", "images", "questions", "asked", "exchanged_within_scene")]
        lines.append(_line([own["set"], *counts, "; ".join(own["licences"])]))
    heads = ["set", "task", "metric", "questions", "pictures", *summary["conditions"]]
    heads += [f"{REAL} - {control}" for control in controls] + ["read"]
    for title, main in (("## Main scores", True), ("## All other metrics", False)):
        lines += ["", title, "", _line(heads), _line(["---"] * len(heads))]
        for row in summary["rows"]:
            if row["main"] == main and row["metric"] != PARSED:
                lines.append(_line(_cells(row, summary, controls)))
    lines += ["", "`read`: share of the answers to the real picture that the parser could read. Metrics that are "]
    lines[-1] += "errors are marked (lower is better); their differences are negative where the picture helps."
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _cells(row: Mapping[str, Any], summary: Mapping[str, Any], controls: Sequence[str]) -> list[object]:
    estimates = row["conditions"]
    first = estimates.get(REAL) or next(iter(estimates.values()))
    name = row["metric"] + (" (lower is better)" if row["lower_is_better"] else "")
    cells: list[object] = [row["subset"], row["task"], name, first["questions"], first["images"]]
    cells += [_show(estimates.get(condition)) for condition in summary["conditions"]]
    cells += [_show(row["differences"].get(control), "+") for control in controls]
    read = [
        other["conditions"].get(REAL)
        for other in summary["rows"]
        if other["metric"] == PARSED and all(other[k] == row[k] for k in ("protocol", "subset", "task"))
    ]
    return [*cells, f"{read[0]['mean']:.0%}" if read and read[0] else "-"]


def _show(estimate: Mapping[str, Any] | None, sign: str = "") -> str:
    if estimate is None:
        return "-"
    digits = 1 if abs(estimate["mean"]) >= 10 else 3
    stderr = "" if estimate["stderr"] is None else f" ± {estimate['stderr']:.{digits}f}"
    return f"{estimate['mean']:{sign}.{digits}f}{stderr}"


def write(folder: Path, summary: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write `scores.json` and `report.md`, each as a whole or not at all."""
    texts = {SCORES: json.dumps(summary, indent=1, allow_nan=False) + "\n", TABLE: markdown(summary)}
    for name, text in texts.items():
        half = folder / f".{name}.half"
        half.write_text(text, encoding="utf-8")
        os.replace(half, folder / name)
    return folder / SCORES, folder / TABLE
