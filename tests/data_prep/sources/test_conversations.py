"""Turns, placeholders, boxes and tags of conversations; nothing but a DataError comes out of a broken row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.sources import _conversations, ms_swift
from data_prep.sources._conversations import Told, Turn
from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Row
from lhrs_chat.schema import Image, Part, Sample
from lhrs_chat.text import grounding

TAGS = {"refer": "referring"}


def told(images: int = 1, task: str = "") -> Told:
    return Told("a#0", "a", "mine", "s", tuple(Image(path=f"{n}.png") for n in range(images)), task)


def talk(*texts: str, images: int = 1, dialect: str = "angles100") -> Sample:
    speakers = ["human", "gpt"] * len(texts)
    turns = [
        Turn(speaker, _conversations.written(text, dialect, lambda: 1.0, "row 0"))
        for speaker, text in zip(speakers, texts, strict=False)
    ]
    return _conversations.sample(turns, told(images), "row 0")


def shape(parts: tuple[Part, ...]) -> list[Any]:
    """Pictures as numbers, texts as they are, regions as their corners."""
    return [part.image if part.type == "image" else part.region.xyxy if part.region else part.text for part in parts]


def test_boxes_become_regions_and_their_words_stay() -> None:
    made = talk(
        "<image>\nwhere is <p>the ship</p>?", "There are <p>two ships</p> {<1><2><3><4>}<delim>{<5><6><7><8>} at sea."
    )
    assert shape(made.messages[0].content) == [0, "where is the ship?"]
    assert shape(made.messages[1].content) == [
        "There are two ships ",
        (1, 2, 3, 4),
        ", ",
        (5, 6, 7, 8),
        " at sea.",
    ]
    assert made.targets.answer == "There are two ships, at sea."
    assert [(box.frame, box.xyxy) for box in made.targets.boxes] == [("per100", (1, 2, 3, 4)), ("per100", (5, 6, 7, 8))]


def test_a_turned_box_keeps_its_corners_in_the_shape_of_the_picture() -> None:
    made = talk("<image>\nwhere?", "{<40><40><60><50>|<90>}", dialect="angles100_turned")
    (box,) = made.targets.boxes
    assert box.points is not None
    assert box.xyxy == pytest.approx((45, 35, 55, 55))
    wide = _conversations.written("{<40><40><60><50>|<90>}", "angles100_turned", lambda: 2.0, "row 0")
    assert wide[0].region is not None
    assert wide[0].region.xyxy == pytest.approx((47.5, 25, 52.5, 65))
    assert made.targets.answer is None


@pytest.mark.parametrize(
    "text", ["{<77><981><83><100>|<29>}", "{<35><32><35><36>|<67>}", "{<1><2><3>|<4>}", "{<1><2><3><4>|<5>} {<9><2>"]
)
def test_what_is_written_like_a_box_and_is_none_is_an_error(text: str) -> None:
    with pytest.raises(DataError, match="a box that cannot be read"):
        _conversations.written(text, "angles100_turned", lambda: 1.0, "row 0")


def test_of_loose_texts_what_is_no_box_stays() -> None:
    loose = _conversations.written(
        "rows [1, 2, 3, 4] and [0.1,0.2,0.3,0.4]", "brackets1", lambda: 1.0, "", strict=False
    )
    assert shape(loose) == ["rows [1, 2, 3, 4] and ", (0.1, 0.2, 0.3, 0.4)]


@pytest.mark.parametrize(
    ("texts", "images", "shown"),
    [
        (("<image>\nWhat?", "A port."), 1, [[0, "What?"], ["A port."]]),
        (("What?\n<image>", "A port."), 1, [[0, "What?"], ["A port."]]),
        (("What?", "A port."), 2, [[0, 1, "What?"], ["A port."]]),
        (("First <image> then <image>?", "Changed."), 2, [["First", 0, "then", 1, "?"], ["Changed."]]),
        (
            ("What?", "A port.", "<image> And now?", "A road."),
            1,
            [["What?"], ["A port."], [0, "And now?"], ["A road."]],
        ),
    ],
)
def test_pictures_stand_where_their_marks_stood(texts: tuple[str, ...], images: int, shown: list[list[Any]]) -> None:
    assert [shape(message.content) for message in talk(*texts, images=images).messages] == shown


@pytest.mark.parametrize(
    ("texts", "images", "message"),
    [
        (("<image><image>What?", "A port."), 1, "show 2 pictures"),
        (("<image>", "A port."), 1, "without words"),
        (("What?", "<delim>"), 1, "without words"),
        (("What?",), 1, "roles out of order"),
        (("What?", "{<1><2><3><4>}"), 0, "a picture that is not there"),
    ],
)
def test_bad_turns(texts: tuple[str, ...], images: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        talk(*texts, images=images)


def test_calls_of_tools_are_turns_of_the_assistant() -> None:
    names = ["system", "human", "function_call", "function_call", "observation", "gpt"]
    turns = [Turn(name, _conversations.words(name)) for name in names]
    made = _conversations.sample(turns, told(0), "row 0")
    assert [message.role for message in made.messages] == [
        "system",
        "user",
        "assistant",
        "assistant",
        "user",
        "assistant",
    ]
    assert made.meta["speakers"] == names
    with pytest.raises(DataError, match="roles out of order"):
        _conversations.sample([turns[1], turns[0], turns[5]], told(0), "row 0")


@pytest.mark.parametrize(
    ("text", "task", "rest"),
    [
        ("<image>\n[refer] where?", "referring", "<image>\nwhere?"),
        ("[REFER]where?", "referring", "where?"),
        ("<image>\n[poem] where?", "", "<image>\n[poem] where?"),
        ("where [refer] is it?", "", "where [refer] is it?"),
    ],
)
def test_tags(text: str, task: str, rest: str) -> None:
    assert _conversations.tagged(text, TAGS) == (task, rest)


@pytest.mark.parametrize(
    ("texts", "task"),
    [
        (("Classify the image. Classes: a, b", "a"), "scene_class"),
        (("Describe the picture.", "A port."), "caption"),
        (("Is it a port?", "Yes."), "vqa"),
        (("Is it?", "Yes.", "Sure?", "Yes."), "dialogue"),
    ],
)
def test_the_task_of_an_untagged_row(texts: tuple[str, ...], task: str) -> None:
    assert talk(*texts).task == task


TEXTS = st.text() | st.lists(
    st.sampled_from(["<image>", "{<1><2><3><4>}", "{<1>", "<p>a</p>", "<delim>", "[0.1,0.2,0.3,0.4]", "[", "\n", " b"])
).map("".join)
ANY = st.none() | TEXTS | st.integers() | st.lists(TEXTS, max_size=2)
TURNS = st.lists(
    st.dictionaries(st.sampled_from(["from", "value", "role", "content"]), st.sampled_from(["human", "gpt"]) | ANY)
)


@given(TURNS | ANY, st.integers(0, 2), st.sampled_from(sorted(grounding.DIALECTS)), st.booleans())
def test_no_row_raises_anything_but_data_error(turns: Any, images: int, dialect: str, strict: bool) -> None:
    row = Row({"conversations": turns}, "row 0")
    try:
        said = [
            Turn(speaker, _conversations.written(text, dialect, lambda: 1.5, "row 0", strict=strict))
            for speaker, text in _conversations.said(row)
        ]
        made = _conversations.sample(said, told(images), "row 0")
    except DataError:
        return
    pictures = [part.image for message in made.messages for part in message.content if part.type == "image"]
    assert sorted(number for number in pictures if number is not None) == list(range(images))
    assert made.messages[-1].role == "assistant"
    assert made.targets.answer or made.targets.boxes


OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "ref": ANY,
        "bbox": st.lists(st.lists(st.floats() | st.integers(), min_size=2, max_size=5)) | ANY,
        "bbox_type": st.sampled_from(["real", "norm1", "norm1000"]) | ANY,
        "image_id": st.lists(st.integers()) | ANY,
    },
)
SAID = st.sampled_from(["<bbox>", "<ref-object> <bbox>", "<image>What?", "Yes <bbox><bbox>"]) | TEXTS


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "messages": st.lists(
                st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": SAID})
            ),
            "objects": OBJECTS | ANY,
            **{key: ANY for key in ("query", "response", "history", "instruction", "input", "output", "system")},
        },
    )
)
def test_no_row_of_ms_swift_raises_anything_but_data_error(values: dict[str, Any]) -> None:
    try:
        turns = ms_swift.turns(Row(values, "row 0"))
        _conversations.sample(turns, told(1), "row 0")
    except DataError:
        return
    assert turns
