from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Mask
from lhrs_chat.text import answers, run_lengths

PUBLISHED = {"size": [9, 10], "counts": "61X13mN000`0"}
"""The example in the documentation of the COCO tools."""


def test_the_published_example() -> None:
    mask = run_lengths.from_coco(PUBLISHED)
    assert mask.rle == (6, 1, 40, 4, 5, 4, 5, 4, 21) and mask.shape_px == (9, 10)
    assert run_lengths.to_coco(mask) == PUBLISHED
    assert run_lengths.from_coco({"size": [9, 10], "counts": b"61X13mN000`0"}) == mask
    assert run_lengths.from_coco({"size": [9, 10], "counts": [6, 1, 40, 4, 5, 4, 5, 4, 21]}) == mask


@given(counts=st.lists(st.integers(0, 10**6), max_size=30))
def test_packing_and_unpacking(counts: list[int]) -> None:
    assert run_lengths.unpack(run_lengths.pack(counts)) == counts


@given(bits=st.lists(st.booleans(), min_size=12, max_size=12))
def test_any_mask_survives(bits: list[bool]) -> None:
    array = np.array(bits).reshape(3, 4)
    mask = Mask.from_array(array)
    assert (run_lengths.from_coco(run_lengths.to_coco(mask)).to_array() == array).all()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"size": [3], "counts": [9]},
        {"size": [3, 0], "counts": []},
        {"size": [3, 3], "counts": [8]},
        {"size": [3, 3], "counts": "zzz~"},
        {"size": [3, 3], "counts": "P"},
        {"size": [3, 3], "counts": [1.5, 7.5]},
        {"size": [3, 3], "counts": [-1, 10]},
        {"size": [3, 3]},
    ],
)
def test_what_is_no_mask_is_refused(value: object) -> None:
    with pytest.raises(DataError):
        run_lengths.from_coco(value)


def test_polygons_have_no_run_lengths() -> None:
    with pytest.raises(DataError, match="run lengths"):
        run_lengths.to_coco(Mask("unit", polygons=(((0, 0), (1, 0), (1, 1)),)))


def test_masks_are_found_in_text() -> None:
    text = 'B {"size": [9, 10], "counts": "61X13mN000`0"} and {"size": [2, 2], "counts": [1, 3]}, {"counts": 3} {x}'
    assert [mask.shape_px for mask in answers.masks(text)] == [(9, 10), (2, 2)]
    assert answers.masks("") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is a Tennis-Court.", "tennis court"),
        ("ground_track_field", "ground track field"),
        ("There are 3 ships", "3 ships"),
        ("<think>red</think><answer>Blue</answer>", "blue"),
        ("Answer: the top-left", "top left"),
        ("10%-20%", "10% 20%"),
        ("", None),
        ("the", None),
        ("?!", None),
    ],
)
def test_short_open_answers(text: str, expected: str | None) -> None:
    assert answers.phrase(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A C", "AC"),
        ("CA", "AC"),
        ("B, C", "BC"),
        ("(a) and (c)", "AC"),
        ("A. C.", "AC"),
        ("The answer is B", "B"),
        ("B. There are three cars", "B"),
        ("road", "C"),
        ("A D", ""),
        ("AD", ""),
        ("", ""),
        ("a road and a forest", ""),
    ],
)
def test_several_options(text: str, expected: str) -> None:
    found = answers.several(text, ("A. water", "B. forest", "C. road"))
    assert "".join(option[0] for option in found or ()) == expected


def test_a_long_list_of_letters_takes_no_time() -> None:
    assert answers.several("a " * 20000 + "!?x1", ("A. water", "B. forest")) in (None, ("A. water",))


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [("35 m", "m", 35), ("1.5 km", "m", 1500), ("2 ha", "m2", 20000), ("35", "m", None), ("35 %", "m", None)],
)
def test_units_are_converted(text: str, unit: str, expected: float | None) -> None:
    number = answers.number(text)
    assert number is not None
    assert answers.in_unit(number, unit) == expected


def test_degrees_may_be_short() -> None:
    assert answers.number("12 deg") == answers.number("12 degrees") == answers.number("12°")
