"""LHRS-Bench asked once for every rotation of the options: right only where all rotations are answered right.

A model that prefers one letter, whatever stands behind it, gains nothing here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import Benchmark, Protocol, Question, lhrs_bench
from ._scoring import lettered, parse_choice, reply_of, score_accuracy


def load(folder: Path) -> list[Question]:
    """All questions of LHRS-Bench, each as often as it has options.

    Raises:
        DataError: as in `lhrs_bench.load`.
    """
    return [turned for question in lhrs_bench.load(folder) for turned in rotations(question)]


def rotations(question: Question) -> list[Question]:
    """The question with its options moved on by 0, 1, ... places; the letters stay in order."""
    options = question.targets.choices
    texts = [option[3:] for option in options]
    right = options.index(question.targets.answer or "")
    head = question.text.split("\nChoices: ", 1)[0]
    found = []
    for step in range(len(options)):
        moved = lettered(texts[step:] + texts[:step])
        answer = moved[(right - step) % len(options)]
        found.append(
            replace(
                question,
                id=f"{question.id}@{step}",
                text=f"{head}\nChoices: {' '.join(moved)}{lhrs_bench.INSTRUCTION}",
                targets=replace(question.targets, answer=answer, choices=moved),
            )
        )
    return found


def all_right(questions: Sequence[Question], texts: Sequence[str]) -> dict[str, float]:
    """Share of the questions that are right in every rotation that was asked."""
    right: dict[str, bool] = {}
    for question, text in zip(questions, texts, strict=True):
        first = question.id.rsplit("@", 1)[0]
        hit = parse_choice(question, reply_of(question, text)) == question.targets.answer
        right[first] = right.get(first, True) and hit
    return {"circular": sum(right.values()) / len(right)}


BENCHMARK = Benchmark(
    name="lhrs_bench_circular",
    summary="LHRS-Bench with every rotation of the options; right only where all are",
    find=lhrs_bench.find,
    load=load,
    passport=replace(
        lhrs_bench.BENCHMARK.passport,
        rows={},
        changes=("Ours: the published benchmark asks each question once, in one order of options.",),
        published=(),
    ),
    protocols={
        "strict": Protocol(
            id="lhrs_bench_circular-strict-1",
            parse=parse_choice,
            score=score_accuracy,
            main={lhrs_bench.TASK: "circular"},
            pooled={lhrs_bench.TASK: all_right},
        )
    },
)
