"""Averages that the field publishes stand in the summary of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval import report, runner, runs

FIXTURES = Path(__file__).parents[2] / "data" / "benchmarks"


def summary_of(name: str, folder: Path, backend: Any) -> dict[str, Any]:
    data = runs.open_data(name, FIXTURES / name)
    runner.run(data.benchmark, data.questions, backend, folder, ["real"])
    return runs.score(data, folder).summary()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("rsvqa_lr", "strict-1"), ("rsvqa_lr", "official-1")),
        *(("rsvqa_hr", "strict-2"), ("rsvqa_hr", "official-1"), ("terrascope_bench", "official-1")),
    ],
)
def test_means_over_questions_and_over_the_tasks_that_are_scored(
    name: str, kind: str, tmp_path: Path, scripted: Any
) -> None:
    summary = summary_of(name, tmp_path, scripted(lambda question, hashes: "yes" if "?" in question else "A"))
    protocol = f"{name}-{kind}"
    tasks = [
        row
        for row in summary["rows"]
        if row["protocol"] == protocol and row["main"] and row["subset"] == summary["rows"][0]["subset"]
    ]
    means = [row["conditions"]["real"]["mean"] for row in tasks]
    counts = [row["conditions"]["real"]["questions"] for row in tasks]
    (own,) = [row for row in summary["overall"] if row["protocol"] == protocol and row["subset"] == tasks[0]["subset"]]
    assert own["task"] == "all tasks"
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


def half_right(question: str, hashes: tuple[str, ...]) -> str:
    return "airport" if "airport" in question else "A"


def test_sets_of_scene_classification_have_a_mean(tmp_path: Path, scripted: Any) -> None:
    summary = summary_of("scene_classification", tmp_path, scripted(half_right))
    for kind, metric in (("strict", "accuracy"), ("official", "balanced_accuracy")):
        protocol = f"scene_classification-{kind}-1"
        rows = [r["conditions"]["real"] for r in summary["rows"] if r["protocol"] == protocol and r["main"]]
        (own,) = [row for row in summary["overall"] if row["protocol"] == protocol]
        assert (own["subset"], own["task"], own["metric"]) == ("all sets", "scene_class", metric)
        mean = own["conditions"]["real"]["sets"]
        assert len(rows) > 2 and mean["mean"] == pytest.approx(sum(row["mean"] for row in rows) / len(rows))
        if all(row["stderr"] is not None for row in rows):
            assert mean["stderr"] == pytest.approx(sum(row["stderr"] ** 2 for row in rows) ** 0.5 / len(rows))
        else:
            assert mean["stderr"] is None
        assert mean["questions"] == sum(row["questions"] for row in rows)
    text = report.markdown(summary)
    assert "| scene_classification-strict-1 | all sets | scene_class | accuracy | sets | " in text


def test_grounding_of_vrsbench_has_its_published_headline(tmp_path: Path, scripted: Any) -> None:
    summary = summary_of("vrsbench", tmp_path, scripted(lambda question, hashes: "[0.1, 0.1, 0.5, 0.5]"))
    for kind in ("strict", "official"):
        protocol = f"vrsbench-{kind}-1"
        own = [row for row in summary["overall"] if row["protocol"] == protocol and row["task"] == "grounding"]
        assert {"acc_0.5", "acc_0.7", "iou"} <= {row["metric"] for row in own}
        for row in own:
            parts = [
                r["conditions"]["real"]
                for r in summary["rows"]
                if (r["protocol"], r["metric"]) == (protocol, row["metric"]) and r["task"].startswith("grounding_")
            ]
            total = sum(part["mean"] * part["questions"] for part in parts)
            found = row["conditions"]["real"]["questions"]
            assert len(parts) == 2 and found["questions"] == sum(part["questions"] for part in parts)
            assert found["mean"] == pytest.approx(total / found["questions"])


def test_questions_with_options_of_earthmind_bench_have_a_mean_under_both_protocols(
    tmp_path: Path, scripted: Any
) -> None:
    summary = summary_of("earthmind_bench", tmp_path, scripted(half_right))
    found = {(row["protocol"], row["subset"], row["metric"]) for row in summary["overall"]}
    assert {("earthmind_bench-strict-1", way, "accuracy") for way in ("optical", "radar", "both")} <= found


@pytest.mark.parametrize("limit", [None, 1])
def test_sets_of_one_question_are_compared_question_by_question(
    limit: int | None, tmp_path: Path, scripted: Any
) -> None:
    data = runs.open_data("geoheight", FIXTURES / "geoheight")
    truth = {q.text: q.targets.answer or "" for q in data.questions if q.subset == "real height"}
    backend = scripted(lambda question, hashes: truth.get(question, "") if len(hashes) > 1 else "")
    runner.run(data.benchmark, data.questions, backend, tmp_path, ["real"], runner.Settings(limit=limit))
    run = runs.score(data, tmp_path)
    asked: dict[str, set[str]] = {}
    for key in run.records:
        question = run.asks[key].question
        asked.setdefault(question.subset, set()).add(question.same_as)
    assert asked["real height"] == asked["no height"] >= asked["shuffled height"]
    summary = run.summary()
    rows = {(row["subset"], row["task"]): row for row in summary["between_sets"]}
    row = rows["no height", "pixel_info_choice"]
    assert row["reference"] == "real height" and row["difference"]["mean"] == 1.0
    assert row["scores"][0]["mean"] == 1.0 and row["scores"][1]["mean"] == 0.0
    assert rows["shuffled height", "pixel_info_choice"]["difference"]["mean"] == 0.0
    assert "## Differences between sets" in report.markdown(summary)


@pytest.mark.parametrize(("name", "reference"), [("earthmind_bench", "both"), ("reobench", "clean")])
def test_other_benchmarks_compare_their_sets_too(name: str, reference: str, tmp_path: Path, scripted: Any) -> None:
    summary = summary_of(name, tmp_path, scripted(lambda question, hashes: "A"))
    assert {row["reference"] for row in summary["between_sets"]} == {reference}
    assert all(row["difference"]["mean"] == 0.0 for row in summary["between_sets"] if row["metric"] == "accuracy")
