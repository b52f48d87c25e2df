"""What answers are worth: always from 0 to 1, and nothing outside their form."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

from lhrs_chat.models.scorers import Judged, Score
from lhrs_chat.schema import Box, Number, Targets
from tests import tiny
from training.recipe import GrpoPart
from training.rewards import REWARDS, Wanted
from training.rewards._form import answer_of, gated
from training.rewards.iou import step
from training.rewards.score import Better, Kept, kept_by

TRUTH = Wanted(
    "one",
    "any",
    "how many ships are there?",
    "Three.",
    Targets(
        answer="B",
        choices=("A. water", "B. a road"),
        boxes=(Box((0.0, 0.0, 50.0, 50.0), "per100"), Box((60.0, 60.0, 80.0, 90.0), "per100")),
        numbers=(Number(3.0),),
    ),
    size_px=(200, 100),
    dialect="brackets100",
)
PLAIN = [name for name in REWARDS.names() if name != "score"]


def worth(name: str, answer: str, truth: Wanted = TRUTH) -> float:
    (value,) = REWARDS.get(name).begin(GrpoPart())([answer], [truth])
    return value


def test_every_kind_is_there():
    assert REWARDS.names() == ["exact", "iou", "mcq", "numeric", "score"]


WORDS = st.text() | st.sampled_from(
    ["[0, 0, 50, 50]", "[0,0,50,50] [60,60,80,90]", "three", "3", "B", "<answer>", "</answer>", "<think>", "\n", "nan"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(WORDS, max_size=6).map("".join), max_size=4), st.sampled_from(PLAIN))
@pytest.mark.parametrize("form", ["think", "free"])
def test_every_reward_lies_between_0_and_1(form, texts, name):
    judge = REWARDS.get(name).begin(GrpoPart())
    wrapped = [f"<think>a\nb</think>\n<answer>{text}</answer>" for text in texts]
    for answers in (texts, wrapped):
        values = gated(answers, [TRUTH] * len(answers), {"*": judge}, "*", form)
        assert len(values) == len(answers) and all(0 <= value <= 1 for value in values)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>one\ntwo</think>\n<answer>a\nriver</answer>", "a\nriver"),
        ("  <think></think><answer> x </answer>\n", "x"),
        ("<think>so</think><answer></answer>", None),
        ("<answer>x</answer>", None),
        ("<think>so</think><answer>x</answer> and more", None),
        ("<think>so</think><answer>x</answer><answer>y</answer>", None),
        ("<think>so<think>so</think></think><answer>x</answer>", None),
        ("", None),
    ],
)
def test_form_of_a_thought_and_an_answer(text, answer):
    assert answer_of(text, "think") == answer
    assert answer_of(text, "free") == (text.strip() or None)


def test_the_gate():
    judges = {"a": lambda said, _: [1.0 for _ in said], "*": lambda said, _: [0.5 for _ in said]}
    good = "<think>so</think><answer>x</answer>"
    tasks = [Wanted("1", task, "", "", Targets()) for task in ("a", "b", "a")]
    assert gated([good, good, "x"], tasks, judges, "*", "think") == pytest.approx([1.0, 0.65, 0.0])


@pytest.mark.parametrize(
    ("name", "answer", "value"),
    [
        ("exact", " three", 1),
        ("exact", "thr ee.", 1),
        ("exact", "", 0),
        ("exact", "three ships", 0),
        ("mcq", "B", 1),
        ("mcq", "(b)", 1),
        ("mcq", "a road", 1),
        ("mcq", "A or B", 0),
        ("mcq", "", 0),
        ("numeric", "3", 1),
        ("numeric", "There are three ships.", 1),
        ("numeric", "3 or 4", 0),
        ("numeric", "3 m", 0),
        ("numeric", "many", 0),
        ("iou", "[0, 0, 50, 50] [60, 60, 80, 90]", 1),
        ("iou", "[60, 60, 80, 90] and [0, 0, 50, 50]", 1),
        ("iou", "[0, 0, 50, 50]", 0),
        ("iou", "[0, 0, 50, 50] [60, 60, 80, 90] [1, 1, 2, 2]", 0),
        ("iou", "[0, 0, 50, 50] [1, 1, 2, 2]", 0.5),
        ("iou", "[0, 0, 50, 38] [60, 60, 80, 90]", 0.85),
        ("iou", "nothing", 0),
    ],
)
def test_worth(name, answer, value):
    assert worth(name, answer) == pytest.approx(value)


def test_what_a_row_does_not_know_is_worth_nothing():
    bare = Wanted("bare", "any", "", "a river", Targets())
    assert [worth(name, "a river", bare) for name in PLAIN] == [1, 0, 0, 0]


def test_published_steps():
    assert [step(value) for value in (0.5, 0.55, 0.65, 0.75, 0.8, 0.81, 1.0)] == [0, 0.5, 0.6, 0.7, 0.7, 1, 1]


class ByLength:
    """A score model that likes long answers, and refuses blank ones."""

    name, weights_sha256, dialect, prompt_sha256 = "length", "", "brackets1", ""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, rows: list[Judged]) -> list[Score]:
        self.calls.append(len(rows))
        return [Score(float(len(row.answer))) if row.answer.strip() else Score(None, "blank") for row in rows]


def test_the_learned_reward_is_relative_to_the_answer_of_the_row(tmp_path):
    scorer = ByLength()
    judge = Better(scorer, Kept(tmp_path / "kept.json"))
    truths = [Wanted(name, "any", "what?", "river", Targets()) for name in ("a", "a", "b")]
    values = judge(["a river", "sea", "a river of some kind"], truths)
    assert values == pytest.approx([1 - math.exp(-0.2 * 2), 0, 1 - math.exp(-0.2 * 15)])
    assert judge(["rivers"], truths[:1]) == pytest.approx([1 - math.exp(-0.2)])
    assert judge([" "], truths[:1]) == [0.0]
    assert scorer.calls == [5, 1, 1], "one call a batch; the answer of a row is scored once"


def test_a_row_whose_own_answer_has_no_score_is_worth_nothing(caplog, tmp_path):
    bare = Wanted("bare", "any", "what?", " ", Targets())
    kept = Kept(tmp_path / "kept.json")
    judge = Better(ByLength(), kept)
    assert judge(["a river"], [bare]) == judge(["a river"], [bare]) == [0.0]
    assert caplog.text.count("bare") == 1 and kept.scores == {} and not kept.file.exists()


@pytest.fixture
def seen(tmp_path):
    """A row with a picture."""
    PilImage.fromarray(tiny.picture(1)).save(tmp_path / "seen.png")
    return Wanted("seen", "any", "what?", "river", Targets(), (str(tmp_path / "seen.png"),))


def test_scores_of_own_answers_are_kept_from_run_to_run(seen, tmp_path):
    first, again = ByLength(), ByLength()
    file = tmp_path / "there" / "kept.json"
    values = Better(first, Kept(file))(["a river"], [seen])
    assert Better(again, Kept(file))(["a river"], [seen]) == values
    assert (first.calls, again.calls) == ([2], [1])
    assert list(json.loads(file.read_text()).values()) == [5.0]
    assert [path.name for path in file.parent.iterdir()] == ["kept.json"]


@pytest.mark.parametrize("changed", ["answer", "question", "picture"])
def test_a_row_that_has_changed_is_scored_anew(seen, tmp_path, changed):
    kept = tmp_path / "kept.json"
    Better(ByLength(), Kept(kept))(["a river"], [seen])
    if changed == "picture":
        PilImage.fromarray(tiny.picture(2)).save(seen.files[0])
    else:
        seen = dataclasses.replace(seen, **{changed: "where is the river?"})
    scorer = ByLength()
    Better(scorer, Kept(kept))(["a river"], [seen])
    assert scorer.calls == [2] and len(Kept(kept).scores) == 2


def test_another_score_model_keeps_scores_of_its_own():
    places = set()
    for weights, prompt in [("a", "b"), ("a", "c"), ("c", "b")]:
        scorer = ByLength()
        scorer.weights_sha256, scorer.prompt_sha256 = weights, prompt
        places.add(kept_by(scorer).file)
    assert len(places) == 3


def test_scores_that_cannot_be_read_are_made_anew(seen, tmp_path, caplog):
    (tmp_path / "kept.json").write_text('{"cut')
    assert Better(ByLength(), Kept(tmp_path / "kept.json"))(["a river"], [seen]) == [pytest.approx(1 - math.exp(-0.4))]
    assert "made anew" in caplog.text and len(Kept(tmp_path / "kept.json").scores) == 1


def test_what_another_process_kept_stays(tmp_path):
    one, other = Kept(tmp_path / "kept.json"), Kept(tmp_path / "kept.json")
    one.add({"a": 1.0})
    other.add({"b": 2.0})
    assert Kept(tmp_path / "kept.json").scores == {"a": 1.0, "b": 2.0}
