"""Words about directions turn with the picture: they agree with the pixels, and four quarter turns change nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lhrs_chat.corruptions import CORRUPTIONS, Motion
from lhrs_chat.schema import Box
from lhrs_chat.text.directions import rewrite_directions

SINGLE = ["top", "left", "bottom", "right", "topmost", "leftmost", "left-most", "uppermost", "upwards", "rightward"]
COMPASS = ["north", "eastern", "southerly", "westward", "northernmost", "southeast", "north-west", "south western"]
CORNERS = ["upper left", "lower-right", "top left", "bottom-right", "left upper", "right bottom", "NE", "SW"]
PHRASES = [
    *("the lake to the left of the road", "a house above the river", "a pier below the bridge", "boats right of it"),
    *("the upper part", "a lower half", "the left-hand side", "an eastern road", "a northern road", "left/right"),
    *("in the upper middle", "the middle left", "Lower middle", "middle right"),
    *("runs horizontally", "a vertical line", "from left to right", "the upper and lower edge", "north-south"),
]
FILLERS = [
    "is the harbour",
    "many cars,",
    "3 planes.",
    "Yes",
    "brightest topsoil",
    "Easter",
    "Westminster",
    "all right",
]
PIECES = st.sampled_from([*SINGLE, *COMPASS, *CORNERS, *PHRASES, *FILLERS])
CASES = st.sampled_from([str, str.upper, str.capitalize])
LETTERS = {"NE", "SW"}


@st.composite
def sentences(draw: st.DrawFn) -> str:
    pieces = draw(st.lists(PIECES, min_size=1, max_size=6))
    return "; ".join(piece if piece in LETTERS else draw(CASES)(piece) for piece in pieces)


@given(sentences(), st.integers(-8, 8))
def test_turns_add_up(text: str, turns: int) -> None:
    stepwise = text
    for _ in range(turns % 4):
        stepwise = rewrite_directions(stepwise, 1)
    assert stepwise == rewrite_directions(text, turns)
    for _ in range(4 - turns % 4):
        stepwise = rewrite_directions(stepwise, 1)
    assert stepwise == text


@given(sentences(), st.integers(0, 3))
def test_a_mirror_undoes_itself(text: str, turns: int) -> None:
    """Any turned mirror is a mirror about another line, and twice the same mirror is nothing."""
    once = rewrite_directions(text, turns, mirrored=True)
    assert rewrite_directions(once, turns, mirrored=True) == text
    assert rewrite_directions(rewrite_directions(text, 0, mirrored=True), turns) == once


@given(st.text(max_size=200), st.integers(-5, 5))
def test_any_text_is_taken(text: str, turns: int) -> None:
    assert rewrite_directions(text, 4) == text
    assert isinstance(rewrite_directions(text, turns), str)


@pytest.mark.parametrize(
    ("text", "once"),
    [
        ("Is the car on the left or on the right?", "Is the car on the bottom or on the top?"),
        ("the UPPER Right corner", "the UPPER Left corner"),
        ("Top-left", "Bottom-left"),
        ("left bottom", "right bottom"),
        ("NorthEast of it, in the SE", "NorthWest of it, in the NE"),
        ("north-northeast", "west-northwest"),
        ("Above the road.", "To the left of the road."),
        ("TO THE RIGHT OF THE ROAD", "ABOVE THE ROAD"),
        ("the pond left of the road", "the pond lower down than the road"),
        ("what is left of the road?", "what is lower down than the road?"),
        ("to the left of the image", "to the bottom of the image"),
        ("on the left hand side", "on the lower side"),
        ("an upper corner and an eastern road", "a left-hand corner and a northern road"),
        ("Lower", "Right-hand"),
        ("in the upper middle", "in the middle left"),
        ("Middle right of the picture", "Upper middle of the picture"),
        ("in the upper, lower or middle part", "in the left-hand, right-hand or middle part"),
        ("to the left of the tile roof", "below the tile roof"),
        ("It is arranged vertically", "It is arranged horizontally"),
        ("A left B right", "A bottom B top"),
        ("Where is it, left, right?", "Where is it, bottom, top?"),
        ("at the top right next to the road", "at the top left next to the road"),
    ],
)
def test_one_turn(text: str, once: str) -> None:
    assert rewrite_directions(text, 1) == once


@pytest.mark.parametrize(
    ("text", "left_right", "top_bottom"),
    [
        ("the UPPER Right corner", "the UPPER Left corner", "the LOWER Right corner"),
        ("north-east of the lake", "north-west of the lake", "south-east of the lake"),
        ("to the left of the road", "to the right of the road", "to the left of the road"),
        ("above the road", "above the road", "below the road"),
        ("a vertical line on the eastern edge", "a vertical line on the western edge", None),
    ],
)
def test_mirrors(text: str, left_right: str, top_bottom: str | None) -> None:
    assert rewrite_directions(text, 0, mirrored=True) == left_right
    assert rewrite_directions(text, 2, mirrored=True) == (top_bottom or text)


@pytest.mark.parametrize(
    "text",
    [
        *("All right, this is it.", "The lake is larger, right?", "Is that right?", "right now", "a right angle"),
        *(
            "The right answer is B.",
            "It stands right in front of it.",
            "a right of way",
            "turn left here",
            "a left turn",
        ),
        *(
            "The field is left empty.",
            "leftover ground",
            "What has left a trace?",
            "The cars have left",
            "bright, copyright",
        ),
        *("A tank on top of the roof", "a top view", "the top of the hill", "top 5 classes", "the bottom of the sea"),
        *("lower than before", "a lower density", "The height is lower.", "the lower the better", "upper limit"),
        *(
            "above 50 m",
            "none of the above",
            "The image above shows a port",
            "seen from above",
            "Look at the list below",
        ),
        *("North America", "South Korea and Northeast China", "Westminster, Easter, Northumberland", "stop, upright"),
        *("vertical height", "2 rows and 3 columns", "up and down", "left_1", "[10, 20, 30, 40]"),
    ],
)
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_other_meanings_stay(text: str, turns: int) -> None:
    assert rewrite_directions(text, turns) == text


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("x", [10, 95, 180])
@pytest.mark.parametrize("y", [5, 45, 90])
def test_words_agree_with_pixels(turns: int, x: int, y: int) -> None:
    motion = CORRUPTIONS.get("quarter_turn").motion((200, 100), turns)
    box = Box((x, y, x + 10, y + 5), "pixel")
    moved = motion.box(box)
    assert moved is not None
    assert motion.text(place(box, (200, 100))) == place(moved, motion.moved_size_px)
    assert motion.text(compass(box, (200, 100))) == compass(moved, motion.moved_size_px)


@pytest.mark.parametrize("turns", [0, 2])
@pytest.mark.parametrize("x", [10, 95, 180])
@pytest.mark.parametrize("y", [5, 45, 90])
def test_mirrored_words_agree_with_pixels(turns: int, x: int, y: int) -> None:
    affine = (-1.0, 0.0, 200.0, 0.0, 1.0, 0.0) if turns == 0 else (1.0, 0.0, 0.0, 0.0, -1.0, 100.0)
    motion = Motion((200, 100), (200, 100), affine, turns, mirrored=True)
    box = Box((x, y, x + 10, y + 5), "pixel")
    moved = motion.box(box)
    assert moved is not None
    assert motion.text(place(box, (200, 100))) == place(moved, (200, 100))
    assert motion.text(compass(box, (200, 100))) == compass(moved, (200, 100))


def thirds(box: Box, size_px: tuple[int, int]) -> tuple[int, int]:
    x1, y1, x2, y2 = box.xyxy
    return int(3 * (x1 + x2) / 2 / size_px[0]), int(3 * (y1 + y2) / 2 / size_px[1])


def place(box: Box, size_px: tuple[int, int]) -> str:
    column, row = thirds(box, size_px)
    return " ".join(word for word in (("top", "", "bottom")[row], ("left", "", "right")[column]) if word) or "middle"


def compass(box: Box, size_px: tuple[int, int]) -> str:
    column, row = thirds(box, size_px)
    return ("north", "", "south")[row] + ("west", "", "east")[column] or "centre"
