"""Scores of a run with standard errors clustered by picture, and differences: to the controls, between protocols."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import averages
from .benchmarks import REAL, Benchmark, Protocol, Question
from .conditions import Ask, Exchange, derange, in_order, plan
from .estimates import GROUPS, Answered, Estimate, Row, Scored, cells_of, estimate, image_of, jackknife, score_cell
from .passports import Check, describe
from .records import Key, Record

BINS = 10
STRICT = "strict"


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
        for subset, tasks in mains.items():
            overall += averages.of_set(protocol, subset, tasks, names)
        overall += averages.of_sets(protocol, rows)
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
        "between_sets": averages.between_sets(benchmark, cells, asks, records),
        "protocols": _protocols(benchmark, cells, asks, records),
        "quirks": {protocol.id: list(protocol.quirks) for protocol in benchmark.protocols.values()},
        "calibration": _calibration(benchmark, asks, records),
        "per_class": classes,
    }


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
        for metric, found in jackknife(partial(measure, condition), asked, groups).items():
            conditions.setdefault(metric, {})[condition] = found
        if condition != REAL:
            real = {q.id for q in answered.get(REAL, ())}
            both = [q for q in asked if q.id in real]
            for metric, found in jackknife(partial(against, condition), both, groups).items():
                differences.setdefault(metric, {})[condition] = found
    return [_row(protocol, first, m, found, differences.get(m, {})) for m, found in conditions.items()]


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
