"""Estimates with standard errors clustered by picture, and the scores of one set and task they are made from."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lhrs_chat.metrics.stats import mean_stderr

from .benchmarks import Protocol, Question
from .records import Key, Record

GROUPS = 20

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
