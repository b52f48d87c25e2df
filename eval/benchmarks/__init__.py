"""The contract of a benchmark. One file of this folder is one benchmark: its file name is its public name.

Such a file defines `BENCHMARK = Benchmark(...)`: where the data lies, how rows become questions, and one or several
protocols that turn the text of a model into a parsed answer and that into metrics. Asking, storing, resuming,
standard errors and tables are the runner's and the report's work, the same for all benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lhrs_chat.geo.frames import Placement
from lhrs_chat.plugins import Folder
from lhrs_chat.schema import Targets

REAL, BLIND, SHUFFLED = "real", "blind", "shuffled"
CONDITIONS = (REAL, BLIND, SHUFFLED)

Parsed = str | float | tuple[float, ...] | None
"""What a parser found: a label, a number, a box (x1, y1, x2, y2), or None where it found nothing."""


@dataclass(frozen=True)
class Question:
    """One question of a benchmark.

    Args:
        id: unique within the benchmark.
        task: the kind of question; scores are given per task.
        text: what the model is asked, as it stands in the data.
        images: the pictures it is asked about.
        size_px: width and height of the first picture.
        subset: the set of images it comes from; scores are given per set, pictures are shuffled within it.
        scene_id: pictures with the same scene are never exchanged for each other.
        licence: terms of the pictures.
        targets: what is true.
        error_cap: the error booked where no number could be read; no error is booked larger than it.
        max_new_tokens: how long the answer may be.
        same_as: the name that versions of one question in several sets share; a limit keeps the same ones of each set.
    """

    id: str
    task: str
    text: str
    images: tuple[Path, ...]
    size_px: tuple[int, int]
    subset: str
    scene_id: str
    licence: str
    targets: Targets
    error_cap: float = 0.0
    max_new_tokens: int = 32
    same_as: str = ""


@dataclass(frozen=True)
class Reply:
    """What a model said, and what is needed to read coordinates in it.

    Args:
        text: the answer as it was generated.
        dialect: how this model writes boxes, a name in `lhrs_chat.text.grounding.DIALECTS`.
        size_px: width and height of the picture that was shown, or of the question's own where none was.
        placement: how that picture was resized and padded, where the model tells it.
    """

    text: str
    dialect: str
    size_px: tuple[int, int]
    placement: Placement | None = None


@dataclass(frozen=True)
class Published:
    """A number that somebody published: what was measured, for which model, and where it stands."""

    model: str
    metric: str
    value: float
    source: str


@dataclass(frozen=True)
class Passport:
    """What is known of a benchmark's data, so that an altered copy is seen.

    Args:
        location: where the published files lie.
        rows: questions of each split, as published.
        sha256: hash of published files by their name in the folder, where they are known.
        annotation_licence: terms of questions and answers.
        imagery_licence: terms of the pictures, which are often others.
        changes: what changed between releases, one sentence each.
        published: numbers to compare with.
    """

    location: str
    annotation_licence: str
    imagery_licence: str
    rows: Mapping[str, int] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """One way to score, with a frozen id that is printed with every number.

    Args:
        id: changes whenever a change of the parser or the scorer can change a number.
        parse: reads the answer; None means that nothing could be read. Never raises on any text.
        score: metrics of one question; the same keys for every question of a task.
        corpus: metrics of one question each that need all answers of a set, by task: (questions, texts) to
            one dictionary a question.
        pooled: metrics that exist only for a whole set, by task: (questions, texts) to one dictionary.
        once: as `pooled`, for metrics too dear to be measured many times; they get no standard error.
        derived: metrics of a whole set that follow from the scores of its questions, by task: (questions, scores) to
            one dictionary.
        main: the metric of each task that is shown first and decides.
        averages: groups of tasks that are also averaged, over questions and over tasks; where there is none, all scored
            tasks are, if they share their main metric.
        over_sets: tasks whose main score is also averaged over sets, each set counting the same; their pictures differ.
        lower_is_better: names of metrics that are errors.
        quirks: what a published scorer does that one would not expect, one sentence each.
    """

    id: str
    parse: Callable[[Question, Reply], Parsed]
    score: Callable[[Question, Parsed], dict[str, float]]
    main: Mapping[str, str]
    corpus: Mapping[str, Callable[[Sequence[Question], Sequence[str]], list[dict[str, float]]]] = field(
        default_factory=dict
    )
    pooled: Mapping[str, Callable[[Sequence[Question], Sequence[str]], dict[str, float]]] = field(default_factory=dict)
    once: Mapping[str, Callable[[Sequence[Question], Sequence[str]], dict[str, float]]] = field(default_factory=dict)
    derived: Mapping[str, Callable[[Sequence[Question], Sequence[Mapping[str, float]]], dict[str, float]]] = field(
        default_factory=dict
    )
    averages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    over_sets: tuple[str, ...] = ()
    lower_is_better: frozenset[str] = frozenset()
    quirks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its data and its protocols.

    Args:
        name: the file's name.
        summary: one sentence for `list`.
        find: the folder that holds the data, from the one the user named or the usual places. Raises DataError that
            says how to get it.
        load: all questions of a folder, in a fixed order. Raises DataError on a bad row.
        protocols: by name (`strict`, `official`).
        passport: what is known of the published data.
        conditions: what a run puts before the model when it is not told: the real picture; nano_probe adds controls.
        reference: the set that those with versions of its questions are compared with.
    """

    name: str
    summary: str
    find: Callable[[Path | None], Path]
    load: Callable[[Path], list[Question]]
    protocols: Mapping[str, Protocol]
    passport: Passport
    conditions: tuple[str, ...] = (REAL,)
    reference: str = ""


BENCHMARKS: Folder[Benchmark] = Folder(__name__, "BENCHMARK", Benchmark)
