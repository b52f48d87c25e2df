"""Scores of a run with standard errors clustered by picture, and differences: to the controls, between protocols."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lhrs_chat.metrics.stats import mean_stderr

from .benchmarks import REAL, Benchmark, Protocol, Question
from .conditions import Ask, Exchange, derange, in_order, plan
from .passports import Check, describe
from .records import Key, Record

PARSED = "parsed"
GROUPS = 20
BINS = 10
STRICT = "strict"

Scored = dict[str, dict[str, dict[str, float]]]
"""Metrics by condition, then question id."""
Answered = dict[str, list[Question]]
"""The answered questions of one set and task by condition, as they were asked."""


@dataclass(frozen=True)
class Estimate:
    """A score or a difference; `stderr` is None where it cannot be told from so few pictures."""

    mean: float
    stderr: float | None
    questions: int
    images: int


@dataclass(frozen=True)
class Row:
    """One metric of one set and task. `differences`: real minus a condition, over the questions answered under both."""

    protocol: str
    subset: str
    task: str
    metric: str
    main: bool
    lower_is_better: bool
    conditions: dict[str, Estimate]
    differences: dict[str, Estimate]


def cells_of(questions: Sequence[Question]) -> dict[tuple[str, str], list[Question]]:
    """Questions by set and task, in the order of these."""
    cells: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        cells.setdefault((question.subset, question.task), []).append(question)
    return {key: cells[key] for key in sorted(cells)}


def summarise(
    benchmark: Benchmark,
    questions: Sequence[Question],
    asks: Mapping[Key, Ask],
    records: Mapping[Key, Record],
    header: Mapping[str, Any],
    passport: Check,
) -> dict[str, Any]:
    """Everything that is known of a run, ready for JSON.

    Args:
        benchmark: whose protocols scored the answers.
        questions: all questions of the data.
        asks: how each question was asked, by question id and condition.
        records: scored answers by question id and condition.
        header: what the answers were made with.
        passport: what a look at the data found.
    """
    conditions = in_order({condition for _, condition in records})
    names = [condition.name for condition in conditions]
    rows: list[Row] = []
    classes: list[dict[str, Any]] = []
    overall: list[dict[str, Any]] = []
    cells = cells_of(questions)
    for name, protocol in benchmark.protocols.items():
        mains: dict[str, dict[str, tuple[Answered, Scored]]] = {}
        for (subset, task), cell in cells.items():
            answered = {c: [asks[q.id, c].question for q in cell if (q.id, c) in records] for c in names}
            scored = score_cell(name, protocol, answered, records)
            rows.extend(_mean_rows(protocol, cell[0], answered, scored))
            rows.extend(_whole_rows(protocol, cell[0], answered, scored, records))
            classes.extend(_per_class(protocol, answered, scored))
            mains.setdefault(subset, {})[task] = (answered, scored)
        overall += [found for subset, tasks in mains.items() if (found := _overall(protocol, subset, tasks, names))]
    asked_for = {*benchmark.conditions, *names}
    return {
        "run": dict(header),
        "passport": {"state": passport.state, "label": passport.label, "lines": describe(benchmark)},
        "answers": len(records),
        "expected_answers": len(plan(questions, asked_for, seed=header["seed"])),
        "failures": _failures(records),
        "conditions": names,
        "about": {c.name: c.about for c in conditions},
        "corruptions": {c.name: [c.corruption, c.severity] for c in conditions if c.corruption},
        "seconds": round(sum(record.seconds for record in records.values()), 3),
        "sets": _sets(questions, records, derange(questions, header["seed"])),
        "rows": [asdict(row) for row in rows],
        "overall": overall,
        "protocols": _protocols(benchmark, cells, asks, records),
        "quirks": {protocol.id: list(protocol.quirks) for protocol in benchmark.protocols.values()},
        "calibration": _calibration(benchmark, asks, records),
        "per_class": classes,
    }


def score_cell(name: str, protocol: Protocol, answered: Answered, records: Mapping[Key, Record]) -> Scored:
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


def image_of(question: Question) -> str:
    """The cluster a question belongs to: its pictures."""
    return "\n".join(str(path) for path in question.images)


def estimate(values: Sequence[float], clusters: Sequence[str]) -> Estimate:
    """The mean of values, with its standard error clustered by `clusters`."""
    images = len(set(clusters))
    mean, stderr = mean_stderr(values, clusters)
    told = images > 1 and math.isfinite(stderr)
    return Estimate(float(mean), float(stderr) if told else None, len(values), images)


def _mean_rows(protocol: Protocol, first: Question, answered: Answered, scored: Scored) -> list[Row]:
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
            conditions[condition] = estimate(values, [image_of(q) for q in asked])
            both = [q for q in asked if q.id in scored.get(REAL, {})]
            if condition != REAL and both:
                drops = [scored[REAL][q.id][metric] - scored[condition][q.id][metric] for q in both]
                differences[condition] = estimate(drops, [image_of(q) for q in both])
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


def _whole_rows(
    protocol: Protocol, first: Question, answered: Answered, scored: Scored, records: Mapping[Key, Record]
) -> list[Row]:
    """Rows of the metrics that exist only for a whole set."""

    def texts(condition: str, asked: Sequence[Question]) -> list[str]:
        return [records[q.id, condition].text for q in asked]

    def scores(condition: str, asked: Sequence[Question]) -> list[dict[str, float]]:
        return [scored[condition][q.id] for q in asked]

    rows = []
    if pool := protocol.pooled.get(first.task):
        rows += _pooled_rows(protocol, first, answered, lambda c, asked: pool(asked, texts(c, asked)), GROUPS)
    if once := protocol.once.get(first.task):
        rows += _pooled_rows(protocol, first, answered, lambda c, asked: once(asked, texts(c, asked)), 1)
    if derive := protocol.derived.get(first.task):
        rows += _pooled_rows(protocol, first, answered, lambda c, asked: derive(asked, scores(c, asked)), GROUPS)
    return rows


def _pooled_rows(
    protocol: Protocol,
    first: Question,
    answered: Answered,
    pool: Callable[[str, Sequence[Question]], dict[str, float]],
    groups: int,
) -> list[Row]:
    """Rows of some metrics of a whole set; standard errors by leaving out groups of pictures."""
    known: dict[tuple[str, ...], dict[str, float]] = {}

    def measure(condition: str, asked: Sequence[Question]) -> dict[str, float]:
        key = (condition, *(q.id for q in asked))
        if key not in known:
            known[key] = pool(condition, asked)
        return known[key]

    def against(condition: str, asked: Sequence[Question]) -> dict[str, float]:
        real, control = measure(REAL, asked), measure(condition, asked)
        return {metric: real[metric] - control[metric] for metric in real}

    conditions: dict[str, dict[str, Estimate]] = {}
    differences: dict[str, dict[str, Estimate]] = {}
    for condition, asked in answered.items():
        for metric, estimate in jackknife(partial(measure, condition), asked, groups).items():
            conditions.setdefault(metric, {})[condition] = estimate
        if condition != REAL:
            real = {q.id for q in answered.get(REAL, ())}
            both = [q for q in asked if q.id in real]
            for metric, estimate in jackknife(partial(against, condition), both, groups).items():
                differences.setdefault(metric, {})[condition] = estimate
    return [_row(protocol, first, m, found, differences.get(m, {})) for m, found in conditions.items()]


def jackknife(
    measure: Callable[[Sequence[Question]], dict[str, float]], questions: Sequence[Question], groups: int = GROUPS
) -> dict[str, Estimate]:
    """Measure a set, with standard errors from leaving out one random group of pictures at a time.

    stderr^2 = (G - 1) / G * sum_g (theta_g - mean theta)^2 with G groups, or as many as there are pictures
    (delete-a-group jackknife, Kott 2001). One group gives no standard error.
    """
    if not questions:
        return {}
    images = sorted({image_of(q) for q in questions})
    random.Random(0).shuffle(images)
    groups = min(groups, len(images))
    group_of = {image: place % groups for place, image in enumerate(images)}
    whole = measure(questions)
    if groups < 2:
        return {metric: Estimate(value, None, len(questions), len(images)) for metric, value in whole.items()}
    parts = [measure([q for q in questions if group_of[image_of(q)] != g]) for g in range(groups)]
    found = {}
    for metric, value in whole.items():
        left = np.array([part[metric] for part in parts])
        stderr = math.sqrt((groups - 1) / groups * float(((left - left.mean()) ** 2).sum()))
        found[metric] = Estimate(value, stderr, len(questions), len(images))
    return found


def _overall(
    protocol: Protocol, subset: str, tasks: Mapping[str, tuple[Answered, Scored]], conditions: Sequence[str]
) -> dict[str, Any] | None:
    """Averages over the scored tasks of a set that share one main metric: over all questions, and over tasks."""
    tasks = {task: own for task, own in tasks.items() if task in protocol.main}
    metrics = {protocol.main[task] for task in tasks}
    metric = next(iter(metrics)) if len(metrics) == 1 else None
    if metric is None or len(tasks) < 2:
        return None
    found: dict[str, Any] = {}
    for condition in conditions:
        parts = [
            [(scored[condition][q.id][metric], image_of(q)) for q in answered[condition]]
            for answered, scored in tasks.values()
            if answered[condition] and all(metric in m for m in scored[condition].values())
        ]
        if len(parts) != len(tasks):
            continue
        values = [value for part in parts for value, _ in part]
        clusters = [image for part in parts for _, image in part]
        means = [float(np.mean([value for value, _ in part])) for part in parts]
        mean = float(np.mean(means))
        even = [
            mean + (value - own) * len(values) / (len(parts) * len(part))
            for own, part in zip(means, parts, strict=True)
            for value, _ in part
        ]
        found[condition] = {
            "questions": asdict(estimate(values, clusters)),
            "tasks": asdict(estimate(even, clusters)),
        }
    return {"protocol": protocol.id, "subset": subset, "metric": metric, "conditions": found} if found else None


def _protocols(
    benchmark: Benchmark,
    cells: Mapping[tuple[str, str], Sequence[Question]],
    asks: Mapping[Key, Ask],
    records: Mapping[Key, Record],
) -> list[dict[str, Any]]:
    """Main scores of every protocol on the same answers, and what each gives more than the strict one."""
    found = []
    for (subset, task), cell in cells.items() if len(benchmark.protocols) > 1 else ():
        asked = [asks[q.id, REAL].question for q in cell if (q.id, REAL) in records]
        if not asked:
            continue
        values: dict[str, tuple[str, list[float]]] = {}
        for name, protocol in benchmark.protocols.items():
            metric = protocol.main.get(task, "")
            scored = score_cell(name, protocol, {REAL: asked}, records)[REAL]
            if all(metric in own for own in scored.values()):
                values[name] = (metric, [scored[q.id][metric] for q in asked])
        images = [image_of(q) for q in asked]
        for name, (metric, own) in values.items():
            strict = values.get(STRICT)
            more = None
            if name != STRICT and strict is not None:
                more = asdict(estimate([a - b for a, b in zip(own, strict[1], strict=True)], images))
            found.append(
                {
                    "subset": subset,
                    "task": task,
                    "protocol": benchmark.protocols[name].id,
                    "metric": metric,
                    "score": asdict(estimate(own, images)),
                    "more_than_strict": more,
                }
            )
    return found


def _calibration(benchmark: Benchmark, asks: Mapping[Key, Ask], records: Mapping[Key, Record]) -> list[dict[str, Any]]:
    """How often answers of a confidence are right, for tasks whose main metric is accuracy, on the real pictures.

    `ece`: expected calibration error, the mean distance of confidence and accuracy over bins, weighted by answers
    (Naeini et al., 2015).
    """
    found = []
    for name, protocol in benchmark.protocols.items():
        pairs = []
        for key, record in records.items():
            told = not record.error and record.confidence is not None  # a server may tell no probabilities
            if key[1] == REAL and told and protocol.main.get(asks[key].question.task) == "accuracy":
                pairs.append((record.confidence, record.scores[name]["accuracy"]))
        if not pairs:
            continue
        confidence, right = np.array(pairs).T
        place = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
        bins = []
        for number in range(BINS):
            inside = place == number
            if inside.any():
                bins.append(
                    {
                        "confidence": float(confidence[inside].mean()),
                        "accuracy": float(right[inside].mean()),
                        "answers": int(inside.sum()),
                    }
                )
        error = sum(abs(b["confidence"] - b["accuracy"]) * b["answers"] for b in bins) / len(pairs)
        found.append({"protocol": protocol.id, "answers": len(pairs), "ece": error, "bins": bins})
    return found


def _failures(records: Mapping[Key, Record]) -> list[dict[str, Any]]:
    """Failures by condition and first line of the error, with one question as an example."""
    counts: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    for record in records.values():
        if record.error:
            kind = (record.condition, record.error.split("\n")[0])
            counts[kind] += 1
            example.setdefault(kind, record.id)
    return [
        {"condition": kind[0], "error": kind[1], "questions": count, "example": example[kind]}
        for kind, count in counts.most_common()
    ]


def _per_class(protocol: Protocol, answered: Answered, scored: Scored) -> list[dict[str, Any]]:
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


def _sets(questions: Sequence[Question], records: Mapping[Key, Record], exchange: Exchange) -> list[dict[str, Any]]:
    """What each set is; `exchanged_within_scene`: pictures that are shuffled with one of their own scene."""
    asked = {key[0] for key in records}
    scene_of: dict[tuple[Path, ...], str] = {question.images: question.scene_id for question in questions}
    by_set: dict[str, list[Question]] = {}
    for question in questions:
        by_set.setdefault(question.subset, []).append(question)
    found = []
    for subset in sorted(by_set):
        own = by_set[subset]
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
