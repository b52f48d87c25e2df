from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lhrs_chat.errors import DataError, GeoError, LhrsError, MissingExtraError
from lhrs_chat.schema import FRAMES, Answer, Box, Image, Mask, Message, Number, Part, Point, Provenance

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12))


@given(MASKS)
@settings(deadline=None)
def test_a_mask_survives_its_run_lengths(array: np.ndarray) -> None:
    mask = Mask.from_array(array, label="water", score=0.5)
    assert (mask.to_array() == array).all()
    assert mask.to_array().shape == array.shape
    assert mask.rle is not None
    assert sum(mask.rle[1::2]) == array.sum()
    assert all(count > 0 for count in mask.rle[1:])
    assert Mask.from_array(mask.to_array(), "water", 0.5) == mask


def test_run_lengths_are_those_of_coco() -> None:
    # column-major, beginning with zeros
    assert Mask.from_array(np.array([[0, 1], [1, 1]], dtype=bool)).rle == (1, 3)
    assert Mask.from_array(np.array([[1, 0], [0, 1]], dtype=bool)).rle == (0, 1, 2, 1)
    assert Mask.from_array(np.zeros((2, 3), dtype=bool)).rle == (6,)
    assert Mask.from_array(np.ones((2, 3), dtype=bool)).rle == (0, 6)
    assert Mask.from_array(np.zeros((2, 3), dtype=bool)).shape_px == (2, 3)


@pytest.mark.parametrize(
    "fields",
    [
        {"frame": "pixel"},
        {"frame": "pixel", "rle": (4,), "polygons": (((0, 0), (1, 0), (1, 1)),), "shape_px": (2, 2)},
        {"frame": "pixel", "rle": (4,)},
        {"frame": "unit", "rle": (4,), "shape_px": (2, 2)},
        {"frame": "pixel", "rle": (3,), "shape_px": (2, 2)},
    ],
)
def test_wrong_masks(fields: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        Mask(**fields)


def test_a_polygon_mask_has_no_pixels_of_its_own() -> None:
    with pytest.raises(DataError, match="polygons"):
        Mask("unit", polygons=(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),)).to_array()


@given(st.tuples(*[st.floats()] * 4), st.sampled_from(FRAMES))
@settings(deadline=None)
def test_a_box_is_finite_and_not_inverted(xyxy: tuple[float, float, float, float], frame: Any) -> None:
    x1, y1, x2, y2 = xyxy
    if all(map(math.isfinite, xyxy)) and x1 <= x2 and y1 <= y2:
        assert Box(xyxy, frame).xyxy == xyxy
    else:
        with pytest.raises(GeoError):
            Box(xyxy, frame)


def test_wrong_boxes() -> None:
    with pytest.raises(GeoError, match="pixel, unit, per100"):
        Box((0, 0, 1, 1), "inches")  # type: ignore[arg-type]
    with pytest.raises(GeoError, match="four numbers"):
        Box((0, 0, 1), "pixel")  # type: ignore[arg-type]
    with pytest.raises(GeoError, match="four corners"):
        Box((0, 0, 1, 1), "pixel", points=((0, 0), (1, 1), (1, 0)))
    with pytest.raises(GeoError):
        Point(0, 0, "inches")  # type: ignore[arg-type]


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2), min_size=4, max_size=4))
@settings(deadline=None)
def test_the_envelope_of_an_oriented_box_holds_its_corners(points: list[tuple[float, float]]) -> None:
    box = Box.oriented(tuple(points), "map", "ship", 0.5)
    assert box.points == tuple(points)
    assert (box.label, box.score) == ("ship", 0.5)
    xs, ys = [x for x, _ in points], [y for _, y in points]
    assert box.xyxy == (min(xs), min(ys), max(xs), max(ys))


def test_message_of_puts_images_before_the_text() -> None:
    message = Message.of("user", "Which is newer?", images=(1, 0))
    assert message.content == (Part("image", image=1), Part("image", image=0), Part("text", text="Which is newer?"))
    assert message.text == "Which is newer?"
    assert Message.of("assistant", "the first").content == (Part("text", text="the first"),)


def test_the_text_of_a_message_is_its_text_parts() -> None:
    region = Part("region", region=Box((0, 0, 1, 1), "unit"))
    message = Message("user", (Part("text", text="a "), region, Part("image", image=0), Part("text", text="b")))
    assert message.text == "a b"


@pytest.mark.parametrize("fields", [{}, {"path": "a", "data": b"x"}, {"array": np.zeros((2, 2))}])
def test_an_image_has_one_source(fields: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        Image(**fields)


def test_an_answer_is_printable_as_json() -> None:
    answer = Answer(
        "At the dock.",
        Provenance("lhrs-nano", size_px=(4, 3)),
        boxes=(Box((0, 0, 1, 1), "pixel", "dock"),),
        masks=(Mask.from_array(np.eye(2, dtype=bool)),),
        numbers=(Number(3.5, "%", "computed"),),
        options={"A": 0.5},
    )
    found = json.loads(json.dumps(answer.to_dict()))
    assert found["boxes"] == [{"xyxy": [0, 0, 1, 1], "frame": "pixel", "label": "dock", "score": None, "points": None}]
    assert found["numbers"] == [{"value": 3.5, "unit": "%", "evidence": "computed", "label": ""}]
    assert found["masks"][0]["rle"] == [0, 1, 2, 1]
    assert found["provenance"]["size_px"] == [4, 3]


def test_errors_say_what_was_found_what_is_allowed_and_what_to_do() -> None:
    error = LhrsError("no such sensor", found="S9", allowed="S1, S2", next_step="pass --sensor")
    assert str(error) == "no such sensor\n  found: S9\n  allowed: S1, S2\n  next: pass --sensor"
    assert str(LhrsError("no such sensor")) == "no such sensor"
    missing = MissingExtraError("gradio", "demo", "the demo")
    assert "pip install 'lhrs_chat[demo]'" in str(missing)
    assert isinstance(missing, LhrsError)
