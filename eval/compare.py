"""Runs against each other, question by question: differences with their errors, and how many are chance.

A method that was trained several times has a run for each training. Its score on a question is the mean over them, and
what the differences are from one training to the next stands beside the interval, which is that of the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from statistics import NormalDist
from typing import Any

from lhrs_chat.errors import DataError
from lhrs_chat.metrics.stats import detectable_difference, holm, mcnemar, mean_stderr, paired_bootstrap

from .benchmarks import REAL, Protocol, Question
from .estimates import cells_of, image_of, jackknife, score_cell
from .report import line
from .runs import ScoredRun

LEVEL = 0.95
Trainings = Sequence[ScoredRun]
"""Runs of one method, a run for each time that it was trained."""


@dataclass(frozen=True)
class Difference:
    """Two runs on one set and task by its main metric: `first` minus `second`, over questions both were asked.

    Args:
        protocol: id of the protocol.
        subset: the set.
        task: the task.
        metric: its main metric.
        first: name of one run.
        second: name of the other.
        questions: answered in both runs.
        left_out: answered in one of them only.
        images: pictures of those questions.
        scores: of the first and of the second.
        difference: of the scores.
        low: end of its 95 % interval, pictures drawn together.
        high: other end.
        p_value: two-sided, of the same draws.
        p_mcnemar: exact, where the metric is 0 or 1; it takes the questions as independent.
        detectable: smallest true difference that would be found four times in five.
        by_training: the difference of the first trainings, of the second ones and so on, where there are several.
        p_holm: `p_value`, corrected for all comparisons of its protocol.
    """

    protocol: str
    subset: str
    task: str
    metric: str
    first: str
    second: str
    questions: int
    left_out: int
    images: int
    scores: tuple[float, float]
    difference: float
    low: float
    high: float
    p_value: float
    p_mcnemar: float | None
    detectable: float | None
    by_training: tuple[float, ...] = ()
    p_holm: float = math.nan


def compare(runs: Mapping[str, Trainings], condition: str) -> list[Difference]:
    """Compare every two runs on every set and task under every protocol.

    Args:
        runs: two methods or more, by the name that stands in the table; all of the same data.
        condition: under which the questions were asked.

    Raises:
        DataError: fewer than two runs, other seeds, or nothing was asked in two of them.
    """
    if len(runs) < 2:
        raise DataError("a comparison needs two runs", found=len(runs), next_step="give two folders with other models")
    seeds = {run.header["seed"] for trained in runs.values() for run in trained}
    if condition != REAL and len(seeds) > 1:
        raise DataError(f"runs of other seeds were not shown the same under {condition!r}", found=sorted(seeds))
    data = next(iter(runs.values()))[0].data
    found: list[Difference] = []
    for name, protocol in data.benchmark.protocols.items():
        own: list[Difference] = []
        for cell in cells_of(data.questions).values():
            for pair in combinations(runs, 2):
                own += _cell(name, protocol, cell, pair, (runs[pair[0]], runs[pair[1]]), condition)
        adjusted = holm([difference.p_value for difference in own])
        found += [replace(difference, p_holm=float(p)) for difference, p in zip(own, adjusted, strict=True)]
    if not found:
        raise DataError(f"no question was asked under {condition!r} in two runs", found=", ".join(runs))
    return found


def _cell(
    name: str,
    protocol: Protocol,
    cell: Sequence[Question],
    names: tuple[str, str],
    pair: tuple[Trainings, Trainings],
    condition: str,
) -> list[Difference]:
    metric = protocol.main.get(cell[0].task)
    answered = [{q.id for q in cell if all((q.id, condition) in run.records for run in trained)} for trained in pair]
    both = answered[0] & answered[1]
    if metric is None or not both:
        return []
    asked = [pair[0][0].asks[q.id, condition].question for q in cell if q.id in both]
    images = [image_of(question) for question in asked]
    scored = [
        [score_cell(name, protocol, {condition: asked}, run.records)[condition] for run in trained] for trained in pair
    ]
    left_out = len(answered[0] ^ answered[1])
    make = partial(
        Difference, protocol.id, cell[0].subset, cell[0].task, metric, *names, len(asked), left_out, len(set(images))
    )
    if any(metric not in values for trained in scored for own in trained for values in own.values()):
        return _pooled(protocol, asked, pair, condition, make)
    ones, others = (
        [sum(own[question.id][metric] for own in trained) / len(trained) for question in asked] for trained in scored
    )
    single = [[sum(own[question.id][metric] for question in asked) / len(asked) for own in one] for one in scored]
    found = paired_bootstrap(ones, others, images, level=LEVEL)
    stderr = mean_stderr([a - b for a, b in zip(ones, others, strict=True)], images).stderr
    exact = None
    if {*ones, *others} <= {0.0, 1.0}:
        exact = mcnemar([value == 1.0 for value in ones], [value == 1.0 for value in others])
    means = (sum(ones) / len(ones), sum(others) / len(others))
    detectable = detectable_difference(stderr) if math.isfinite(stderr) else None
    return [make(means, *found, exact, detectable, _by_training(*single))]


def _by_training(ones: Sequence[float], others: Sequence[float]) -> tuple[float, ...]:
    """The difference of every training of two methods that were trained equally often, more than once."""
    return tuple(a - b for a, b in zip(ones, others, strict=True)) if len(ones) == len(others) > 1 else ()


def _pooled(
    protocol: Protocol,
    asked: Sequence[Question],
    pair: tuple[Trainings, Trainings],
    condition: str,
    make: Callable[..., Difference],
) -> list[Difference]:
    """A metric that exists only for a whole set: its difference with the error of the jackknife, taken as normal."""
    metric = protocol.main[asked[0].task]
    pool = protocol.pooled.get(asked[0].task)
    if pool is None:
        return []

    def measure_each(trained: Trainings, questions: Sequence[Question]) -> list[float]:
        return [pool(questions, [run.records[q.id, condition].text for q in questions])[metric] for run in trained]

    def measure(trained: Trainings, questions: Sequence[Question]) -> float:
        return sum(measure_each(trained, questions)) / len(trained)

    def gap(questions: Sequence[Question]) -> dict[str, float]:
        return {metric: measure(pair[0], questions) - measure(pair[1], questions)}

    estimate = jackknife(gap, asked)[metric]
    if estimate.stderr is None:
        return []
    normal = NormalDist()
    reach = normal.inv_cdf(0.5 + LEVEL / 2) * estimate.stderr
    p_value = 1.0
    if estimate.mean:
        p_value = 2 * normal.cdf(-abs(estimate.mean) / estimate.stderr) if estimate.stderr else 0.0
    scores = (measure(pair[0], asked), measure(pair[1], asked))
    ends = (estimate.mean - reach, estimate.mean + reach)
    by_training = _by_training(*(measure_each(trained, asked) for trained in pair))
    return [make(scores, estimate.mean, *ends, p_value, None, detectable_difference(estimate.stderr), by_training)]


def names_of(methods: Sequence[Trainings]) -> dict[str, Trainings]:
    """Runs by their model, by model and folder where two are of one model; several of a method by all their names.

    Raises:
        DataError: a folder is named twice.
    """
    folders = [run.folder for trained in methods for run in trained]
    if len(set(folders)) < len(folders):
        raise DataError("one folder is named twice", found=", ".join(map(str, folders)))
    models = [run.model for trained in methods for run in trained]

    def name(run: ScoredRun) -> str:
        return run.model if models.count(run.model) == 1 else f"{run.model} ({run.folder})"

    return {", ".join(map(name, trained)): trained for trained in methods}


def markdown(differences: Sequence[Difference], runs: Mapping[str, Trainings], condition: str) -> str:
    """The table of all comparisons."""
    first = next(iter(runs.values()))[0]
    several = any(difference.by_training for difference in differences)
    heads = ["protocol", "set", "task", "metric", "first", "second", "questions", "pictures", "first scores"]
    heads += ["second scores", "difference [95 %]", "p", "p (Holm)", "p (McNemar)", "detectable"]
    heads += ["by training"] if several else []
    lines = [f"# {first.data.benchmark.name}: {', '.join(runs)}", ""]
    if first.data.check.state == "altered copy":
        lines += [f"**{first.data.check.label[0].upper()}{first.data.check.label[1:]}.**", ""]
    lines += [
        f"Condition `{condition}`; data {first.header['data_sha256'][:12]} ({first.data.check.state}). "
        + " ".join(
            f"{name}: weights {', '.join(run.header['weights_sha256'][:12] for run in trained)}."
            for name, trained in runs.items()
        ),
        "Paired over the questions that both answered. Intervals and p from 2,000 draws of whole pictures; Holm over "
        f"the comparisons of a protocol ({max(_counts(differences))} at most); McNemar is exact and takes questions as "
        "independent; `detectable`: the smallest true difference that 80 % of such comparisons would find.",
        "",
        line(heads),
        line(["---"] * len(heads)),
    ]
    for d in differences:
        cells: list[object] = [d.protocol, d.subset, d.task, d.metric, d.first, d.second, d.questions, d.images]
        cells += [f"{d.scores[0]:.3f}", f"{d.scores[1]:.3f}", f"{d.difference:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"]
        cells += [_p(d.p_value), _p(d.p_holm), _p(d.p_mcnemar), "-" if d.detectable is None else f"{d.detectable:.3f}"]
        cells += [", ".join(f"{gap:+.3f}" for gap in d.by_training) or "-"] if several else []
        lines.append(line(cells))
    left_out = sum(d.left_out for d in differences)
    if left_out:
        lines += ["", f"{left_out} answers have no partner in the other run and are not compared."]
    few = {d.subset for d in differences if d.images < 30}
    if few:
        lines += ["", f"Fewer than 30 pictures, so that intervals are too narrow: {', '.join(sorted(few))}."]
    return "\n".join(lines) + "\n"


def _counts(differences: Sequence[Difference]) -> list[int]:
    protocols = [d.protocol for d in differences]
    return [protocols.count(protocol) for protocol in set(protocols)]


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def rows(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """The comparisons, ready for JSON."""
    return [asdict(difference) for difference in differences]
