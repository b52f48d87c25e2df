"""Pictures of a benchmark that a model may have been trained on: by look, by source tile, by place on the ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lhrs_chat import overlap
from lhrs_chat.overlap import Found, Shot

from .benchmarks import REAL
from .report import line, show
from .runs import Data, ScoredRun


def bench_shots(data: Data) -> list[Shot]:
    """The pictures of a benchmark, each once."""
    return list({path: Shot(path, q.scene_id) for q in data.questions for path in q.images}.values())


def find(data: Data, source: Path) -> Found:
    """Compare every picture of the training data with every one of the benchmark.

    Raises:
        DataError: there are no training pictures.
    """
    return overlap.find(overlap.Bench(bench_shots(data)), overlap.shots(source))


def without(run: ScoredRun, pictures: frozenset[str], *, inverse: bool = False) -> ScoredRun | None:
    """A run without the questions about some pictures, or with these only; None where nothing is left."""
    kept = [q for q in run.data.questions if inverse == any(str(path) in pictures for path in q.images)]
    ids = {question.id for question in kept}
    records = {key: record for key, record in run.records.items() if key[0] in ids}
    return replace(run, data=replace(run.data, questions=kept), records=records) if records else None


def scores(run: ScoredRun, pictures: frozenset[str]) -> list[dict[str, Any]]:
    """Main scores of all questions, of those without overlap, and of those with it."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, part in (
        ("all", run),
        ("clean", without(run, pictures)),
        ("overlapping", without(run, pictures, inverse=True)),
    ):
        for row in part.summary()["rows"] if part is not None else ():
            if row["main"] and REAL in row["conditions"]:
                key = tuple(str(row[k]) for k in ("protocol", "subset", "task", "metric"))
                found.setdefault(key, dict(zip(("protocol", "set", "task", "metric"), key, strict=True)))
                found[key][name] = row["conditions"][REAL]
    return [{"model": run.model, **row} for row in found.values()]


def markdown(data: Data, source: Path, found: Found, rows: Sequence[Mapping[str, Any]]) -> str:
    """What overlaps, and the scores with and without it."""
    kinds = {kind: {o.bench for o in found.overlaps if o.kind == kind} for kind in overlap.KINDS}
    questions = sum(any(str(path) in found.pictures for path in q.images) for q in data.questions)
    lines = [
        f"# {data.benchmark.name} against {source}",
        "",
        f"{len(found.pictures)} of {found.bench} pictures and {questions} of {len(data.questions)} questions overlap "
        f"with {found.train} training pictures ({data.check.label}).",
        "",
        line(["found by", "pictures of the benchmark"]),
        line(["---"] * 2),
        *(line([kind, len(pictures)]) for kind, pictures in kinds.items()),
    ]
    if found.flat:
        lines += ["", f"{len(found.flat)} pictures show too little to be compared by their look."]
    if found.unreadable:
        lines += ["", f"{len(found.unreadable)} pictures could not be read, e.g. {found.unreadable[0]}."]
    if rows:
        heads = ["model", "protocol", "set", "task", "metric", "all", "without overlaps", "overlaps only"]
        lines += ["", "## Scores with and without the overlaps", "", line(heads), line(["---"] * len(heads))]
        for row in rows:
            cells = [row[key] for key in ("model", "protocol", "set", "task", "metric")]
            lines.append(line([*cells, *(show(row.get(part)) for part in ("all", "clean", "overlapping"))]))
    return "\n".join(lines) + "\n"
