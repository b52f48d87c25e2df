"""Averages that the field publishes stand in the summary of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval import runner, runs

FIXTURES = Path(__file__).parents[2] / "data" / "benchmarks"


def summary_of(name: str, folder: Path, backend: Any) -> dict[str, Any]:
    data = runs.open_data(name, FIXTURES / name)
    runner.run(data.benchmark, data.questions, backend, folder, ["real"])
    return runs.score(data, folder).summary()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rsvqa_lr", "strict"), ("rsvqa_lr", "official"), ("rsvqa_hr", "official"), ("terrascope_bench", "official")],
)
def test_means_over_questions_and_over_the_tasks_that_are_scored(
    name: str, kind: str, tmp_path: Path, scripted: Any
) -> None:
    summary = summary_of(name, tmp_path, scripted(lambda question, hashes: "yes" if "?" in question else "A"))
    protocol = f"{name}-{kind}-1"
    tasks = [
        row
        for row in summary["rows"]
        if row["protocol"] == protocol and row["main"] and row["subset"] == summary["rows"][0]["subset"]
    ]
    means = [row["conditions"]["real"]["mean"] for row in tasks]
    counts = [row["conditions"]["real"]["questions"] for row in tasks]
    (own,) = [row for row in summary["overall"] if row["protocol"] == protocol and row["subset"] == tasks[0]["subset"]]
    assert own["metric"] == "accuracy" and len(tasks) > 1
    found = own["conditions"]["real"]
    assert found["tasks"]["mean"] == pytest.approx(sum(means) / len(means))
    total = sum(mean * count for mean, count in zip(means, counts, strict=True))
    assert found["questions"]["mean"] == pytest.approx(total / sum(counts))
    assert found["questions"]["questions"] == sum(counts)


def test_the_types_of_lhrs_bench_have_a_mean(tmp_path: Path, scripted: Any) -> None:
    summary = summary_of("lhrs_bench", tmp_path, scripted(lambda question, hashes: "A"))
    strict = {
        row["metric"]: row["conditions"]["real"]["mean"]
        for row in summary["rows"]
        if row["protocol"] == "lhrs_bench-strict-1"
    }
    types = [value for metric, value in strict.items() if metric.startswith("accuracy_")]
    assert strict["average_over_types"] == pytest.approx(sum(types) / len(types))
    assert strict["average_over_types"] != pytest.approx(strict["accuracy"])
