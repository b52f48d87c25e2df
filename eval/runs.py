"""Runs that are on disk: their data, and their answers scored by the parser of this version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lhrs_chat.errors import DataError

from . import passports, summary
from .benchmarks import BENCHMARKS, Benchmark, Question
from .conditions import Ask, by_key, plan
from .records import Key, Record, check_header, fingerprint
from .runner import rescore
from .samples import header_of, records_of


@dataclass(frozen=True)
class Data:
    """The data of a benchmark: where they lie, all questions, and whether they are the published ones."""

    benchmark: Benchmark
    folder: Path
    questions: Sequence[Question]
    check: passports.Check

    @cached_property
    def sha256(self) -> str:
        """Hash of all questions and pictures."""
        return fingerprint(self.questions)


@dataclass(frozen=True)
class ScoredRun:
    """A run: what it was made with, how each question was asked, and the scored answers."""

    data: Data
    folder: Path
    header: dict[str, Any]
    asks: Mapping[Key, Ask]
    records: Mapping[Key, Record]

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.header["model"])

    def summary(self) -> dict[str, Any]:
        """All scores."""
        data = self.data
        return summary.summarise(data.benchmark, data.questions, self.asks, self.records, self.header, data.check)


def open_data(name: str, given: Path | None) -> Data:
    """Open the data of a benchmark.

    Args:
        name: of the benchmark.
        given: the folder; the benchmark's usual places where None.

    Raises:
        ConfigError: there is no such benchmark.
        DataError: its data are not here, or hold a bad row.
    """
    benchmark = BENCHMARKS.get(name)
    folder = benchmark.find(given)
    questions = benchmark.load(folder)
    return Data(benchmark, folder, questions, passports.check(benchmark, folder, questions))


def data_of(folder: Path, given: Path | None) -> Data:
    """Open the data that a run was about.

    Raises:
        DataError: there are no answers in the folder, or the data are not here.
    """
    return open_data(str(header_of(folder)["benchmark"]), given)


def score(data: Data, folder: Path) -> ScoredRun:
    """Read the answers of a run and score them anew.

    Raises:
        DataError: there are no answers, they are about other data, or one belongs to no question.
    """
    header = header_of(folder)
    protocols = {name: protocol.id for name, protocol in data.benchmark.protocols.items()}
    now = {**header, "benchmark": data.benchmark.name, "data_sha256": data.sha256, "protocols": protocols}
    check_header({**header, "protocols": protocols}, now, folder)
    stored = {record.key: record for record in records_of(folder)}
    asks = by_key(plan(data.questions, {condition for _, condition in stored}, seed=int(header["seed"])))
    lost = [key for key in stored if key not in asks]
    if lost:
        raise DataError("stored answers belong to no question of the data", found=f"{len(lost)}, e.g. {lost[0][0]}")
    dialect = str(header["dialect"])
    records = {key: rescore(data.benchmark, asks[key].question, record, dialect) for key, record in stored.items()}
    return ScoredRun(data, folder, now, asks, records)
