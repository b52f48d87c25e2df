"""The held-out split of one's own data as a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PilImage

from eval import runner, runs
from eval.benchmarks import BENCHMARKS
from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Image, Message, Number, Part, Sample, Targets

BENCHMARK = BENCHMARKS.get("own_data")
BOX = Box((10.0, 10.0, 20.0, 20.0), "pixel", "tree")


def row(
    name: str, question: Message, answer: Message, targets: Targets, split: str = "test", task: str = "x"
) -> Sample:
    image = Image(path="a.png", size_px=(40, 20))
    return Sample(name, (image,), task, "wood", "CC0", "s", (question, answer), targets, split)


def ask(text: str) -> Message:
    return Message.of("user", text, images=(0,))


def say(text: str) -> Message:
    return Message.of("assistant", text)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    PilImage.new("RGB", (40, 20)).save(tmp_path / "a.png")
    marked = Message(
        "user", (Part("image", image=0), Part("text", text="What is "), Part("region", region=BOX, image=0))
    )
    boxed = Message("assistant", (Part("text", text="the tree: "), Part("region", region=BOX, image=0)))
    rows = [
        row("choice", ask("A tree?"), say("Yes."), Targets("Yes.", ("Yes.", "No."))),
        row("number", ask("How many trees?"), say("4"), Targets("4", numbers=(Number(4.0),))),
        row("box", ask("Find the tree."), boxed, Targets("the tree", boxes=(BOX,))),
        row("said", ask("Where?"), say("On the left: [25, 50, 50, 100]"), Targets(boxes=(BOX,))),
        row("caption", ask("What is there?"), say("Four trees."), Targets(captions=("Four trees.",))),
        row("region", marked, say("A tree."), Targets(boxes=(BOX,))),
        row("free", ask("Why?"), say("So."), Targets()),
        row("learned", ask("A tree?"), say("Yes."), Targets("Yes.", ("Yes.", "No.")), split="train"),
    ]
    samples.write(tmp_path / "rows.jsonl", rows)
    return tmp_path


def test_rows_that_can_be_scored_are_asked(data: Path) -> None:
    questions = BENCHMARK.load(BENCHMARK.find(data))
    assert {question.id: question.task for question in questions} == {
        **{"choice": "choice", "number": "number", "box": "grounding", "said": "grounding", "caption": "caption"},
    }


def test_right_answers_score_1_and_wrong_ones_0(data: Path, tmp_path: Path, scripted: Any) -> None:
    said = {"A tree?": "yes", "How many trees?": "four", "What is there?": "Four trees."}
    for name, answers, value in (("right", said, 1.0), ("wrong", {}, 0.0)):
        backend = scripted(lambda question, hashes, answers=answers: answers.get(question, "[0.25, 0.5, 0.5, 1]"))
        opened = runs.open_data("own_data", data)
        if name == "wrong":
            backend = scripted(lambda question, hashes: "")
        runner.run(BENCHMARK, opened.questions, backend, tmp_path / name, ["real"])
        rows = [line for line in runs.score(opened, tmp_path / name).summary()["rows"] if line["main"]]
        means = {line["task"]: line["conditions"]["real"]["mean"] for line in rows}
        assert means.keys() == {"choice", "number", "grounding", "caption"}
        assert all(means[task] == value for task in ("choice", "number"))


def test_what_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data"):
        BENCHMARK.find(None)
    other = tmp_path / "other"
    other.mkdir()
    PilImage.new("RGB", (4, 4)).save(other / "a.png")
    samples.write(other / "rows.jsonl", [row("a", ask("A tree?"), say("Yes."), Targets(), split="train")])
    with pytest.raises(DataError, match="no row has the split test"):
        BENCHMARK.load(other)
    (data / "a.png").unlink()
    with pytest.raises(DataError, match="not there"):
        BENCHMARK.load(data)
