from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lhrs_chat.errors import ConfigError, GeoError
from lhrs_chat.geo.frames import Placement, convert
from lhrs_chat.schema import Box
from lhrs_chat.text.grounding import DIALECTS, get, parse, strip, write, write_all

STEP = {"unit": 0.001, "per100": 1.0, "per1000": 1.0, "pixel": 1.0, "model": 1.0}
SIZES = st.tuples(st.integers(20, 4000), st.integers(20, 4000))
NAMED = [name for name in DIALECTS if not name.startswith(("brackets", "bbox_tag"))]
PART = st.floats(0, 1)
MARKS = (
    *("[", "]", "{", "}", "<", ">", "|", ",", "(", ")", " ", "\n", '"', "'", "\\"),
    *("1", "20", ".5", "-3", "1e999", "nan"),
    *("<box>", "</box>", "<p>a</p>", "<ref>", "</ref>", "<delim>", '"bbox_2d":', '"label": "x"', "```json"),
)
CORNERS = st.tuples(PART, PART, PART, PART).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)


def pixels(part: tuple[float, float, float, float], size_px: tuple[int, int], label: str = "") -> Box:
    w, h = size_px
    return Box((part[0] * w, part[1] * h, part[2] * w, part[3] * h), "pixel", label)


def whole(size_px: tuple[int, int]) -> Placement:
    return Placement.whole(size_px, (448, 448))


@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("name", DIALECTS)
@given(part=CORNERS, size_px=SIZES)
def test_a_written_box_is_read_back_to_within_its_step(
    name: str, part: tuple[float, float, float, float], size_px: tuple[int, int]
) -> None:
    box = pixels(part, size_px)
    placement = whole(size_px)
    text = write(box, name, size_px, placement)
    (found,) = parse(f"It is at {text}.", name, size_px)
    exact = convert(box, found.frame, size_px=size_px, placement=placement)
    assert found.frame == get(name).frame
    for value, wanted in zip(found.xyxy, exact.xyxy, strict=True):
        assert abs(value - wanted) <= STEP[found.frame] + 1e-9
    assert found.xyxy[0] < found.xyxy[2]
    assert found.xyxy[1] < found.xyxy[3]
    assert write(found, name, size_px, placement) == text


@settings(deadline=None, max_examples=20)
@pytest.mark.parametrize("name", DIALECTS)
@given(parts=st.lists(CORNERS, min_size=1, max_size=4), labels=st.lists(st.sampled_from(["ship", "small dock", ""])))
def test_several_boxes_are_read_back(
    name: str, parts: list[tuple[float, float, float, float]], labels: list[str]
) -> None:
    size_px = (300, 200)
    names = [*labels, "", "", "", ""] if name in NAMED else [""] * 4
    boxes = [pixels(part, size_px, label) for part, label in zip(parts, names, strict=False)]
    text = write_all(boxes, name, size_px, whole(size_px))
    alone = [box for one in boxes for box in parse(write(one, name, size_px, whole(size_px)), name, size_px)]
    assert sorted(map(repr, parse(text, name, size_px))) == sorted(map(repr, alone))
    assert not any(mark in strip(text, name) for mark in "[]{}<>|0123456789")


@settings(deadline=None)
@given(
    centre=st.tuples(st.floats(30, 70), st.floats(30, 70)),
    sides=st.tuples(st.floats(4, 40), st.floats(4, 40)),
    angle=st.floats(-180, 180),
    size_px=SIZES,
)
def test_a_turned_box_keeps_its_corners(
    centre: tuple[float, float], sides: tuple[float, float], angle: float, size_px: tuple[int, int]
) -> None:
    assume(0.25 < size_px[0] / size_px[1] < 4)
    aspect = size_px[0] / size_px[1]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    corners = []
    for dx, dy in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        x, y = dx * sides[0] / 2 * aspect, dy * sides[1] / 2
        corners.append((centre[0] + (cos * x - sin * y) / aspect, centre[1] + sin * x + cos * y))
    box = Box.oriented(tuple(corners), "per100", "ship")
    (found,) = parse(write(box, "angles100_turned", size_px), "angles100_turned", size_px)
    x1, y1, x2, y2 = found.xyxy
    points = found.points or ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    for corner in corners:  # half a step for each side and centre, half a degree on the half diagonal
        slack = 2.5 + math.radians(0.5) * math.hypot(sides[0] * aspect, sides[1]) / 2 / min(1, aspect)
        assert min(math.dist(corner, point) for point in points) < slack


def test_geochat_turns_clockwise_about_the_centre() -> None:
    (box,) = parse("{<10><40><50><60>|<90>}", "angles100_turned")
    assert box.points is not None
    assert [tuple(round(v, 6) for v in point) for point in box.points] == [(40, 30), (40, 70), (20, 70), (20, 30)]
    assert box.xyxy == pytest.approx((20, 30, 40, 70))
    (wide,) = parse("{<10><40><50><60>|<90>}", "angles100_turned", (200, 100))
    assert wide.xyxy == pytest.approx((25, 10, 35, 90))
    (clockwise,) = parse("{<10><40><50><60>|<10>}", "angles100_turned")
    assert clockwise.points is not None
    assert clockwise.points[1][1] > clockwise.points[0][1]  # the right end of the upper edge goes down


@pytest.mark.parametrize(
    ("name", "text", "boxes"),
    [
        ("brackets100", "A ship at [ 1,2 ,3, 4 ].", [(1, 2, 3, 4)]),
        ("brackets100", "[1 2 3 4]", [(1, 2, 3, 4)]),
        ("brackets100", "[[1, 2, 3, 4], [5, 6, 7, 8]]", [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ("brackets100", "[1.5, 2., .5e1, 4]", [(1.5, 2, 5, 4)]),
        ("brackets100", "none", []),
        ("brackets100", "[1, 2, 3]", []),
        ("brackets100", "[1, 2, 3, 4, 5]", []),
        ("brackets100", "[3, 2, 1, 4]", []),
        ("brackets100", "[1, 4, 3, 2]", []),
        ("brackets100", "[1, 2, 1, 4]", []),
        ("brackets100", "[nan, 2, 3, 4]", []),
        ("brackets100", "[1, 2, inf, 4]", []),
        ("brackets100", "[1, 2, 3, 101]", []),
        ("brackets100", "[-1, 2, 3, 4]", []),
        ("brackets100", "[1, 2, 3, 4", []),
        ("brackets100", "[3, 2, 1, 4] but [1, 2, 3, 4]", [(1, 2, 3, 4)]),
        ("brackets1", "[0.1,.2,0.30,1]", [(0.1, 0.2, 0.3, 1)]),
        ("brackets1", "[10, 20, 30, 40]", []),
        ("brackets_pixel", "[10, 20, 3000, 40]", [(10, 20, 3000, 40)]),
        ("bbox_tag1", "<bbox>[0.1,0.2,0.3,0.4]</bbox>", [(0.1, 0.2, 0.3, 0.4)]),
        ("bbox_tag1", "<bbox>[0.1,0.2,0.3,0.4]", [(0.1, 0.2, 0.3, 0.4)]),
        ("bbox_tag1", "<bbox>[0.1,0.2,0.3,0.", []),
        ("bbox_tag1", "<bbox> 0.1, 0.2, 0.3, 0.4 </bbox>", [(0.1, 0.2, 0.3, 0.4)]),
        ("box_tag1000", "<box>[[1, 2, 3, 4],[5,6,7,8]]</box>", [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ("box_tag1000", "<box>[[1, 2, 3, 4],[5,6,7", [(1, 2, 3, 4)]),
        ("box_pairs1000", "<box>(1,2),(3,4)</box>", [(1, 2, 3, 4)]),
        ("box_pairs1000", "<box>(1, 2), (3, 4", []),
        ("box_tokens1000", "<|box_start|>(1,2),(3,4)<|box_end|>", [(1, 2, 3, 4)]),
        ("angles100", "{<1><2><3><4>}", [(1, 2, 3, 4)]),
        ("angles100", "{ <1> <2> <3> < 4 > }", [(1, 2, 3, 4)]),
        ("angles100", "<1><2><3><4>", [(1, 2, 3, 4)]),
        ("angles100", "{<1><2><3><4>}{<5><6><7><8>}", [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ("angles100", "{<1><2><3>}", []),
        ("angles100_turned", "{<1><2><3><4>|<0>}", [(1, 2, 3, 4)]),
        ("angles100_turned", "{<1><2><3><4>}", [(1, 2, 3, 4)]),
        ("angles100_turned", "{<1><2><3><4>|<9", []),
        ("json1000", '```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "a"},', [(1, 2, 3, 4)]),
        ("json1000", "[{'bbox_2d': [1, 2, 3, 4], 'label': 'a {b}'}]", [(1, 2, 3, 4)]),
        ("json1000", '{"label": "x", "bbox": [1,2,3,4]}', [(1, 2, 3, 4)]),
        ("json1000", '{"bbox_2d": [1, 2, 3]}', []),
        ("json1000", '{"bbox_2d": [1, 2, 3, 2000]}', []),
        ("json_model", '{"bbox_2d": [1, 2, 3, 2000]}', [(1, 2, 3, 2000)]),
    ],
)
def test_what_models_write(name: str, text: str, boxes: list[tuple[float, ...]]) -> None:
    assert [box.xyxy for box in parse(text, name)] == boxes


@pytest.mark.parametrize(
    ("name", "text", "labels", "plain"),
    [
        ("brackets100", "The ship [1, 2, 3, 4] is white.", [""], "The ship is white."),
        ("brackets100", "Two ships: [1, 2, 3, 4], [5, 6, 7, 8].", ["", ""], "Two ships:."),
        ("brackets100", "As in [3] and [5, 6].", [], "As in [3] and [5, 6]."),
        ("brackets100", "Wrong [9, 9, 1, 1] and cut [12, 30, 4", [], "Wrong and cut"),
        ("angles100", "<p>a ship</p> {<1><2><3><4>} lies at <p>a dock</p>", ["a ship"], "a ship lies at a dock"),
        ("box_tag1000", "<ref>ship</ref><box>[[1, 2, 3, 4]]</box>.", ["ship"], "ship."),
        ("box_tokens1000", write(Box((1, 2, 3, 4), "per1000", "ship"), "box_tokens1000", (9, 9)), ["ship"], "ship"),
        (
            "json1000",
            'Here:\n```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "gr\\u00fcn"}]\n```',
            ["grün"],
            "Here:\n grün",
        ),
        ("json1000", 'Here: {"bbox_2d": [1, 2, 3, 4], "label": "a \\"b\\""}', ['a "b"'], 'Here: a "b"'),
    ],
)
def test_labels_and_the_words_that_are_left(name: str, text: str, labels: list[str], plain: str) -> None:
    assert [box.label for box in parse(text, name)] == labels
    assert strip(text, name) == plain


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("brackets1", "[0.100,0.200,0.500,0.600]"),
        ("brackets100", "[10, 20, 50, 60]"),
        ("brackets1000", "[100, 200, 500, 600]"),
        ("brackets_pixel", "[20, 20, 100, 60]"),
        ("bbox_tag1", "<bbox>[0.100,0.200,0.500,0.600]</bbox>"),
        ("box_tag1000", "<ref>ship</ref><box>[[100, 200, 500, 600]]</box>"),
        ("box_pairs1000", "<ref>ship</ref><box>(100,200),(500,600)</box>"),
        ("angles100", "<p>ship</p> {<10><20><50><60>}"),
        ("angles100_turned", "<p>ship</p> {<10><20><50><60>|<0>}"),
        ("json_model", '{"bbox_2d": [45, 90, 224, 269], "label": "ship"}'),
        ("json1000", '{"bbox_2d": [100, 200, 500, 600], "label": "ship"}'),
    ],
)
def test_the_bytes_that_are_written(name: str, text: str) -> None:
    box = Box((20.0, 20.0, 100.0, 60.0), "pixel", "ship")
    assert write(box, name, (200, 100), whole((200, 100))) == text


def test_a_tiny_box_is_never_written_as_nothing() -> None:
    assert write(Box((500, 500, 501, 501), "pixel"), "brackets100", (1000, 1000)) == "[50, 50, 51, 51]"
    assert write(Box((999, 999, 1000, 1000), "pixel"), "brackets100", (1000, 1000)) == "[99, 99, 100, 100]"


def test_boxes_at_and_beyond_the_edge() -> None:
    assert write(Box((-5, 10, 50, 120), "pixel"), "brackets100", (100, 100)) == "[0, 10, 50, 100]"
    with pytest.raises(GeoError):
        write(Box((200, 10, 250, 20), "pixel"), "brackets100", (100, 100))
    with pytest.raises(GeoError):
        write(Box((1, 1, 2, 2), "pixel"), "json_model", (100, 100))  # needs to know what was sent


def test_an_oriented_box_is_written_upright_where_the_dialect_knows_no_angle() -> None:
    box = Box.oriented(((50, 10), (90, 50), (50, 90), (10, 50)), "per100")
    assert write(box, "brackets100", (100, 100)) == "[10, 10, 90, 90]"


def test_marks_in_a_label_do_not_break_the_markup() -> None:
    box = Box((10, 10, 20, 20), "per100", "a</p> <b>")
    (found,) = parse(write(box, "angles100", (10, 10)), "angles100")
    assert found == replace(box, label="a/p b")


def test_an_unknown_dialect_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean brackets100"):
        parse("", "brackets10")


@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize("name", DIALECTS)
@given(
    text=st.text(max_size=60)
    | st.lists(
        st.sampled_from(MARKS),
        max_size=40,
    ).map("".join)
)
def test_no_text_raises_and_only_valid_boxes_come_out(name: str, text: str) -> None:
    for box in parse(text, name):
        assert all(math.isfinite(value) for value in box.xyxy)
        assert box.xyxy[0] < box.xyxy[2]
        assert box.xyxy[1] < box.xyxy[3]
    assert isinstance(strip(text, name), str)


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("unit", ["[", "[1, ", "{<1>", "<box>(1,", " ", '{"bbox', '{"bbox_2d": [', "1", "<1>", '"'])
def test_long_repetitions_end(name: str, unit: str) -> None:
    text = unit * (4000 // len(unit))
    assert parse(text, name) == []
    assert len(strip(text, name)) <= len(text)
