"""Each benchmark, on its small copy in the published format, through everything that is done with a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval import compare, export, page, report, runner, runs
from eval.benchmarks import BENCHMARKS
from eval.conditions import CONTROLS

COPIES = Path(__file__).parents[1] / "data" / "benchmarks"


@pytest.mark.parametrize("name", [name for name in BENCHMARKS.names() if (COPIES / name).is_dir()])
def test_a_run_from_question_to_page(name: str, tmp_path: Path, scripted: Any) -> None:
    data = runs.open_data(name, COPIES / name)
    conditions = ["real", *CONTROLS, "cloud:3", "quarter_turn:1"]
    for model, answer in (("one", "A. yes, 3"), ("two", "B")):
        backend = scripted(lambda question, hashes, answer=answer: answer)
        backend.name = model
        done = runner.run(data.benchmark, data.questions, backend, tmp_path / model, conditions)
        assert done.failed == 0 and done.asked >= len(data.questions)
    one, two = (runs.score(data, tmp_path / model) for model in ("one", "two"))
    summary = one.summary()
    assert {row["protocol"] for row in summary["rows"]} <= set(summary["run"]["protocols"].values())
    text = report.markdown(summary)
    assert all(protocol.id in text for protocol in data.benchmark.protocols.values())
    assert all(quirk in text for p in data.benchmark.protocols.values() for quirk in p.quirks if summary["protocols"])
    assert data.check.state in text
    assert page.write(one, summary).stat().st_size > 10_000
    named = compare.names_of([[one], [two]])
    assert compare.markdown(compare.compare(named, "real"), named, "real")
    for number, write in enumerate(export.FORMATS.values()):
        assert all(path.stat().st_size for path in write(data, tmp_path / f"export{number}"))
