"""`python -m data_prep contradictions FACTS ... --runs RUN ...`: how true the descriptions of models are.

FACTS are rows of facts, RUN a folder that `python -m eval run` wrote. A description is false where the filter
`caption_facts` finds a contradiction: a wrong number, a thing that the facts exclude, a place where it is not. As one
who says nothing is never wrong, the scene class and the true things that it names are counted beside it. Runs are
compared picture by picture; those of a method that was trained several times count with their mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import read_list
from lhrs_chat.metrics.stats import compare, mean_stderr
from lhrs_chat.schema import Sample
from lhrs_chat.storage import Location
from lhrs_chat.text import answers

from ..builders._facts import Facts
from ..filters.caption_facts import contradictions
from . import Verb

ANSWERS = "answers.jsonl"
TOLD = {
    "scene": "descriptions that name the scene class",
    "false": "descriptions that contradict the facts",
    "named": "true things that a description names",
}


@dataclass(frozen=True)
class Judged:
    """A description: its question, the set and picture, and what `TOLD` lists."""

    question: str
    source: str
    scene_id: str
    told: Mapping[str, float]


def judge(text: str, facts: Sample) -> dict[str, float]:
    """Measure a description by the facts of its picture."""
    scene, things = (_named(text, names) for names in (facts.targets.labels, Facts(facts).present))
    told = {"scene": len(scene) > 0, "false": any(contradictions(text, facts)), "named": len(things)}
    return {measure: float(value) for measure, value in told.items()}


def _named(text: str, names: Sequence[str]) -> set[str]:
    return {mention.label for mention in answers.mentions(text, names) if not mention.denied}


def read_run(run: Path, facts: Mapping[str, Sample]) -> list[Judged]:
    """Judge the descriptions of a run, those of other pictures left out, in the order of their questions.

    Raises:
        DataError: there is none.
    """
    found = []
    for row in read_list(run / ANSWERS):
        name = row.values.get("id", "")
        if row.values.get("condition") != "real" or "/caption" not in name:
            continue
        scene = _scene(name, facts)
        if scene is not None:
            found.append(Judged(name, scene.source, scene.scene_id, judge(row.values["text"], scene)))
    if not found:
        raise DataError("no description of these pictures", found=str(run / ANSWERS), allowed="captions of FACTS")
    return sorted(found, key=lambda one: one.question)


def _scene(question: str, facts: Mapping[str, Sample]) -> Sample | None:
    """The facts that a question was made from: its id begins with theirs."""
    while question and question not in facts:
        question = question.rpartition("/")[0]
    return facts.get(question)


def report(runs: Mapping[str, Sequence[Judged]]) -> str:
    """Tell the measures of every run on every set, and the differences of every two.

    Raises:
        DataError: the runs are not of the same questions.
    """
    _check_asked(list(runs.values()))
    first = next(iter(runs.values()))
    lines = []
    for source in sorted({one.source for one in first}):
        own = {name: [one for one in judged if one.source == source] for name, judged in runs.items()}
        scenes = [one.scene_id for one in first if one.source == source]
        for measure, words in TOLD.items():
            values = {name: [one.told[measure] for one in judged] for name, judged in own.items()}
            lines += [f"**{source}: {words}**, {len(scenes)} descriptions", "", "| run | mean |", "| --- | --- |"]
            means = {name: mean_stderr(values[name], scenes) for name in runs}
            lines += [f"| {name} | {found.mean:.3f} ± {found.stderr:.3f} |" for name, found in means.items()]
            lines += ["", "| difference | mean | 95 % | p (Holm) |", "| --- | --- | --- | --- |"]
            lines += [
                f"| {one.one} - {one.other} | {one.difference:+.3f} | {one.low:+.3f} to {one.high:+.3f} "
                f"| {one.p_holm:.3f} |"
                for one in (compare(values, scenes) if len(values) > 1 else ())
            ]
            lines.append("")
    return "\n".join(lines)


def mean(trained: Sequence[Sequence[Judged]]) -> list[Judged]:
    """Return the mean over the runs of a method.

    Raises:
        DataError: they are not of the same questions.
    """
    _check_asked(trained)
    return [
        replace(same[0], told={measure: sum(one.told[measure] for one in same) / len(same) for measure in TOLD})
        for same in zip(*trained, strict=True)
    ]


def _check_asked(runs: Sequence[Sequence[Judged]]) -> None:
    asked = {tuple(one.question for one in judged) for judged in runs}
    if len(asked) > 1:
        raise DataError("runs are compared on the same questions", found=f"{len(asked)} lists of questions")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("facts", nargs="+", metavar="FACTS", help="data sets of facts")
    parser.add_argument(
        "--runs",
        nargs="+",
        required=True,
        metavar="RUN[,RUN...]",
        help="folders of eval run; those of one method, trained several times, joined by commas",
    )


def _read(places: Sequence[Location]) -> dict[str, Sample]:
    facts = {row.id: row for place in places for row in samples.read(place)}
    other = next((row for row in facts.values() if row.task != "facts"), None)
    if other is not None:
        raise DataError("descriptions are judged by rows of facts", found=f"{other.id}: {other.task}", allowed="facts")
    return facts


def _run(args: argparse.Namespace) -> int:
    facts = _read(args.facts)
    sys.stdout.write(
        report({names: mean([read_run(Path(name), facts) for name in names.split(",")]) for names in args.runs})
    )
    return 0


VERB = Verb("tell how often descriptions of models contradict the facts", _add_arguments, _run)
