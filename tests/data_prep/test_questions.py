"""Questions: each answer parses back to its target, both sides of a choice are as frequent, nothing is given away."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from data_prep.builders import _wordings as wordings
from data_prep.builders._regions import REGIONS, compact_box, region_of
from data_prep.builders.nano import DRILLS, TASKS, build, clean_caption, rounded_share
from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Image, Mask, Number, Sample, Targets
from lhrs_chat.text.grounding import parse

SIZE = 96


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Sample, list[Sample]]]:
    facts = SOURCES.get("synthetic").read(None, SourceOptions(count=200, seed=5, size_px=SIZE))
    rng = np.random.default_rng(0)
    return [(sample, build(sample, rng)) for sample in facts]


@pytest.fixture(scope="module")
def rows(pairs: list[tuple[Sample, list[Sample]]]) -> list[Sample]:
    return [row for _, made in pairs for row in made]


def _facts(**changes: object) -> Sample:
    targets = Targets(
        labels=("port",),
        boxes=(Box((5, 5, 25, 15), "pixel", "ship"), Box((70, 60, 90, 95), "pixel", "building")),
        numbers=(
            Number(60.0, "%", "computed", "water"),
            Number(40.0, "%", "computed", "pavement"),
            Number(1, "", "computed", "ship"),
            Number(1, "", "computed", "building"),
            Number(4.0, "m", "computed", "height of box 0"),
            Number(12.0, "m", "computed", "height of box 1"),
        ),
        captions=("a port with one ship .",),
    )
    row = Sample(
        id="made-0",
        images=(Image(path="made.png", size_px=(100, 100)),),
        task="facts",
        source="made",
        licence="CC0-1.0",
        scene_id="made",
        targets=targets,
        split="val",
        meta={"complete": ["ship", "water", "forest"]},
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def _all(sample: Sample, task: str, seeds: int = 40) -> list[Sample]:
    return [row for seed in range(seeds) for row in build(sample, np.random.default_rng(seed)) if row.task == task]


def test_rows_keep_what_identifies_them(pairs: list[tuple[Sample, list[Sample]]]) -> None:
    ids = [row.id for _, made in pairs for row in made]
    assert len(ids) == len(set(ids))
    for sample, made in pairs:
        for row in made:
            assert re.fullmatch(rf"{re.escape(sample.id)}/({'|'.join(TASKS + DRILLS)})/\d+", row.id)
            assert row.id.split("/")[1] == row.task
            assert (row.split, row.scene_id, row.licence) == (sample.split, sample.scene_id, sample.licence)
            user, assistant = row.messages
            assert [part.type for part in user.content] == ["image", "text"] and user.content[0].image == 0
            assert (user.role, assistant.role) == ("user", "assistant")
            assert assistant.text == row.targets.answer


def test_every_task_is_asked(rows: list[Sample]) -> None:
    assert {row.task for row in rows} == {*TASKS, *DRILLS}


def test_the_same_generator_gives_the_same_rows() -> None:
    sample = next(SOURCES.get("synthetic").read(None, SourceOptions(count=1, seed=9, size_px=64)))
    first, second = (build(sample, np.random.default_rng(4)) for _ in range(2))
    assert [(r.id, r.messages, r.targets) for r in first] == [(r.id, r.messages, r.targets) for r in second]


def test_count_limits_the_rows() -> None:
    sample = _facts()
    assert len(build(sample, np.random.default_rng(0), count=3)) == 3
    assert build(sample, np.random.default_rng(0), count=0) == []
    assert len(build(sample, np.random.default_rng(0), count=999)) == len(build(sample, np.random.default_rng(0)))


def test_every_answer_parses_back_to_its_target(rows: list[Sample]) -> None:
    for row in rows:
        answer, targets = row.messages[1].text, row.targets
        if row.task == "presence":
            assert answer in ("Yes.", "No.") and len(targets.labels) == 1
        elif row.task == "count":
            assert int(answer) == targets.numbers[0].value
        elif row.task == "area_share":
            match = re.fullmatch(r"About (\d+)%\.", answer)
            assert match and abs(int(match[1]) - targets.numbers[0].value) <= 2.5
        elif row.task == "where_is":
            match = re.fullmatch(r"In the ([a-z ]+): (\[\d+, \d+, \d+, \d+\])", answer)
            assert match and match[1] in REGIONS
            (box,) = parse(answer, "brackets100")
            truth = [value / SIZE * 100 for value in targets.boxes[0].xyxy]
            assert all(value % 5 == 0 for value in box.xyxy)
            assert np.allclose(box.xyxy, truth, atol=5.01)
            assert targets.boxes[0].frame == "pixel"
        elif row.task == "scene_class":
            assert (answer,) == targets.labels
        elif row.task == "caption":
            assert answer in targets.captions
        elif row.task == "which_parts":
            parts = re.fullmatch(r"The (.+)\.", answer)
            assert parts and set(parts[1].split(", ")) <= set(REGIONS)
        elif row.task == "what_is_at":
            assert (answer,) == targets.labels
        else:
            assert answer in targets.choices


def test_comparisons_are_true(rows: list[Sample]) -> None:
    for row in (row for row in rows if row.task == "compare"):
        first, second = row.targets.numbers
        assert first.value != second.value
        larger = first if first.value > second.value else second
        if row.targets.answer in ("Yes.", "No."):
            assert (row.targets.answer == "Yes.") == (larger is first)
            text = row.messages[0].text
            words = [wordings.area(n.label) if n.unit else wordings.plural(n.label) for n in (first, second)]
            assert text.index(words[0]) < text.rindex(words[1])
        else:
            assert row.targets.answer == larger.label


def test_presence_is_true_and_balanced(pairs: list[tuple[Sample, list[Sample]]]) -> None:
    answers: Counter[str] = Counter()
    by_label: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample, made in pairs:
        numbers = {n.label: n.value for n in sample.targets.numbers if n.unit in ("%", "")}
        boxed = {box.label for box in sample.targets.boxes}
        for row in made:
            if row.task != "presence":
                continue
            label, answer = row.targets.labels[0], row.messages[1].text
            answers[answer] += 1
            by_label[label][answer] += 1
            if answer == "No.":
                assert label in sample.meta["complete"] and label not in numbers and label not in boxed
            else:
                assert numbers.get(label, 0) >= 1 or label in boxed
    assert sum(answers.values()) > 400
    assert 0.4 < answers["Yes."] / sum(answers.values()) < 0.6
    for label, counts in by_label.items():  # asking for a label must not give the answer away
        if sum(counts.values()) >= 60:
            assert 0.25 < counts["Yes."] / sum(counts.values()) < 0.75, label


def test_presence_follows_a_list_of_the_source() -> None:
    sample = _facts(targets=Targets(labels=("port",)), meta={"present": ["ship"], "complete": ["runway"]})
    asked = {(row.targets.labels[0], row.targets.answer) for row in _all(sample, "presence")}
    assert asked == {("ship", "Yes."), ("runway", "No.")}


def test_rows_without_amounts_are_not_asked_for_amounts() -> None:
    sample = _facts(targets=Targets(labels=("port",)), meta={"present": ["ship"], "complete": ["water", "car"]})
    assert _all(sample, "count") == [] and _all(sample, "area_share") == []


def test_both_sides_of_presence_are_asked_as_often_within_a_scene() -> None:
    answers = Counter(row.targets.answer for row in build(_facts(), np.random.default_rng(0)) if row.task == "presence")
    assert answers == {"Yes.": 1, "No.": 1}  # only `forest` is certainly absent


def test_absence_is_never_claimed_without_complete_facts() -> None:
    sample = _facts(meta={"complete": []})
    asked = _all(sample, "presence")
    assert asked and all(row.targets.answer == "Yes." for row in asked)
    assert all(row.targets.answer != "0" for row in _all(sample, "count"))


def test_no_wording_contains_the_answer(rows: list[Sample]) -> None:
    for row in rows:
        question, answer = row.messages[0].text, row.messages[1].text
        if row.task in ("presence", "count", "area_share", "where_is", "caption"):
            assert answer.rstrip(".").lower() not in question.lower().split()
            assert answer not in question
        elif row.task == "scene_class" and not row.targets.choices:
            assert not re.search(rf"\b{answer}\b", question)
        elif row.task == "scene_class":
            assert row.meta["options"] == list(row.targets.choices)
            assert all(option in question for option in row.targets.choices)
        elif row.targets.answer not in ("Yes.", "No."):  # both choices are named alike
            for choice in row.targets.choices:
                assert choice.removeprefix("the ").removesuffix(" one") in question


def test_each_task_has_six_wordings_at_least() -> None:
    for name in dir(wordings):
        value = getattr(wordings, name)
        if name.isupper() and isinstance(value, tuple) and name not in ("OPTIONS", "AREA_SHARE_MASS"):
            assert len(set(value)) == len(value) >= 6, name


@pytest.mark.parametrize(
    ("question", "task"),
    [
        ("How much of this scene is water?", "area_share"),
        ("Is there water in this image?", "presence"),
        ("How many ships are there?", "count"),
        ("Where is the ship?", "where_is"),
        ("What does this image show?", "scene_class"),
        ("Describe this scene.", "caption"),
    ],
)
def test_natural_questions_are_among_them(question: str, task: str) -> None:
    assert question in {row.messages[0].text for row in _all(_facts(), task, seeds=200)}


def test_water_of_a_lake_is_asked_for_as_the_lake() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[10:40, 20:60] = True
    targets = Targets(labels=("lake",), masks=(Mask.from_array(mask, "water"),))
    asked = _all(_facts(targets=targets), "where_is")
    assert "Where is the lake?" in {row.messages[0].text for row in asked}
    assert {row.messages[1].text for row in asked} == {"In the upper middle: [20, 10, 60, 40]"}


def test_drills_tell_what_lies_in_which_ninth() -> None:
    water = np.zeros((90, 90), dtype=bool)
    water[:30, 30:] = True
    masks = (Mask.from_array(water, "water"), Mask.from_array(~water, "forest"))
    sample = _facts(targets=Targets(masks=masks))
    parts = {(row.targets.labels[0], row.messages[1].text) for row in _all(sample, "which_parts")}
    assert parts == {("water", "The upper middle, upper right.")}  # the forest fills more ninths than are listed
    told = {(row.messages[0].text, row.messages[1].text) for row in _all(sample, "what_is_at")}
    for region in REGIONS:
        answers = {answer for question, answer in told if region in question}
        assert answers == {"water" if region in ("upper middle", "upper right") else "forest"}, region
    shifted = np.roll(water, 6, axis=0)  # a fifth of the second row of ninths: nobody can say
    masks = (Mask.from_array(shifted, "water"), Mask.from_array(~shifted, "forest"))
    assert not _all(_facts(targets=Targets(masks=masks)), "which_parts")


def test_where_is_asks_for_the_largest_of_several() -> None:
    boxes = [Box((0, 0, 10, 10), "pixel", "ship"), Box((60, 60, 90, 90), "pixel", "ship")]
    asked = _all(_facts(targets=Targets(boxes=tuple(boxes))), "where_is")
    assert asked and all("largest ship" in row.messages[0].text for row in asked)
    assert {row.messages[1].text for row in asked} == {"In the lower right: [60, 60, 90, 90]"}
    alike = (boxes[1], Box((0, 0, 29, 29), "pixel", "ship"))
    assert _all(_facts(targets=Targets(boxes=alike)), "where_is") == []


def test_where_is_reads_boxes_of_other_frames_and_oblong_images() -> None:
    sample = _facts(
        images=(Image(path="made.png", size_px=(200, 50)),),
        targets=Targets(boxes=(Box((0.5, 0.0, 1.0, 0.5), "unit", "ship"),)),
    )
    (row, *_) = _all(sample, "where_is")
    assert row.messages[1].text == "In the upper right: [50, 0, 100, 50]"
    assert row.targets.boxes[0].xyxy == pytest.approx((100, 0, 200, 25))


def test_without_a_size_nothing_is_located() -> None:
    sample = _facts(images=(Image(path="made.png"),))
    tasks = {row.task for seed in range(20) for row in build(sample, np.random.default_rng(seed))}
    assert "where_is" not in tasks and {"caption", "presence", "which_is_higher"} <= tasks


def test_higher_is_told_by_side_and_by_name() -> None:
    named = _all(_facts(), "which_is_higher")
    assert {row.targets.answer for row in named} == {"the building"}
    two = Targets(
        boxes=(Box((5, 5, 15, 15), "pixel", "building"), Box((70, 60, 90, 95), "pixel", "building")),
        numbers=(
            Number(2, "", "computed", "building"),
            Number(20.0, "m", "computed", "height of box 0"),
            Number(5.0, "m", "computed", "height of box 1"),
        ),
    )
    asked = _all(_facts(targets=two), "which_is_higher")
    assert {row.targets.answer for row in asked} == {"the left one"}
    level = replace(two, numbers=(two.numbers[0], Number(5.5, "m", "computed", "height of box 0"), two.numbers[2]))
    assert _all(_facts(targets=level), "which_is_higher") == []


def test_higher_is_balanced(rows: list[Sample]) -> None:
    sides = Counter(row.targets.answer for row in rows if row.task == "which_is_higher")
    left, right = sides["the left one"], sides["the right one"]
    assert left + right > 10 and 0.2 < left / (left + right) < 0.8


@pytest.mark.parametrize(
    ("percent", "answer"),
    [(0.0, 0), (0.4, 0), (0.8, 1), (1.6, 2), (3.4, 2), (3.6, 5), (7.4, 5), (33.0, 35), (98.0, 100), (100.0, 100)],
)
def test_shares_are_rounded(percent: float, answer: int) -> None:
    assert rounded_share(percent) == answer


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a port  with one ship .", "A port with one ship."),
        ("many trees , and a road", "Many trees, and a road."),
        ("Done.", "Done."),
    ],
)
def test_captions_are_cleaned(text: str, clean: str) -> None:
    assert clean_caption(text) == clean


def test_regions_name_the_ninths() -> None:
    centres = [(x, y) for y in (10, 50, 90) for x in (10, 50, 90)]
    named = [region_of(Box((x - 5, y - 5, x + 5, y + 5), "per100")) for x, y in centres]
    assert tuple(named) == REGIONS
    assert region_of(Box((100, 100, 100, 100), "per100")) == "lower right"
    with pytest.raises(DataError):
        region_of(Box((0, 0, 1, 1), "pixel"))


def test_only_a_cover_that_lies_together_has_a_box() -> None:
    mask = np.zeros((200, 300), dtype=bool)
    mask[20:80, 30:120] = True
    box = compact_box(Mask.from_array(mask, "water"), (600, 400))
    assert box is not None and box.xyxy == (60, 40, 240, 160)
    mask[120:180, 180:270] = True  # a second piece as large
    assert compact_box(Mask.from_array(mask, "water"), (300, 200)) is None
    assert compact_box(Mask.from_array(np.ones((50, 50), dtype=bool), "water"), (50, 50)) is None
    assert compact_box(Mask.from_array(np.zeros((50, 50), dtype=bool), "water"), (50, 50)) is None


def test_only_facts_are_taken() -> None:
    with pytest.raises(DataError, match="facts"):
        build(_facts(task="count"), np.random.default_rng(0))
    with pytest.raises(DataError, match="image"):
        build(_facts(images=()), np.random.default_rng(0))
