from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import runner, runs
from eval.benchmarks import BENCHMARKS, Benchmark, Question, Reply
from eval.benchmarks.nano_probe import MAIN, TASKS, find, load
from lhrs_chat.errors import DataError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.schema import Box, Number, Targets

BENCHMARK: Benchmark = BENCHMARKS.get("nano_probe")
STRICT = BENCHMARK.protocols["strict"]
BEST = {"mae": 0.0, "mae_points": 0.0}


def scores(probe: Path, out: Path, backend: Any) -> dict[tuple[str, str, str], dict[str, Any]]:
    data = runs.open_data("nano_probe", probe)
    runner.run(BENCHMARK, data.questions, backend, out)
    summary = runs.score(data, out).summary()
    return {(row["subset"], row["task"], row["metric"]): row for row in summary["rows"]}


def test_perfect_answers_give_the_best_score(probe: Path, tmp_path: Path, scripted: Any, perfect: Any) -> None:
    rows = scores(probe, tmp_path / "out", scripted(perfect))
    assert {(task, metric) for (_, task, metric), row in rows.items() if row["main"]} == set(MAIN.items())
    for (_, task, metric), row in rows.items():
        if metric == "cider":
            assert row["conditions"]["real"]["mean"] > 2
        elif metric != "rouge_l":
            assert row["conditions"]["real"]["mean"] == pytest.approx(BEST.get(metric, 1.0)), (task, metric)
        assert row["lower_is_better"] == (metric in BEST)


def test_empty_answers_give_the_worst_score(probe: Path, tmp_path: Path, scripted: Any) -> None:
    rows = scores(probe, tmp_path / "out", scripted(lambda question, hashes: ""))
    assert {row["subset"] for row in rows.values()} == {"synthetic", "aid_rsicd"}
    assert {task for _, task, _ in rows} == set(TASKS)
    for (subset, _, metric), row in rows.items():
        for estimate in row["conditions"].values():
            if metric not in BEST:
                assert estimate["mean"] == 0.0, row
        if metric == "mae_points" and subset == "synthetic":  # 0, 10, 20, 30, 40 %: off by 100, 90, 80, 70, 60
            assert row["conditions"]["real"]["mean"] == pytest.approx(80)
        if metric == "mae" and subset == "synthetic":  # 0 to 4 ships: off by 4, 3, 2, 3, 4
            assert row["conditions"]["real"]["mean"] == pytest.approx(16 / 5)


def test_accuracy_of_each_class_is_kept(probe: Path, tmp_path: Path, scripted: Any) -> None:
    data = runs.open_data("nano_probe", probe)
    runner.run(BENCHMARK, data.questions, scripted(lambda question, hashes: "It is a park."), tmp_path / "out")
    tables = runs.score(data, tmp_path / "out").summary()["per_class"]
    (table,) = [t for t in tables if (t["subset"], t["task"], t["condition"]) == ("synthetic", "scene_class", "real")]
    assert table["classes"]["park"] == {"accuracy": 1.0, "questions": 2}
    assert table["classes"]["parking"] == {"accuracy": 0.0, "questions": 1}


def question(task: str, **targets: Any) -> Question:
    return Question("q", task, "?", (), (200, 100), "set", "scene", "CC0-1.0", Targets(**targets), error_cap=50.0)


def scored(asked: Question, text: str) -> dict[str, float]:
    return STRICT.score(asked, STRICT.parse(asked, Reply(text, "brackets100", (200, 100))))


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("park", True),
        ("Park.", True),
        ("This is a park.", True),
        ("parking", False),
        ("a car park or parking", False),
        ("spark", False),
        ("parks", True),
        ("par", False),
        ("", False),
        ("   ", False),
        ("dense residential", False),
    ],
)
def test_scene_class_is_a_whole_name(said: str, right: bool) -> None:
    asked = question("scene_class", answer="park", choices=("park", "parking", "dense residential", "pond"))
    assert scored(asked, said)["accuracy"] == float(right)


@pytest.mark.parametrize(
    ("said", "right"), [("yes", True), ("Yes, there is.", True), ("no", False), ("", False), ("maybe", False)]
)
def test_presence(said: str, right: bool) -> None:
    assert scored(question("presence", answer="yes", choices=("yes", "no")), said)["accuracy"] == float(right)


@pytest.mark.parametrize(
    ("said", "within", "off"),
    [("35%", 1, 5), ("About 35 %.", 1, 5), ("40", 1, 0), ("51%", 0, 11), ("", 0, 50), ("40 m", 0, 50), ("1e9%", 0, 50)],
)
def test_area_share(said: str, within: int, off: float) -> None:
    found = scored(question("area_share", numbers=(Number(40.0, "%"),)), said)
    assert (found["within_10"], found["mae_points"]) == (within, pytest.approx(off))


@pytest.mark.parametrize(
    ("said", "exact", "off"), [("3", 1, 0), ("three ships", 1, 0), ("5", 0, 2), ("", 0, 50), ("3%", 0, 50)]
)
def test_count(said: str, exact: int, off: float) -> None:
    found = scored(question("count", numbers=(Number(3.0),)), said)
    assert (found["exact"], found["mae"]) == (exact, pytest.approx(off))


@pytest.mark.parametrize(
    ("said", "iou", "pointing"),
    [
        ("[10, 10, 50, 50]", 1.0, 1),
        ("It is at [10, 10, 50, 30].", 0.5, 1),
        ("[60, 60, 90, 90]", 0.0, 0),
        ("[0, 0, 100, 100]", 0.16, 1),
        ("[10, 10, 50]", 0.0, 0),
        ("[50, 50, 10, 10]", 0.0, 0),
        ("top left", 0.0, 0),
        ("", 0.0, 0),
    ],
)
def test_where_is(said: str, iou: float, pointing: int) -> None:
    found = scored(question("where_is", boxes=(Box((10, 10, 50, 50), "per100"),)), said)
    assert found["iou"] == pytest.approx(iou) and found["pointing"] == pointing
    assert found["acc_0.5"] == float(iou >= 0.5) and found["acc_0.3"] == float(iou >= 0.3)


def test_where_is_in_other_dialects() -> None:
    """Models that count in pixels of the sent picture are read through its placement."""
    asked = question("where_is", boxes=(Box((10, 10, 50, 50), "per100"),))
    placed = Placement((200, 100), (0, 0, 200, 100), (100, 50), (0, 25), (100, 100))
    reply = Reply('{"bbox_2d": [10, 30, 50, 50], "label": "tank"}', "json_model", (200, 100), placed)
    assert STRICT.score(asked, STRICT.parse(asked, reply))["iou"] == pytest.approx(1.0)
    pixels = Reply("[20, 10, 100, 50]", "brackets_pixel", (200, 100))
    assert STRICT.score(asked, STRICT.parse(asked, pixels))["iou"] == pytest.approx(1.0)
    unplaced = Reply(reply.text, "json_model", (200, 100))
    assert STRICT.parse(asked, unplaced) is None


@given(text=st.one_of(st.text(), st.from_regex(r"[\[\]0-9., %a-c<>{}\-]{0,40}")))
@settings(max_examples=150, deadline=None)
def test_no_text_makes_the_parser_raise(text: str) -> None:
    for task in TASKS:
        asked = question(
            task,
            answer="yes" if task == "presence" else "tower",
            choices=("yes", "no") if task == "presence" else ("tower", "barn"),
            numbers=(Number(3.0),),
            boxes=(Box((1, 2, 3, 4), "per100"),),
            captions=("a tower",),
        )
        for value in scored(asked, text).values():
            assert 0 <= value <= 50


def test_names_to_choose_from_are_the_answers_of_the_set(probe: Path, rewrite: Any) -> None:
    rows = [json.loads(line) for line in (probe / "probe.jsonl").read_text().splitlines()]
    covers = iter(["Yes", "forest", "No", "bare soil"])
    rows = [row for row in rows if row["set"] == "aid_rsicd"]
    for row in rows:
        row["options"] = None
        if row["task"] == "compare":
            row["answer"] = next(covers)
    rewrite(probe, rows)
    found: dict[str, list[tuple[str, ...]]] = {}
    for asked in load(probe):
        found.setdefault(asked.task, []).append(asked.targets.choices)
    assert set(found["scene_class"]) == {("dense residential", "park", "parking", "pond")}
    assert set(found["which_is_higher"]) == {("left", "right")}
    assert found["compare"] == [("yes", "no"), ("bare soil", "forest")] * 2
    assert set(found["count"]) == {()}


@pytest.mark.parametrize(
    ("said", "right"),
    [("the left one", True), ("Left.", True), ("The left building is higher.", True), ("the right one", False)],
)
def test_which_is_higher(said: str, right: bool) -> None:
    assert scored(question("which_is_higher", answer="left", choices=("left", "right")), said)["accuracy"] == right


def test_where_the_probe_is_looked_for(probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LHRS_CHAT_PROBE", str(probe))
    assert find(None) == probe
    with pytest.raises(DataError, match="python -m data_prep probe"):
        find(tmp_path / "empty")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "riddle"}, "unknown task"),
        ({"id": 7}, "'id'"),
        ({"licence": None}, "'licence'"),
        ({"image": "images/none.png"}, "cannot be read"),
        ({"id": "synthetic-1-presence"}, "two questions have one id"),
        ({"task": "where_is", "box": [1, 2, 3]}, "needs a box"),
        ({"task": "count", "number": None}, "needs a number"),
        ({"task": "caption", "captions": []}, "needs captions"),
        ({"task": "scene_class", "options": ["pond"]}, "not among the options"),
    ],
)
def test_a_bad_row_is_named(probe: Path, rewrite: Any, change: dict[str, Any], message: str) -> None:
    rows = [json.loads(line) for line in (probe / "probe.jsonl").read_text().splitlines()]
    rewrite(probe, [{**rows[0], **change}, *rows[1:]])
    with pytest.raises(DataError, match=message):
        load(probe)


@pytest.mark.parametrize(("text", "message"), [("{", "no JSON"), ("[]", "no object"), ("\n", "no question")])
def test_a_broken_file_is_refused(probe: Path, text: str, message: str) -> None:
    (probe / "probe.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        load(probe)
