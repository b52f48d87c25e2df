from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.metrics import boxes, masks
from lhrs_chat.schema import Box

NUMBER = st.integers(0, 12).map(float)
RECT = st.tuples(NUMBER, NUMBER, NUMBER, NUMBER).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)


def test_iou_by_hand() -> None:
    assert boxes.iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert boxes.iou((0, 0, 2, 2), (0, 0, 2, 2)) == 1.0
    assert boxes.iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0.0
    assert boxes.iou((0, 0, 4, 4), (1, 1, 2, 3)) == pytest.approx(2 / 16)


def test_no_plus_one() -> None:
    assert boxes.iou((0.10, 0.10, 0.20, 0.20), (0.25, 0.25, 0.35, 0.35)) == 0.0
    assert boxes.iou((10, 10, 12, 12), (10, 11, 12, 13)) == pytest.approx(1 / 3)


def test_iou_matrix() -> None:
    found = boxes.iou_matrix([(0, 0, 2, 2), (5, 5, 6, 6)], [(0, 0, 2, 1), (0, 0, 2, 2), (5, 5, 7, 7)])
    assert found == pytest.approx(np.array([[0.5, 1, 0], [0, 0, 0.25]]))
    assert boxes.iou_matrix([], [(0, 0, 1, 1)]).shape == (0, 1)
    assert boxes.iou_matrix([(0, 0, 1, 1)], []).shape == (1, 0)
    assert boxes.iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


@pytest.mark.parametrize("bad", [(2, 0, 1, 1), (0, 2, 1, 1), (0, 0, math.nan, 1), (0, 0, math.inf, 1), (0, 0, 1)])
def test_wrong_boxes(bad: tuple[float, ...]) -> None:
    with pytest.raises(DataError):
        boxes.iou(bad, (0, 0, 1, 1) if len(bad) == 4 else bad)


@given(RECT, RECT)
@settings(deadline=None)
def test_upright_iou_equals_counting_cells_and_the_polygon_way(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> None:
    grid = np.zeros((2, 12, 12), dtype=bool)
    for plane, (x1, y1, x2, y2) in zip(grid, (a, b), strict=True):
        plane[int(y1) : int(y2), int(x1) : int(x2)] = True
    union = (grid[0] | grid[1]).sum()
    wanted = (grid[0] & grid[1]).sum() / union if union else 0.0
    assert boxes.iou(a, b) == pytest.approx(wanted)
    assert boxes.iou(b, a) == pytest.approx(wanted)
    assert boxes.oriented_iou(Box(a, "pixel"), Box(b, "pixel")) == pytest.approx(wanted)


def test_oriented_iou_by_hand() -> None:
    square = Box((0, 0, 2, 2), "pixel")
    diamond = Box.oriented(((1, 0), (2, 1), (1, 2), (0, 1)), "pixel")
    assert boxes.oriented_iou(square, diamond) == pytest.approx(0.5)
    assert boxes.oriented_iou(diamond, diamond) == pytest.approx(1.0)
    crossed = Box.oriented(((0, 0), (2, 2), (2, 0), (0, 2)), "pixel")
    assert boxes.oriented_iou(square, crossed) == pytest.approx(1.0)
    with pytest.raises(GeoError, match="one frame"):
        boxes.oriented_iou(square, Box((0, 0, 1, 1), "unit"))


def test_generalized_iou_by_hand_and_not_that_of_masks() -> None:
    assert boxes.generalized_iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7 - 2 / 9)
    assert boxes.generalized_iou((0, 0, 1, 1), (3, 0, 4, 1)) == pytest.approx(-0.5)
    assert boxes.generalized_iou((0, 0, 2, 2), (0, 0, 2, 2)) == 1.0
    assert boxes.generalized_iou((1, 1, 1, 1), (1, 1, 1, 1)) == 0.0
    with pytest.raises(DataError):
        boxes.generalized_iou((2, 0, 1, 1), (0, 0, 1, 1))


@given(RECT, RECT)
@settings(deadline=None)
def test_generalized_iou_is_never_above_the_iou(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> None:
    value = boxes.generalized_iou(a, b)
    assert -1 <= value <= boxes.iou(a, b) + 1e-12
    assert value == pytest.approx(boxes.generalized_iou(b, a))


@given(RECT, RECT, st.floats(0, math.pi), st.floats(0.2, 5))
@settings(deadline=None)
def test_oriented_iou_stays_when_both_boxes_are_turned_moved_and_stretched(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float], angle: float, scale: float
) -> None:
    def turned(box: tuple[float, float, float, float]) -> Box:
        corners = [(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])]
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        return Box.oriented(tuple((x * cos - y * sin + 7, x * sin + y * cos - 3) for x, y in corners), "pixel")

    assert boxes.oriented_iou(turned(a), turned(b)) == pytest.approx(boxes.iou(a, b), abs=1e-6)


def test_acc_at_counts_the_threshold_itself_and_every_question() -> None:
    assert boxes.acc_at([0.5, 0.49, 0.0, 1.0]) == 0.5
    assert boxes.acc_at([0.5, 0.49, 0.0, 1.0], 0.7) == 0.25
    with pytest.raises(DataError):
        boxes.acc_at([])


def test_match_uses_each_box_once_best_first() -> None:
    wanted = [(0, 0, 10, 10), (20, 0, 30, 10)]
    found = [(0, 0, 10, 8), (0, 0, 10, 10), (21, 0, 30, 10), (50, 50, 60, 60)]
    pairs = boxes.match(found, wanted)
    assert [(i, j) for i, j, _ in pairs] == [(1, 0), (2, 1)]
    assert [value for _, _, value in pairs] == pytest.approx([1.0, 0.9])
    assert boxes.f1(found, wanted) == pytest.approx(4 / 6)
    assert boxes.f1([], wanted) == 0.0
    assert boxes.f1([], []) == 1.0
    assert boxes.match([(0, 0, 1, 1)], [(5, 5, 6, 6)], threshold=0.0) == []


def mask(*rows: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in rows])


def test_mask_iou_by_hand() -> None:
    a, b, none = mask("##.", "##."), mask(".##", "..."), mask("...", "...")
    assert masks.iou(a, b) == pytest.approx(1 / 5)
    assert masks.iou(none, none) == 1.0
    assert masks.iou(a, none) == 0.0
    assert masks.giou([a, none], [b, none]) == pytest.approx((0.2 + 1) / 2)
    assert masks.ciou([a, none], [b, none]) == pytest.approx(0.2)
    assert masks.ciou([a, a], [b, a]) == pytest.approx((1 + 4) / (5 + 4))
    assert masks.ciou([none], [none]) == 1.0


def test_class_iou_by_hand() -> None:
    found = np.array([[0, 0, 1], [1, 2, 2]])
    wanted = np.array([[0, 1, 1], [1, 1, 9]])
    values = masks.class_iou(found, wanted, 4, ignore=9)
    assert values[:3] == pytest.approx([1 / 2, 2 / 4, 0])
    assert math.isnan(values[3])
    assert masks.miou(found, wanted, 4, ignore=9) == pytest.approx((0.5 + 0.5 + 0) / 3)


def test_miou_equals_the_jaccard_score(rng: np.random.Generator) -> None:
    from sklearn.metrics import jaccard_score

    found, wanted = rng.integers(0, 5, (2, 20, 30))
    wanted_scores = jaccard_score(wanted.ravel(), found.ravel(), average=None)
    assert masks.class_iou(found, wanted, 5) == pytest.approx(wanted_scores)


def test_wrong_masks() -> None:
    with pytest.raises(DataError):
        masks.iou(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(DataError):
        masks.giou([], [])
    with pytest.raises(DataError, match="out of range"):
        masks.class_iou(np.array([[3]]), np.array([[0]]), 3)
    with pytest.raises(DataError):
        masks.class_iou(np.zeros((2, 3), int), np.zeros((3, 2), int), 3)
    with pytest.raises(DataError, match="nothing to average"):
        masks.miou(np.array([[0]]), np.array([[9]]), 3, ignore=9)
