"""What a question asks for; above all, that a cover is not measured for a question that asks something else."""

from __future__ import annotations

import pytest

from lhrs_chat.errors import LhrsError
from lhrs_chat.text import questions


@pytest.mark.parametrize(
    ("question", "thing"),
    [
        ("Where is the lake?", "lake"),
        ("Where's the river?", "river"),
        ("Where are the ships in this image?", "ships"),
        ("Where are the flooded fields?", "flooded fields"),
        ("Please locate the large white building.", "large white building"),
        ("Can you point to any of the storage tanks?", "storage tanks"),
        ("Give the bounding box of the stadium", "stadium"),
        ("How many ships are there?", "ships"),
        ("How many boats are on the lake?", "boats"),
        ("How many cars can you see in the picture?", "cars"),
        ("How many hectares of forest are there?", "forest"),
        ("Is there any water in the first image?", "water"),
        ("Are there ships?", "ships"),
        ("How much of this scene is covered by trees?", "trees"),
        ("What is the area of the lake?", "lake"),
        ("Describe this scene.", ""),
        ("How much forest and how much water is there?", ""),
    ],
)
def test_the_thing_that_is_asked_for(question: str, thing: str) -> None:
    assert questions.asked_thing(question) == thing


@pytest.mark.parametrize(
    "question",
    [
        *("How much water is there?", "How much of this scene is water?", "how much water can you see in the image"),
        *("What percentage of the scene is water", "What fraction of the first image is covered by water?"),
        *("Percentage of water?", "water percentage", "Estimate the water coverage.", "Water?", "Any water?"),
        *("How many square kilometres of water are there?", "Which part of the image is water?"),
        *("Find out how much water there is.", "How large is the water area?", "Is most of the scene under water?"),
        *("Is there water?", "Is there any water in this image?", "Is there a lot of water?", "Can you see water?"),
        *("Does it contain water?", "Is water present?", "Is any water visible?", "Is this scene mostly water?"),
        *("Where is the water", "Where is water located?", "Show me where the water is", "Mark all water bodies"),
        *("Segment the water.", "Map the water", "Where are the bodies of water in image 2?", "WHERE IS THE WATER?"),
    ],
)
def test_water_is_asked_for(question: str) -> None:
    assert questions.asked_covers(question) == (questions.AskedCover("water", "water"),)


@pytest.mark.parametrize(
    ("question", "cover", "named"),
    [
        ("Where are the rivers?", "water", "rivers"),
        ("What is the size of the lake?", "water", "lake"),
        ("How big is the lake?", "water", "lake"),
        ("What area does the lake cover?", "water", "lake"),
        ("How large is the flooded area?", "water", "flooded"),
        ("Which areas are flooded?", "water", "flooded"),
        ("Is the area flooded?", "water", "flooded"),
        ("Is there flood water?", "water", "flood"),
        ("What percentage of the image is covered by forest?", "vegetation", "forest"),
        ("How much of the land is covered by grass?", "vegetation", "grass"),
        ("Does the image contain any trees?", "vegetation", "trees"),
    ],
)
def test_a_kind_of_a_cover_is_known_as_one(question: str, cover: str, named: str) -> None:
    (asked,) = questions.asked_covers(question)
    assert (asked.cover, asked.named, asked.is_kind) == (cover, named, True)


@pytest.mark.parametrize(
    ("question", "covers"),
    [
        ("What is the vegetation cover?", ["vegetation"]),
        ("Which is larger, water or vegetation?", ["water", "vegetation"]),
        ("Compare the area of forest and water.", ["vegetation", "water"]),
        ("How much forest and how much water is there?", ["vegetation", "water"]),
        ("What share is vegetation, and where is the water?", ["vegetation", "water"]),
    ],
)
def test_covers_in_the_order_of_the_question(question: str, covers: list[str]) -> None:
    assert [asked.cover for asked in questions.asked_covers(question)] == covers


@pytest.mark.parametrize(
    "question",
    [
        *("Describe this scene.", "What is the water quality?", "What colour is the water?", "Is the water clean?"),
        *("How deep is the water?", "How long is the river?", "How many lakes are there?", "How many trees are there?"),
        *("Is there a water tower?", "Where are the boats on the water?", "Where is the house near the lake?"),
        *("Is there a bridge over the river?", "Is there a road through the forest?", "Are there trees near the lake?"),
        *("Is there water in the upper left?", "How much water is in the north?", "Where is the largest lake?"),
        *("How much of the scene is not water?", "What percentage of the image is without water?"),
        *("How much of the forest was burnt?", "How much water was lost since the first image?"),
        *("How much did the water change?", "How many buildings are flooded?", "Where are the flooded buildings?"),
        *("Is it a forest or a city?", "What is the crop type?", "How far is the ship from the water?"),
        *("How much of the area around the lake is built up?", "What share of the image do buildings cover?"),
        *("Is the area near the water urban?", "How many pine trees are there?", "Where are the dead trees?"),
        *("How much land is there?", "What stands in the water?", "Is there a swimming pool?", "", "?"),
    ],
)
def test_no_cover_is_asked_for(question: str) -> None:
    assert questions.asked_covers(question) == ()


@pytest.mark.parametrize(
    ("question", "count", "number"),
    [
        ("What changed?", 2, 1),
        ("What is in image 1?", 2, 0),
        ("What is in image 3?", 2, 1),
        ("Where is the lake in the second picture?", 3, 1),
        ("What is this?", 1, 0),
    ],
)
def test_the_image_a_question_is_about(question: str, count: int, number: int) -> None:
    assert questions.about(question, count) == number


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"question": " \n"}, "empty"),
        ({"question": "x" * (questions.MAX_CHARS + 1)}, "too long"),
        ({"question": "caf\udce9"}, "no text"),
        ({"max_new_tokens": 0}, "room for a token"),
        ({"temperature": 10.5}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
    ],
)
def test_what_may_not_be_asked(settings: dict, what: str) -> None:
    with pytest.raises(LhrsError, match=what):
        questions.check(**{"question": "What?", **settings})


def test_what_may_be_asked() -> None:
    assert questions.check(" Où est l'eau ?\n", max_new_tokens=1, temperature=10, seed=2**63 - 1) == "Où est l'eau ?"
