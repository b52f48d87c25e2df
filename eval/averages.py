"""Averages: over the tasks of a set, over sets, and differences between sets that ask the same questions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from .benchmarks import REAL, Benchmark, Protocol, Question
from .conditions import Ask
from .estimates import Answered, Estimate, Row, Scored, estimate, image_of, score_cell
from .records import Key, Record

PARSED = "parsed"
ALL_TASKS, ALL_SETS = "all tasks", "all sets"


def of_set(
    protocol: Protocol, subset: str, tasks: Mapping[str, tuple[Answered, Scored]], conditions: Sequence[str]
) -> list[dict[str, Any]]:
    """Averages over tasks of a set: over all questions, and over tasks, each task counting the same.

    They are taken over each group of tasks that the protocol names, for every metric that these tasks share; where it
    names none, over all scored tasks, if these share their main metric.
    """
    if not protocol.averages:
        scored = {task: own for task, own in tasks.items() if task in protocol.main}
        metrics = {protocol.main[task] for task in scored}
        return _rows(protocol, subset, ALL_TASKS, scored, list(metrics), conditions) if len(metrics) == 1 else []
    found = []
    for name, wanted in protocol.averages.items():
        own = {task: tasks[task] for task in wanted if task in tasks}
        found += _rows(protocol, subset, name, own, _shared(own), conditions)
    return found


def _shared(tasks: Mapping[str, tuple[Answered, Scored]]) -> list[str]:
    """The metrics that every question of these tasks has."""
    questions = [own for _, scored in tasks.values() for by_id in scored.values() for own in by_id.values()]
    return [metric for metric in (questions[0] if questions else ()) if all(metric in own for own in questions)]


def _rows(
    protocol: Protocol,
    subset: str,
    name: str,
    tasks: Mapping[str, tuple[Answered, Scored]],
    metrics: Sequence[str],
    conditions: Sequence[str],
) -> list[dict[str, Any]]:
    found = []
    for metric in metrics if len(tasks) > 1 else ():
        means = {c: own for c in conditions if (own := _mean(tasks, metric, c))}
        if metric != PARSED and means:
            lower = metric in protocol.lower_is_better
            row = {"protocol": protocol.id, "subset": subset, "task": name, "metric": metric, "lower_is_better": lower}
            found.append({**row, "conditions": means})
    return found


def _mean(tasks: Mapping[str, tuple[Answered, Scored]], metric: str, condition: str) -> dict[str, Any]:
    """Both averages under one condition; none where a task was not asked or has no such metric."""
    parts = [
        [(scored[condition][q.id][metric], image_of(q)) for q in answered[condition]]
        for answered, scored in tasks.values()
        if answered[condition] and all(metric in own for own in scored[condition].values())
    ]
    if len(parts) != len(tasks):
        return {}
    values = [value for part in parts for value, _ in part]
    clusters = [image for part in parts for _, image in part]
    means = [float(np.mean([value for value, _ in part])) for part in parts]
    mean = float(np.mean(means))
    even = [
        mean + (value - own) * len(values) / (len(parts) * len(part))
        for own, part in zip(means, parts, strict=True)
        for value, _ in part
    ]
    return {"questions": asdict(estimate(values, clusters)), "tasks": asdict(estimate(even, clusters))}


def of_sets(protocol: Protocol, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Main scores averaged over sets of other pictures, each set counting the same: stderr^2 = sum stderr_i^2 / n^2.

    Only for tasks that the protocol names, and under conditions that all sets were asked under.
    """
    found = []
    for task in protocol.over_sets:
        own = [row for row in rows if row.protocol == protocol.id and row.task == task and row.main]
        means = {}
        for condition in own[0].conditions if len(own) > 1 else ():
            parts = [row.conditions[condition] for row in own if condition in row.conditions]
            if len(parts) == len(own):
                means[condition] = {"sets": asdict(_mean_of(parts))}
        if means:
            first = {"protocol": protocol.id, "subset": ALL_SETS, "task": task, "metric": own[0].metric}
            found.append({**first, "lower_is_better": own[0].lower_is_better, "conditions": means})
    return found


def _mean_of(parts: Sequence[Estimate]) -> Estimate:
    errors = [part.stderr for part in parts if part.stderr is not None]
    stderr = math.sqrt(sum(error**2 for error in errors)) / len(parts) if len(errors) == len(parts) else None
    mean = float(np.mean([part.mean for part in parts]))
    return Estimate(mean, stderr, sum(part.questions for part in parts), sum(part.images for part in parts))


def between_sets(
    benchmark: Benchmark,
    cells: Mapping[tuple[str, str], Sequence[Question]],
    asks: Mapping[Key, Ask],
    records: Mapping[Key, Record],
) -> list[dict[str, Any]]:
    """The reference set minus each other one, by main metric, over the questions whose versions both were asked."""
    found: list[dict[str, Any]] = []
    for name, protocol in benchmark.protocols.items():
        for (subset, task), cell in cells.items():
            metric, first = protocol.main.get(task), cells.get((benchmark.reference, task))
            if metric is None or first is None or subset == benchmark.reference:
                continue
            one, other = _answered(first, asks, records), _answered(cell, asks, records)
            pairs = [(one[same], other[same]) for same in one if same in other]
            images = [image_of(question) for question, _ in pairs]
            means = []
            for asked in zip(*pairs, strict=True):
                scored = score_cell(name, protocol, {REAL: list(asked)}, records)[REAL]
                means.append([scored[q.id][metric] for q in asked if metric in scored[q.id]])
            if not pairs or any(len(values) != len(pairs) for values in means):
                continue
            drops = [a - b for a, b in zip(*means, strict=True)]
            found.append(
                {
                    "protocol": protocol.id,
                    "task": task,
                    "metric": metric,
                    "lower_is_better": metric in protocol.lower_is_better,
                    "reference": benchmark.reference,
                    "subset": subset,
                    "scores": [asdict(estimate(values, images)) for values in means],
                    "difference": asdict(estimate(drops, images)),
                }
            )
    return found


def _answered(cell: Sequence[Question], asks: Mapping[Key, Ask], records: Mapping[Key, Record]) -> dict[str, Question]:
    """The questions that were answered about the real picture, by what their versions share."""
    return {q.same_as: asks[q.id, REAL].question for q in cell if q.same_as and (q.id, REAL) in records}
