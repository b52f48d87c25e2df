from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from eval import compare, export, passports, report, runner, runs
from eval.__main__ import main
from eval.benchmarks import BENCHMARKS, Passport, Protocol
from lhrs_chat.errors import DataError
from lhrs_chat.metrics.stats import mean_stderr
from lhrs_chat.schema import Mask, Number, Targets
from lhrs_chat.text import run_lengths

BENCHMARK = BENCHMARKS.get("nano_probe")


@pytest.fixture
def pair(probe: Path, tmp_path: Path, scripted: Any, perfect: Any) -> dict[str, Path]:
    """A perfect run, one that always says yes, and one that was stopped early."""
    speeches = {"good": perfect, "yes": lambda question, hashes: "yes"}
    for name, speech in speeches.items():
        backend = scripted(speech, weights=name[0] * 64)
        backend.name = name
        runner.run(BENCHMARK, BENCHMARK.load(probe), backend, tmp_path / name, ["real", "blind"])
    short = scripted(perfect, weights="c" * 64)
    short.name = "short"
    runner.run(BENCHMARK, BENCHMARK.load(probe), short, tmp_path / "short", ["real"], runner.Settings(limit=2))
    return {name: tmp_path / name for name in (*speeches, "short")}


def opened(probe: Path, folders: list[Path]) -> dict[str, compare.Trainings]:
    data = runs.open_data("nano_probe", probe)
    return compare.names_of([[runs.score(data, folder)] for folder in folders])


def test_differences_are_paired(probe: Path, pair: dict[str, Path]) -> None:
    found = compare.compare(opened(probe, [pair["good"], pair["yes"]]), "real")
    by_place = {(d.subset, d.task): d for d in found}
    presence = by_place["synthetic", "presence"]
    assert presence.scores == (1.0, 0.6) and presence.difference == pytest.approx(0.4)
    assert presence.low <= 0.4 <= presence.high
    assert presence.p_mcnemar == pytest.approx(stats.binomtest(0, 2).pvalue)
    assert presence.detectable is not None and presence.detectable > 0
    captions = by_place["synthetic", "caption"]
    assert (captions.metric, captions.p_mcnemar) == ("cider", None)
    assert all(d.p_holm >= d.p_value for d in found)
    assert min(d.p_holm for d in found) == pytest.approx(min(1.0, min(d.p_value for d in found) * len(found)))


def test_three_runs_are_three_pairs_and_nothing_is_dropped_in_silence(probe: Path, pair: dict[str, Path]) -> None:
    named = opened(probe, [pair["good"], pair["yes"], pair["short"]])
    found = compare.compare(named, "real")
    assert len(found) == 3 * 16
    short = [d for d in found if "short" in (d.first, d.second)]
    assert {d.questions for d in short} == {2} and sum(d.left_out for d in short) == 2 * (72 - 32)
    assert "80 answers have no partner" in compare.markdown(found, named, "real")


def test_trainings_of_a_method_count_with_their_mean(probe: Path, pair: dict[str, Path], capsys: Any) -> None:
    data = runs.open_data("nano_probe", probe)
    good, yes = (runs.score(data, pair[name]) for name in ("good", "yes"))
    again = [replace(run, folder=run.folder / "again") for run in (good, yes)]
    alone = {(d.protocol, d.subset, d.task): d for d in compare.compare({"good": [good], "yes": [yes]}, "real")}
    both = compare.compare({"mixed": [good, yes], "yes": [yes, again[1]]}, "real")
    assert len(both) == len(alone) and any(d.difference for d in both)
    for found in both:
        single = alone[found.protocol, found.subset, found.task]
        assert found.difference == pytest.approx(single.difference / 2)
        assert found.by_training == (pytest.approx(single.difference), 0)
        assert single.by_training == ()
    assert main(["compare", f"{pair['good']},{pair['yes']}", f"{pair['yes']}", "--data", str(probe)]) == 2
    assert "one folder is named twice" in capsys.readouterr().err
    assert main(["compare", f"{pair['good']},{pair['yes']}", f"{pair['short']}", "--data", str(probe)]) == 0
    assert "# nano_probe: good, yes, short" in capsys.readouterr().out


def test_a_metric_of_a_whole_set_is_compared_too(probe: Path, pair: dict[str, Path]) -> None:
    strict = BENCHMARK.protocols["strict"]
    main = {"presence": "share"}

    def share(questions: Any, texts: Any) -> dict[str, float]:
        return {"share": sum(text == q.targets.answer for q, text in zip(questions, texts, strict=True)) / len(texts)}

    protocol = replace(strict, main=main, pooled={"presence": share}, corpus={})
    data = replace(runs.open_data("nano_probe", probe), benchmark=replace(BENCHMARK, protocols={"strict": protocol}))
    named = compare.names_of([[runs.score(data, pair[name])] for name in ("yes", "good")])
    (found, _) = sorted(compare.compare(named, "real"), key=lambda d: d.subset == "aid_rsicd")
    assert (found.subset, found.metric, found.scores) == ("synthetic", "share", (0.6, 1.0))
    assert found.low < -0.4 < found.high and 0 < found.p_value < 1 and found.p_mcnemar is None


def test_runs_that_cannot_be_compared(probe: Path, pair: dict[str, Path], tmp_path: Path, rewrite: Any) -> None:
    with pytest.raises(DataError, match="two runs"):
        compare.compare(opened(probe, [pair["good"]]), "real")
    with pytest.raises(DataError, match="twice"):
        opened(probe, [pair["good"], pair["good"]])
    reseeded = opened(probe, [pair["good"], pair["yes"]])
    reseeded["yes"] = [replace(run, header={**run.header, "seed": 1}) for run in reseeded["yes"]]
    with pytest.raises(DataError, match="other seeds"):
        compare.compare(reseeded, "blind")
    assert compare.compare(reseeded, "real")
    with pytest.raises(DataError, match="grey"):
        compare.compare(opened(probe, [pair["good"], pair["yes"]]), "grey")
    rows = [json.loads(line) for line in (probe / "probe.jsonl").read_text().splitlines()]
    rewrite(probe, rows[1:])
    with pytest.raises(DataError, match="data_sha256 differs"):
        opened(probe, [pair["good"], pair["yes"]])


def test_command_line(probe: Path, pair: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    arguments = ["compare", str(pair["good"]), str(pair["yes"]), "--data", str(probe), "--out", str(tmp_path / "c")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "c" / "compare.md").read_text()
    assert (
        "nano_probe-strict-2 | synthetic | presence | accuracy | good | yes | 5 | 5 | 1.000 | 0.600 | +0.400" in printed
    )
    assert len(json.loads((tmp_path / "c" / "compare.json").read_text())) == 16


# The two protocols of one benchmark, side by side.


def test_protocols_stand_side_by_side_with_their_difference(probe: Path, pair: dict[str, Path]) -> None:
    strict = BENCHMARK.protocols["strict"]

    def generous(question: Any, parsed: Any) -> dict[str, float]:
        return {"accuracy": 1.0}

    official = Protocol(
        "nano_probe-official-1", strict.parse, generous, {"presence": "accuracy"}, quirks=("All right.",)
    )
    benchmark = replace(BENCHMARK, protocols={"strict": strict, "official": official})
    data = replace(runs.open_data("nano_probe", probe), benchmark=benchmark)
    found = runs.score(data, pair["yes"]).summary()
    rows = {(row["subset"], row["protocol"]): row for row in found["protocols"] if row["task"] == "presence"}
    assert rows["synthetic", "nano_probe-official-1"]["more_than_strict"]["mean"] == pytest.approx(0.4)
    assert rows["synthetic", "nano_probe-strict-2"]["more_than_strict"] is None
    text = report.markdown(found)
    assert "What `nano_probe-official-1` does that one would not expect" in text and "- All right." in text


def test_averages_of_tasks_that_share_a_metric(probe: Path, pair: dict[str, Path]) -> None:
    data = runs.open_data("nano_probe", probe)
    kept = [q for q in data.questions if q.task == "presence" or (q.task == "compare" and q.id < "synthetic-2")]
    data = replace(data, questions=kept)
    run = replace(runs.score(runs.open_data("nano_probe", probe), pair["yes"]), data=data)
    ids = {question.id for question in kept}
    run = replace(run, records={key: record for key, record in run.records.items() if key[0] in ids})
    (row,) = [row for row in run.summary()["overall"] if row["subset"] == "synthetic"]
    real = row["conditions"]["real"]
    assert real["questions"]["mean"] == pytest.approx((3 + 1) / 7) and real["tasks"]["mean"] == pytest.approx(0.55)
    assert real["tasks"]["stderr"] > 0
    one = mean_stderr([1.0, 0.0, 1.0, 0.0, 1.0])
    assert one.stderr == pytest.approx(0.2449, abs=1e-4)


# Passports.


@pytest.mark.parametrize(
    ("passport", "state", "said"),
    [
        ({"rows": {"synthetic": 40, "aid_rsicd": 32}}, "as published", "row counts agree"),
        ({"rows": {"synthetic": 41}}, "altered copy", "synthetic has 40 rows, published 41"),
        ({"rows": {"test": 72}}, "as published", "row counts agree"),
        ({"rows": {"test": 70, "val": 2}}, "as published", "row counts agree"),
        ({"rows": {"test": 71}}, "altered copy", "72 rows, published 71"),
        ({"sha256": {"probe.jsonl": "0" * 64}}, "altered copy", "published 000000000000"),
        ({"sha256": {"other.jsonl": "0" * 64}}, "altered copy", "other.jsonl is missing"),
        ({}, "not pinned", "no hash"),
    ],
)
def test_an_altered_copy_is_labelled(
    probe: Path, pair: dict[str, Path], monkeypatch: Any, passport: dict[str, Any], state: str, said: str
) -> None:
    benchmark = replace(BENCHMARK, passport=Passport("here", "CC0-1.0", "CC0-1.0", **passport))
    check = passports.check(benchmark, probe, benchmark.load(probe))
    assert check.state == state and said in check.label
    data = replace(runs.open_data("nano_probe", probe), check=check)
    found = runs.score(data, pair["good"]).summary()
    assert (("**Altered copy: " in report.markdown(found)) == (state == "altered copy")) and state in report.markdown(
        found
    )
    named = compare.names_of([[runs.score(data, pair[name])] for name in ("good", "yes")])
    assert state in compare.markdown(compare.compare(named, "real"), named, "real")


def test_a_passport_can_be_shown(probe: Path, capsys: Any) -> None:
    assert main(["list", "nano_probe", "--data", str(probe)]) == 0
    printed = capsys.readouterr().out
    assert "terms: annotations Apache-2.0" in printed and "not pinned" in printed and "nano_probe-strict-2" in printed


# Exports.


def test_leaderboard(probe: Path, pair: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    for name in ("yes", "good"):
        assert main(["score", str(pair[name]), "--data", str(probe)]) == 0
    out = tmp_path / "board.csv"
    assert main(["export", "leaderboard", str(pair["yes"]), str(pair["good"]), "--out", str(out)]) == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    presence = [row for row in rows if (row["set"], row["task"], row["condition"]) == ("synthetic", "presence", "real")]
    assert [(row["model"], float(row["score"])) for row in presence] == [("good", 1.0), ("yes", 0.6)]
    assert presence[0]["protocol"] == "nano_probe-strict-2" and presence[0]["data"] == "not pinned"
    assert main(["export", "leaderboard", str(pair["short"]), "--out", str(out)]) == 2
    assert "python -m eval score" in capsys.readouterr().err


def test_vlmevalkit_rows(probe: Path, tmp_path: Path) -> None:
    import base64

    assert main(["export", "vlmevalkit", "nano_probe", "--data", str(probe), "--out", str(tmp_path / "x")]) == 0
    csv.field_size_limit(10**9)
    with (tmp_path / "x" / "nano_probe.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 72 and rows[0]["question"] == "Is there water?" and rows[0]["answer"] == "yes"
    assert base64.b64decode(rows[0]["image"]) == (probe / "images" / "synthetic_0.png").read_bytes()


def test_options_get_columns(probe: Path, tmp_path: Path) -> None:
    data = runs.open_data("nano_probe", probe)
    targets = replace(data.questions[0].targets, answer="B. forest", choices=("A. water", "B. forest"))
    asked = replace(
        data.questions[0], text="What is it?\nChoices: A. water B. forest Answer with a letter.", targets=targets
    )
    (path,) = export.vlmevalkit(replace(data, questions=[asked]), tmp_path)
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert (row["question"], row["A"], row["B"], row["answer"]) == ("What is it?", "water", "forest", "B")


def test_lmms_eval_task(probe: Path, tmp_path: Path) -> None:
    import runpy

    import yaml

    out = tmp_path / "x"
    assert main(["export", "lmms-eval", "nano_probe", "--data", str(probe), "--out", str(out)]) == 0

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    task = yaml.load((out / "nano_probe.yaml").read_text(), Loader)
    assert (task["task"], task["doc_to_visual"]) == ("nano_probe", "nano_probe_docs.doc_to_visual")
    rows = [json.loads(line) for line in Path(task["dataset_kwargs"]["data_files"]["test"]).read_text().splitlines()]
    assert len(rows) == 72 and {"question", "answer"} <= set(rows[0])
    visual = runpy.run_path(str(out / "nano_probe_docs.py"))["doc_to_visual"]
    assert visual(rows[0])[0].size == (32, 24)


def test_vlmevalkit_takes_a_file_for_a_test_with_options_or_without(probe: Path, tmp_path: Path) -> None:
    data = runs.open_data("nano_probe", probe)
    asked = data.questions[0]
    chosen = replace(asked, id="a", text="What? A. water B. wood", targets=Targets("A. water", ("A. water", "B. wood")))
    paths = export.vlmevalkit(replace(data, questions=[asked, chosen]), tmp_path)
    assert [path.name for path in paths] == ["nano_probe_options.tsv", "nano_probe_open.tsv"]
    options, other = ([row.split("\t") for row in path.read_text().splitlines()] for path in paths)
    assert "A" in options[0] and "A" not in other[0]
    assert [row[1] for row in options[1:]] == ["a"] and [row[1] for row in other[1:]] == [asked.id]


def test_a_true_mask_is_no_blank(probe: Path) -> None:
    asked = runs.open_data("nano_probe", probe).questions[0]
    mask = Mask.from_array(np.eye(4, dtype=bool))
    targets = Targets(numbers=(Number(25.0, "%"),), masks=(mask,))
    said = export.truth(replace(asked, targets=targets))
    number, _, text = said.partition(" ")
    assert number == "25" and run_lengths.from_coco(json.loads(text)) == mask


def test_a_question_with_several_true_options_stays_whole(probe: Path, tmp_path: Path) -> None:
    data = runs.open_data("nano_probe", probe)
    targets = Targets("A C", ("A. water", "B. wood", "C. road"), labels=("A", "C"))
    asked = replace(data.questions[0], text="What?\nA. water\nB. wood\nC. road", targets=targets)
    (path,) = export.vlmevalkit(replace(data, questions=[asked]), tmp_path)
    (row,) = csv.DictReader(io.StringIO(path.read_text()), delimiter="\t")
    assert row["answer"] == "A C" and row["question"] == asked.text and "A" not in row
