"""Whether the data at hand are the published ones: file hashes and row counts against the benchmark's passport."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lhrs_chat.registry import file_sha256

from .benchmarks import Benchmark, Passport, Question

State = Literal["as published", "altered copy", "not pinned"]


@dataclass(frozen=True)
class Check:
    """What a look at the data found; `remarks`: one sentence for each thing that differs or was compared."""

    state: State
    remarks: tuple[str, ...]

    @property
    def label(self) -> str:
        """What stands beside every number."""
        return f"{self.state}: {'; '.join(self.remarks)}"


def check(benchmark: Benchmark, folder: Path, questions: Sequence[Question]) -> Check:
    """Compare a folder with the passport."""
    passport = benchmark.passport
    if not passport.sha256 and not passport.rows:
        return Check("not pinned", ("the passport holds no hash and no row count to compare with",))
    wrong = [*_files(folder, passport.sha256), *_rows(questions, passport.rows)]
    if wrong:
        return Check("altered copy", tuple(wrong))
    compared = []
    if passport.sha256:
        compared.append(f"{len(passport.sha256)} file hashes agree")
    if passport.rows:
        compared.append("row counts agree")
    return Check("as published", tuple(compared))


def _files(folder: Path, hashes: Mapping[str, str]) -> list[str]:
    wrong = []
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif (found := file_sha256(path)) != expected:
            wrong.append(f"{name} has SHA-256 {found[:12]}, published {expected[:12]}")
    return wrong


def _rows(questions: Sequence[Question], rows: Mapping[str, int]) -> list[str]:
    """Counts of the splits that are named as sets are; else the number of all questions is that of some split."""
    counts = Counter(question.subset for question in questions)
    named = [split for split in rows if split in counts]
    if named:
        return [
            f"{split} has {counts[split]} rows, published {rows[split]}"
            for split in named
            if counts[split] != rows[split]
        ]
    total = len(questions)
    if not rows or total in (*rows.values(), sum(rows.values())):
        return []
    published = ", ".join(f"{count} ({split})" for split, count in rows.items())
    return [f"{total} rows, published {published}"]


def describe(benchmark: Benchmark) -> list[str]:
    """The passport as lines of text."""
    passport: Passport = benchmark.passport
    lines = [
        f"data: {passport.location}",
        f"terms: annotations {passport.annotation_licence}; pictures {passport.imagery_licence}",
    ]
    if passport.rows:
        lines.append("rows: " + ", ".join(f"{split} {count}" for split, count in passport.rows.items()))
    lines += [f"SHA-256 of {name}: {digest}" for name, digest in passport.sha256.items()]
    lines += [f"changed: {sentence}" for sentence in passport.changes]
    lines += [f"published: {p.model}, {p.metric} {p.value:g} ({p.source})" for p in passport.published]
    return lines
