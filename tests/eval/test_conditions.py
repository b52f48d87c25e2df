from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval import conditions, runner, runs
from eval.benchmarks import BENCHMARKS, Question
from eval.conditions import CONTROLS, find, grey, in_order, plan
from eval.options import permute
from eval.pictures import Pictures
from lhrs_chat.corruptions import CORRUPTIONS
from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.schema import Box, Targets
from lhrs_chat.text import answers

BENCHMARK = BENCHMARKS.get("nano_probe")


def made(text: str, targets: Targets, name: str = "q") -> Question:
    return Question(name, "choice", text, (Path("a.png"),), (40, 20), "one", "s", "CC0-1.0", targets)


def test_grey_keeps_brightness_and_loses_colour() -> None:
    pixels = np.array([[[0, 30, 60], [255, 255, 255]]], dtype=np.uint8)
    assert grey(pixels, 0).tolist() == [[[30, 30, 30], [255, 255, 255]]]
    assert grey(pixels, 0).dtype == np.uint8


@pytest.mark.parametrize("letter", "ABC")
def test_lettered_options_move_and_the_truth_with_them(letter: str) -> None:
    words = {"A": "water", "B": "a dense forest", "C": "bare land"}
    options = tuple(f"{key}. {value}" for key, value in words.items())
    text = f"What is it?\nChoices: {' '.join(options)} Answer with A., B., C., etc."
    asked = permute(made(text, Targets(answer=f"{letter}. {words[letter]}", choices=options)), 0)
    assert asked is not None and asked.text != text
    truth = asked.targets.answer or ""
    assert truth.endswith(words[letter]) and truth[0] != letter and truth in asked.targets.choices
    assert all(choice in asked.text for choice in asked.targets.choices)
    assert asked.text.endswith(" Answer with A., B., C., etc.")
    assert answers.choice(f"The answer is {truth[0]}", asked.targets.choices) == truth


def test_bare_letters_are_mapped() -> None:
    text = "Which ones?\n(A) roads\n(B) ships\n(C) planes\n(D) trees\nSeveral may be right."
    asked = permute(made(text, Targets(answer="A, C", choices=("A", "B", "C", "D"), labels=("colour",))), 3)
    assert asked is not None
    lines = dict(line[1:].split(") ") for line in asked.text.splitlines()[1:5])
    assert {lines[letter] for letter in (asked.targets.answer or "").split(", ")} == {"roads", "planes"}
    assert asked.targets.choices == ("A", "B", "C", "D") and asked.targets.labels == ("colour",)


def test_named_options_change_places() -> None:
    asked = permute(made("Is it rural or Urban?", Targets(answer="urban", choices=("rural", "urban"))), 0)
    assert asked is not None and asked.text == "Is it Urban or rural?" and asked.targets.answer == "urban"


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("Is there water?", ("yes", "no")),
        ("How many?", ()),
        ("water, water or land?", ("water", "land")),
        ("A. one B. two", ("A. one", "B. three")),
        ("A. one", ("A. one",)),
    ],
)
def test_a_question_without_options_is_not_permuted(text: str, choices: tuple[str, ...]) -> None:
    assert permute(made(text, Targets(answer="water", choices=choices)), 0) is None


def test_no_option_stays_and_seeds_differ() -> None:
    options = tuple(f"{letter}. word{letter}" for letter in "ABCDE")
    asked = [permute(made(" ".join(options), Targets(answer=options[0], choices=options)), seed) for seed in range(60)]
    assert all(not set(a.targets.choices) & set(options) for a in asked if a is not None)
    assert len({a.targets.answer for a in asked if a is not None}) == 4


def test_order_of_conditions() -> None:
    names = [c.name for c in in_order(["cloud:3", "permuted", "real", "blind", "cloud:1", "blind"])]
    assert names == ["real", "blind", "permuted", "cloud:1", "cloud:3"]
    with pytest.raises(DataError, match="did you mean blind"):
        find("blnd")
    with pytest.raises(ConfigError, match="no such corruption"):
        find("clowd:3")


def test_every_corruption_can_be_asked(probe: Path) -> None:
    questions = BENCHMARK.load(probe)
    for name in CORRUPTIONS.names():
        asks = plan(questions, [f"{name}:1"])
        assert len(asks) >= len(questions) - len([q for q in questions if q.targets.boxes])
        request = runner.make_request(asks[0], Pictures(), 0)
        assert request.images[0].dtype == np.uint8 and request.images[0].shape[2] == 3
        assert request.image_hashes[0] != plan(questions, ["real"])[0].shown[0].name
        again = runner.make_request(plan(questions, [f"{name}:1"])[0], Pictures(), 0)
        assert np.array_equal(request.images[0], again.images[0])


def test_truth_turns_with_the_picture() -> None:
    targets = Targets(answer="at the top left", boxes=(Box((0, 0, 10, 5), "pixel"),))
    (ask,) = plan([made("What is on the left?", targets)], ["quarter_turn:1"])
    assert ask.question.size_px == (20, 40)
    assert ask.question.text == "What is on the bottom?"
    assert ask.question.targets.boxes[0].xyxy == (0, 30, 5, 40)
    assert ask.question.targets.answer == "at the bottom left"


def test_a_target_that_leaves_the_picture_is_not_asked_for() -> None:
    corner = Targets(boxes=(Box((0, 0, 1, 1), "pixel"),))
    middle = Targets(boxes=(Box((18, 8, 22, 12), "pixel"),))
    asks = plan([made("Where?", corner, "corner"), made("Where?", middle, "middle")], ["rotate:5"])
    assert [ask.question.id for ask in asks] == ["middle"]


def test_options_of_the_probe_move(probe: Path) -> None:
    data = runs.open_data("nano_probe", probe)
    higher = [q for q in data.questions if q.task == "which_is_higher"]
    moved = {ask.question.text for ask in plan(higher, ["permuted"])}
    assert moved == {"Which is higher, right or left?"}


def test_controls_are_reported_as_drops(probe: Path, tmp_path: Path, scripted: Any, perfect: Any) -> None:
    data = runs.open_data("nano_probe", probe)
    names = ["real", *CONTROLS, "cloud:1", "cloud:5"]
    runner.run(BENCHMARK, data.questions, scripted(perfect), tmp_path / "out", names)
    summary = runs.score(data, tmp_path / "out").summary()
    assert summary["conditions"] == names
    rows = {(row["subset"], row["task"]): row for row in summary["rows"] if row["main"]}
    presence = rows["synthetic", "presence"]
    assert {c: d["mean"] for c, d in presence["differences"].items()} == dict.fromkeys(
        ("blind", "grey", "cloud:1", "cloud:5"), 1.0
    ) | {"shuffled": 0.8}
    assert presence["differences"]["grey"]["questions"] == 5
    assert "permuted" not in presence["conditions"]
    assert rows["synthetic", "which_is_higher"]["differences"]["permuted"]["questions"] == 5
    assert conditions.find("grey").about in summary["about"].values()
