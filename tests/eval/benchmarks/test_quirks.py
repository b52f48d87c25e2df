"""Every quirk a protocol claims: what the published scorer does, beside what `strict` says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from eval.benchmarks import BENCHMARKS, Question, Reply, _boxes, _rsvqa, lhrs_bench
from lhrs_chat.schema import Box, Targets

FIXTURES = Path(__file__).parents[2] / "data" / "benchmarks"


def asked(name: str, task: str = "", place: int = 0) -> Question:
    """One question of a fixture: the `place`-th of a task."""
    found = [q for q in BENCHMARKS.get(name).load(FIXTURES / name) if task in ("", q.task)]
    return found[place]


def right(name: str, question: Question, text: str, dialect: str = "brackets1") -> dict[str, float]:
    """The main metric in every protocol that scores the question by itself."""
    found = {}
    for kind, protocol in BENCHMARKS.get(name).protocols.items():
        scores = protocol.score(question, protocol.parse(question, Reply(text, dialect, question.size_px)))
        if protocol.main.get(question.task) in scores:
            found[kind] = scores[protocol.main[question.task]]
    return found


@pytest.mark.parametrize(
    ("place", "text", "strict", "official", "scorers"),
    [
        (0, "A", 1, 1, 1),
        (0, "", 0, 1, 1),
        (0, " B", 0, 1, 0),
        (0, "(B)", 0, 1, 0),
        (0, "-", 0, 1, 0),
        (0, "The answer is A.", 1, 0, 0),
        (1, "B", 1, 1, 1),
        (1, "(B)", 1, 0, 0),
        (1, "The answer is B.", 1, 0, 0),
        (1, "", 0, 0, 1),
        (1, "B. 12", 1, 1, 1),
        (1, "because", 0, 1, 0),
    ],
)
def test_lhrs_bench(place: int, text: str, strict: int, official: int, scorers: int) -> None:
    question = asked("lhrs_bench", place=place)
    assert (question.targets.answer or "")[0] == "AB"[place]
    assert right("lhrs_bench", question, text) == {"strict": strict, "official": official, "scorers": scorers}


def test_the_instruction_of_lhrs_bench_is_the_published_one() -> None:
    digest = hashlib.sha256(lhrs_bench.INSTRUCTION.encode()).hexdigest()
    assert digest == "6350869cf2176b9f2c59653d36fabf7c3ad02944d75fd554b8b1671cfc13d452"


def test_a_question_counts_in_each_of_its_types() -> None:
    questions = BENCHMARKS.get("lhrs_bench").load(FIXTURES / "lhrs_bench")
    pooled = BENCHMARKS.get("lhrs_bench").protocols["strict"].pooled["choice"]
    found = pooled(questions, ["A", "B", "A", "A"])
    assert dict(found) == {
        "average_over_types": 0.6,
        **{"accuracy_identity": 1.0, "accuracy_quantity": 1.0, "accuracy_reasoning": 1.0},
        **{"accuracy_color": 0.0, "accuracy_location": 0.0},
    }


def test_one_letter_for_all_gains_nothing_in_rotations() -> None:
    benchmark = BENCHMARKS.get("lhrs_bench_circular")
    questions = benchmark.load(FIXTURES / "lhrs_bench")
    assert len(questions) == 3 + 4 + 2 + 3
    strict = benchmark.protocols["strict"]
    always = [strict.score(q, strict.parse(q, Reply("B", "brackets1", q.size_px)))["accuracy"] for q in questions]
    assert sum(always) == 4, "each question is right in one rotation"
    assert strict.pooled["choice"](questions, ["B"] * len(questions)) == {"circular": 0.0}
    truth = [q.targets.answer or "" for q in questions]
    assert strict.pooled["choice"](questions, truth) == {"circular": 1.0}
    assert strict.pooled["choice"](questions, [*truth[:-1], ""]) == {"circular": 0.75}
    for question in questions:
        assert all(option in question.text for option in question.targets.choices)


@pytest.mark.parametrize(
    ("task", "text", "strict", "official", "scorers"),
    [
        ("presence", "yes", 1, 1, 1),
        ("presence", "Yes, there is.", 1, 0, 1),
        ("presence", "", 0, 1, 1),
        ("presence", "e", 0, 1, 1),
        ("presence", "no", 0, 0, 0),
        ("rural_urban", "The rural", 1, 1, 0),
        ("rural_urban", "It is a rural area", 1, 0, 0),
        ("rural_urban", "rural, I think", 1, 0, 1),
    ],
)
def test_rsvqa(task: str, text: str, strict: int, official: int, scorers: int) -> None:
    question = asked("rsvqa_lr", task)
    assert right("rsvqa_lr", question, text) == {"strict": strict, "official": official, "scorers": scorers}


def test_counts_and_areas_are_left_out_by_the_published_scorers() -> None:
    assert right("rsvqa_lr", asked("rsvqa_lr", "count"), "23") == {"strict": 1.0}
    assert right("rsvqa_hr", asked("rsvqa_hr", "area"), "350 m2") == {"strict": 1.0}


@pytest.mark.parametrize(("text", "plain"), [("None.", "0"), ("The Urban area", "urban area"), ("1,234", "1234")])
def test_the_plain_text_of_the_vqa_challenge(text: str, plain: str) -> None:
    assert _rsvqa.plain(text) == plain


@pytest.mark.parametrize(
    ("text", "exact", "near"), [("23", 1, 1), ("25", 0, 1), ("8", 0, 0), ("110", 0, 0), ("", 0, 0), ("23 m", 0, 0)]
)
def test_a_count_in_the_right_range(text: str, exact: int, near: int) -> None:
    strict = BENCHMARKS.get("rsvqa_lr").protocols["strict"]
    question = asked("rsvqa_lr", "count")
    found = strict.score(question, strict.parse(question, Reply(text, "brackets1", question.size_px)))
    assert (found["accuracy"], found["same_range"]) == (exact, near)


@pytest.mark.parametrize(
    ("text", "near", "exact"), [("350 m2", 1, 1), ("999 m2", 1, 0), ("100", 0, 0), ("1001 m2", 0, 0), ("", 0, 0)]
)
def test_an_area_in_the_right_range_is_right(text: str, near: int, exact: int) -> None:
    strict = BENCHMARKS.get("rsvqa_hr").protocols["strict"]
    question = asked("rsvqa_hr", "area")
    found = strict.score(question, strict.parse(question, Reply(text, "brackets1", question.size_px)))
    assert (found["accuracy"], found["exact"]) == (near, exact)


@pytest.mark.parametrize("name", ["dior_rsvg", "rsvg"])
def test_one_pixel_more_makes_boxes_far_apart_a_hit(name: str) -> None:
    box = Box((0.10, 0.10, 0.20, 0.20), "unit")
    question = Question("q", _boxes.TASK, "?", (), (100, 100), "s", "s", "CC0-1.0", Targets(boxes=(box,)))
    assert _boxes.plus_one_iou((0.25, 0.25, 0.35, 0.35), box.xyxy) == pytest.approx(0.59, abs=0.01)
    assert right(name, question, "[0.25, 0.25, 0.35, 0.35]") == {"strict": 0.0, "official": 1.0}
    assert right(name, question, "no box") == {"strict": 0.0, "official": 0.0}
    assert right(name, question, "[10, 10, 20, 20]", "brackets100") == {"strict": 1.0, "official": 1.0}


def test_the_headline_takes_one_expression_a_picture_and_drops_answers_without_a_box() -> None:
    box = Targets(boxes=(Box((0.1, 0.1, 0.2, 0.2), "unit"),))
    official = BENCHMARKS.get("dior_rsvg").protocols["official"]
    said = {"a": ["no box", "[0.1, 0.1, 0.2, 0.2]"], "b": ["[0.1, 0.1, 0.2, 0.2]"], "c": ["[0.7, 0.7, 0.9, 0.9]"] * 2}
    questions, scores = [], []
    for name, texts in said.items():
        for text in texts:
            path = Path(name)
            question = Question("q", _boxes.TASK, "?", (path,), (100, 100), "s", name, "CC0-1.0", box)
            questions.append(question)
            scores.append(official.score(question, official.parse(question, Reply(text, "brackets1", (100, 100)))))
    assert [own["acc_0.5"] for own in scores] == [0, 1, 1, 0, 0]
    found = official.derived[_boxes.TASK](questions, scores)
    assert found == {"headline": 1 / 2, "headline_with_unread": 1 / 3}
    assert official.derived[_boxes.TASK](questions[:1], scores[:1]) == {"headline": 0.0, "headline_with_unread": 0.0}


def test_an_overlap_of_half_is_a_hit_in_strict() -> None:
    question = Question(
        "q", _boxes.TASK, "?", (), (100, 100), "s", "s", "CC0-1.0", Targets(boxes=(Box((0, 0, 1, 1), "unit"),))
    )
    found = _boxes.score(question, (0.0, 0.0, 0.5, 1.0))
    assert (found["iou"], found["acc_0.5"], found["acc_0.7"]) == (0.5, 1.0, 0.0)
    assert BENCHMARKS.get("dior_rsvg").protocols["official"].score(question, (0.0, 0.0, 0.0, 1.0))["acc_0.5"] == 0.0


@pytest.mark.parametrize(
    ("task", "text", "strict", "official"),
    [
        ("vqa_presence", "yes", 1, 1),
        ("vqa_presence", "yesterday", 0, 1),
        ("vqa_quantity", "4", 1, 1),
        ("vqa_quantity", "14", 0, 1),
        ("vqa_quantity", "four", 1, 0),
        ("vqa_color", "It is gray.", 1, 1),
        ("vqa_color", "a greyish gray-blue", 0, 1),
        ("vqa_position", "bottom left", 1, 0),
        ("vqa_position", "", 0, 0),
    ],
)
def test_vrsbench_answers(task: str, text: str, strict: int, official: int) -> None:
    assert right("vrsbench", asked("vrsbench", task), text) == {"strict": strict, "official": official}


def test_vrsbench_boxes_are_one_longer() -> None:
    box = Box((10, 10, 12, 12), "per100")
    targets = Targets(boxes=(box,))
    question = Question("q", "grounding_unique", "?", (), (100, 100), "s", "s", "CC0-1.0", targets)
    said = "{<10><11><12><13>}"
    protocols = BENCHMARKS.get("vrsbench").protocols
    reply = Reply(said, "angles100", (100, 100))
    ious = {kind: p.score(question, p.parse(question, reply))["iou"] for kind, p in protocols.items()}
    assert ious == {"strict": pytest.approx(1 / 3), "official": pytest.approx(0.5)}
    assert right("vrsbench", question, said, "angles100") == {"strict": 0.0, "official": 1.0}


@pytest.mark.parametrize(
    ("text", "strict", "official"),
    [("bare land", 1, 1), ("BareLand", 1, 1), ("the bar", 0, 1), ("", 0, 0), ("no bare land but an airport", 0, 0)],
)
def test_scene_classes_by_likeness(text: str, strict: int, official: int) -> None:
    question = next(q for q in BENCHMARKS.get("scene_classification").load(FIXTURES / "scene_classification"))
    aid = Targets(answer="bare land", choices=("airport", "bare land", "pond"), labels=("airport", "bareland", "pond"))
    asked_aid = Question("q", question.task, "?", (), (9, 9), "AID", "s", "CC0-1.0", aid)
    read = {
        kind: protocol.parse(asked_aid, Reply(text, "brackets1", (9, 9))) == "bare land"
        for kind, protocol in BENCHMARKS.get("scene_classification").protocols.items()
    }
    assert read == {"strict": bool(strict), "official": bool(official)}


def test_an_answer_like_no_class_is_the_last_class() -> None:
    question = asked("scene_classification")
    official = BENCHMARKS.get("scene_classification").protocols["official"]
    for text in ("", "12345"):
        assert official.parse(question, Reply(text, "brackets1", (9, 9))) == question.targets.choices[-1]


@pytest.mark.parametrize(
    ("text", "strict", "official"),
    [
        ("30_to_40", 1, 1),
        ("about 35 %", 1, 0),
        ("40%", 1, 0),
        ("41%", 0, 0),
        ("30_to_40.", 1, 0),
        ("", 0, 0),
        ("between 30 and 40", 0, 0),
    ],
)
def test_change_ratios(text: str, strict: int, official: int) -> None:
    assert right("cdvqa", asked("cdvqa", "change_ratio"), text) == {"strict": strict, "official": official}


def test_changed_covers_may_be_said_in_words() -> None:
    question = asked("cdvqa", "largest_change")
    assert right("cdvqa", question, "Non-vegetated ground surface.") == {"strict": 1.0, "official": 0.0}


@pytest.mark.parametrize(
    ("text", "strict", "official"),
    [
        ("B", 1, 1),
        ("<think>A or D</think><answer>B</answer>", 1, 1),
        ("Because it is small", 0, 1),
        ("The answer is B", 1, 0),
        ("b.", 1, 1),
        ("", 0, 0),
    ],
)
def test_terrascope_letters(text: str, strict: int, official: int) -> None:
    question = asked("terrascope_bench", "coverage_percentage")
    assert (question.targets.answer or "")[0] == "B"
    assert right("terrascope_bench", question, text) == {"strict": strict, "official": official}


def test_an_answer_and_its_mask_are_scored_jointly(perfect: Callable[[Question], str]) -> None:
    strict = BENCHMARKS.get("terrascope_bench").protocols["strict"]
    question = asked("terrascope_bench", "coverage_percentage_with_mask")
    whole = perfect(question)
    letter, mask = (question.targets.answer or "")[:1], whole[whole.index("{") :]
    everything = '{"size": [12, 16], "counts": [0, 192]}'
    small = '{"size": [6, 8], "counts": [0, 48]}'
    other = "C" if letter != "C" else "A"
    expected = [
        (whole, 1.0, 1.0),
        (letter, 0.0, 0.0),
        (f"{letter} {everything}", 24 / 192, 0.0),
        (f"{other} {mask}", 1.0, 0.0),
        (f"{letter} {small}", 0.0, 0.0),
    ]
    for text, overlap, joint in expected:
        ((found),) = strict.corpus[question.task]([question], [text])
        assert found == {"mask_iou": pytest.approx(overlap), "joint": joint}, text


@pytest.mark.parametrize(
    ("task", "text", "strict", "official"),
    [
        ("object_counting", "B. 7", 1, 1),
        ("object_counting", "B", 1, 0),
        ("object_counting", "b. 7", 1, 0),
        ("object_existence", "a runway", 1, 1),
        ("object_existence", "a runway.", 1, 0),
        ("hallucination_detection", "No", 1, 1),
        ("hallucination_detection", "no", 1, 0),
        ("hallucination_detection", "", 0, 0),
    ],
)
def test_earthmind_options_to_the_letter(task: str, text: str, strict: int, official: int) -> None:
    assert right("earthmind_bench", asked("earthmind_bench", task), text) == {"strict": strict, "official": official}


@pytest.mark.parametrize(
    ("text", "strict", "official"),
    [("Bare Land.", 1, 1), ("bareland", 1, 1), ("It is bare land", 1, 0), ("Pond", 0, 0), ("", 0, 0)],
)
def test_geochat_scenes(text: str, strict: int, official: int) -> None:
    assert right("geochat_bench", asked("geochat_bench", "scene_class"), text) == {
        "strict": strict,
        "official": official,
    }


def test_geochat_has_no_scorer_for_rsvqa() -> None:
    assert right("geochat_bench", asked("geochat_bench", "presence"), "yes") == {"strict": 1.0}


@pytest.mark.parametrize(
    ("task", "text", "strict", "official"),
    [
        ("route_planning", "B", 1, 1),
        ("route_planning", "B. There are three cars", 1, 0),
        ("route_planning", "Answer: B", 1, 0),
        ("route_planning", "b", 1, 0),
        ("overall_land_use_classification", "A C", 1, 1),
        ("overall_land_use_classification", "AC", 1, 1),
        ("overall_land_use_classification", "A", 0, 0),
        ("overall_land_use_classification", "A, B, C", 0, 0),
        ("overall_land_use_classification", "", 0, 0),
    ],
)
def test_xlrs_letters_in_words(task: str, text: str, strict: int, official: int) -> None:
    assert right("xlrs_lite", asked("xlrs_lite", task), text) == {"strict": strict, "official": official}


@pytest.mark.parametrize(
    ("task", "place", "text", "strict", "official"),
    [
        ("basic_counting", 0, "10%-20%", 1, 1),
        ("basic_counting", 0, "about 15 %", 1, 0),
        ("basic_counting", 0, "25 %", 0, 0),
        ("reasoning_counting", 0, "three", 1, 0),
        ("situation_analysis", 0, "There are rivers and ponds.", 1, 0),
        ("situation_analysis", 0, "rivers", 0, 0),
        ("reasoning_judging", 0, "It is rural", 1, 0),
    ],
)
def test_earthvqa_answers(task: str, place: int, text: str, strict: int, official: int) -> None:
    assert right("earthvqa", asked("earthvqa", task, place), text) == {"strict": strict, "official": official}


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        (0, "It is flooded.", 1),
        (0, "non flooded", 0),
        (1, "non-flooded", 1),
        (1, "It is not flooded", 1),
        (1, "flooded", 0),
        (2, "partly flooded", 1),
        (2, "flooded", 0),
        (2, "", 0),
    ],
)
def test_flood_conditions(place: int, text: str, expected: int) -> None:
    question = asked("floodnet_vqa", "condition_recognition", place)
    assert right("floodnet_vqa", question, text) == {"strict": expected}


@pytest.mark.parametrize(
    ("text", "hit", "overlap"),
    [
        ("[0.15625, 0.166667, 0.40625, 0.416667] [0.53125, 0.208333, 0.78125, 0.541667]", 1.0, 1.0),
        ("[0.53125, 0.208333, 0.78125, 0.541667] [0.15625, 0.166667, 0.40625, 0.416667]", 1.0, 1.0),
        ("[0.15625, 0.166667, 0.40625, 0.416667]", 0.0, 0.5),
        (
            "[0.15625, 0.166667, 0.40625, 0.416667] [0.53125, 0.208333, 0.78125, 0.541667] [0.8, 0.8, 0.9, 0.9]",
            *(0.0, 2 / 3),
        ),
        ("[0.15625, 0.166667, 0.40625, 0.416667] " * 2, 0.0, 0.5),
        ("", 0.0, 0.0),
    ],
)
def test_several_objects_are_right_where_each_is_met_and_no_box_is_left_over(
    text: str, hit: float, overlap: float
) -> None:
    strict = BENCHMARKS.get("geochat_bench").protocols["strict"]
    question = asked("geochat_bench", "refer_small_several")
    found = strict.score(question, strict.parse(question, Reply(text, "brackets1", question.size_px)))
    assert found["acc_0.5"] == hit and found["iou"] == pytest.approx(overlap, abs=1e-3)


def test_the_columns_of_geochats_table_group_the_tasks() -> None:
    groups = BENCHMARKS.get("geochat_bench").protocols["strict"].averages
    assert len(groups["boxes"]) == 12 and len(groups["small"]) == 4 and len(groups["refer"]) == 6
    assert groups["several"] == tuple(task for task in groups["boxes"] if task.endswith("_several"))
