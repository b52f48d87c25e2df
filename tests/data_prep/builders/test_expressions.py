"""Expressions single out their thing: judged here by a reading of the words of its own, over random scenes."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.builders import _expressions
from data_prep.builders._expressions import Thing
from lhrs_chat.schema import Box

NAMES = ("ship", "car", "storage tank")
SIZE_PX = (300, 200)
NAME = "|".join(NAMES)


@st.composite
def scenes(draw: st.DrawFn) -> list[Thing]:
    found = []
    for number in range(draw(st.integers(1, 9))):
        width, height = draw(st.integers(4, 80)), draw(st.integers(4, 80))
        x, y = draw(st.integers(0, SIZE_PX[0] - width)), draw(st.integers(0, SIZE_PX[1] - height))
        name = draw(st.sampled_from(NAMES))
        found.append(Thing.of(number, name, Box((x, y, x + width, y + height), "pixel", name), SIZE_PX))
    return found


def thing(number: int, name: str, *xyxy: float) -> Thing:
    return Thing.of(number, name, Box((xyxy[0], xyxy[1], xyxy[2], xyxy[3]), "pixel", name), SIZE_PX)


def centre(one: Thing) -> tuple[float, float]:
    x1, y1, x2, y2 = one.box.xyxy
    return (x1 + x2) / 2, (y1 + y2) / 2


def in_ninth(one: Thing, region: str) -> bool:
    (x, y), (width, height) = centre(one), SIZE_PX
    columns = {"left": x < width / 3, "right": x >= 2 * width / 3}
    rows = {"upper": y < height / 3, "lower": y >= 2 * height / 3}
    if region == "centre":
        return not any(columns.values()) and not any(rows.values())
    words = region.split()
    row = rows[words[0]] if words[0] in rows else not any(rows.values())
    column = columns[words[1]] if words[1] in columns else not any(columns.values())
    return row and column


def readings(words: str, things: list[Thing]) -> list[list[Thing]]:
    """What a person may take the words to mean: each reading as the things that fit it."""
    relation = re.fullmatch(
        rf"the ({NAME}) (to the left of|to the right of|above|below|nearest to) the ({NAME})", words
    )
    if relation:
        alike = [one for one in things if one.name == relation[1]]
        (anchor,) = [one for one in things if one.name == relation[3]]
        return related(alike, relation[2], anchor)
    match = re.fullmatch(
        rf"the (?:(largest|smallest|leftmost|rightmost|topmost|bottommost|second|third) )?({NAME})"
        r"(?: in the ([a-z ]+) of the picture| from the (left|right|top|bottom))?",
        words,
    )
    assert match, words
    rank, name, region, side = match.groups()
    alike = [one for one in things if one.name == name]
    if region:
        alike = [one for one in alike if in_ninth(one, region)]
    if rank is None:
        return [alike]
    keys = {
        "left": lambda one: centre(one)[0],
        "right": lambda one: -centre(one)[0],
        "top": lambda one: centre(one)[1],
        "bottom": lambda one: -centre(one)[1],
        "largest": lambda one: -area(one),
        "smallest": area,
    }
    key = keys[side or rank.removesuffix("most")]
    place = {"second": 1, "third": 2}.get(rank, 0)
    ordered = sorted(alike, key=key)
    assert all(key(a) != key(b) for a, b in pairwise(ordered[max(0, place - 1) : place + 2])), "a tie"
    return [[ordered[place]]]


def area(one: Thing) -> float:
    x1, y1, x2, y2 = one.box.xyxy
    return (x2 - x1) * (y2 - y1)


def related(alike: list[Thing], word: str, anchor: Thing) -> list[list[Thing]]:
    ax1, ay1, ax2, ay2 = anchor.box.xyxy
    ax, ay = centre(anchor)
    if word == "nearest to":
        by_centre = sorted(alike, key=lambda one: math.dist(centre(one), (ax, ay)))

        def gap(one: Thing) -> float:
            x1, y1, x2, y2 = one.box.xyxy
            return math.hypot(max(x1 - ax2, ax1 - x2, 0), max(y1 - ay2, ay1 - y2, 0))

        return [[by_centre[0]], [one for one in alike if gap(one) == min(map(gap, alike))]]
    centres = {
        "to the left of": lambda one: centre(one)[0] < ax,
        "to the right of": lambda one: centre(one)[0] > ax,
        "above": lambda one: centre(one)[1] < ay,
        "below": lambda one: centre(one)[1] > ay,
    }[word]
    edges = {
        "to the left of": lambda one: one.box.xyxy[2] <= ax1,
        "to the right of": lambda one: one.box.xyxy[0] >= ax2,
        "above": lambda one: one.box.xyxy[3] <= ay1,
        "below": lambda one: one.box.xyxy[1] >= ay2,
    }[word]
    return [[one for one in alike if fits(one)] for fits in (centres, edges)]


@settings(max_examples=200, deadline=None)
@given(scenes())
def test_every_expression_fits_its_thing_and_no_other(things: list[Thing]) -> None:
    for target in things:
        for expression in _expressions.unique(target, things):
            for reading in readings(expression.words, things):
                assert [one.number for one in reading] == [target.number], expression.words


def test_all_kinds_are_found() -> None:
    things = [
        thing(0, "ship", 10, 10, 60, 50),
        thing(1, "ship", 120, 90, 150, 110),
        thing(2, "ship", 250, 150, 260, 160),
        thing(3, "ship", 225, 170, 240, 180),
        thing(4, "storage tank", 180, 90, 200, 110),
    ]
    kinds = {expression.kind for target in things for expression in _expressions.unique(target, things)}
    assert kinds == {"alone", "region", "size", "side", "order", "relation", "both"}


@pytest.mark.parametrize(
    "second", [(100, 10, 140, 50), (100, 10, 138, 51)], ids=["of the same size", "a little smaller"]
)
def test_what_is_nearly_as_large_is_not_told_apart_by_size(second: tuple[int, ...]) -> None:
    things = [thing(0, "ship", 10, 10, 50, 50), thing(1, "ship", *second)]
    assert not [one for target in things for one in _expressions.unique(target, things) if one.kind == "size"]


def test_a_thing_that_the_edge_cuts_has_no_size() -> None:
    cut, whole = thing(0, "ship", 0, 50, 8, 58), thing(1, "ship", 100, 100, 160, 140)
    assert not [one for one in _expressions.unique(cut, [cut, whole]) if one.kind == "size"]
    assert "the largest ship" in [one.words for one in _expressions.unique(whole, [cut, whole])]


def test_the_larger_box_of_a_turned_slim_thing_is_no_larger_thing() -> None:
    upright, turned = thing(0, "ship", 10, 10, 14, 60), thing(1, "ship", 100, 10, 136, 46)  # both about 50 long
    assert not [one for one in _expressions.unique(turned, [upright, turned]) if one.kind == "size"]


def test_a_thing_near_the_border_of_a_ninth_may_be_meant_too() -> None:
    inside, near, far = (thing(n, "car", x, 20, x + 10, 30) for n, x in enumerate((40, 105, 160)))
    words = "the car in the upper left of the picture"
    assert words not in [one.words for one in _expressions.unique(inside, [inside, near])]
    assert words in [one.words for one in _expressions.unique(inside, [inside, far])]


def test_a_turned_box_is_as_large_as_itself_not_as_its_envelope() -> None:
    turned = Box.oriented(((50.0, 10.0), (90.0, 50.0), (86.0, 54.0), (46.0, 14.0)), "pixel", "ship")
    slim = Thing.of(0, "ship", turned, SIZE_PX)
    assert slim.area_px == pytest.approx(math.hypot(40, 40) * math.hypot(4, 4))
    stout = thing(1, "ship", 150, 10, 195, 70)
    assert "the largest ship" in [one.words for one in _expressions.unique(stout, [slim, stout])]
