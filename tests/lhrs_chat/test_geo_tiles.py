from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.tiles import Tile, merge, plan
from lhrs_chat.schema import Box

SIDE = st.integers(1, 300)


@given(SIDE, SIDE, st.integers(1, 120), st.integers(0, 119))
def test_tiles_cover_everything(width: int, height: int, tile: int, overlap: int) -> None:
    overlap = min(overlap, tile - 1)
    tile = max(tile, overlap + 1 + max(width, height) // 40)  # keeps the number of tiles small
    tiles = plan((width, height), tile, overlap)
    seen = np.zeros((height, width), dtype=int)
    for t in tiles:
        assert 0 <= t.x0 < t.x1 <= width
        assert 0 <= t.y0 < t.y1 <= height
        assert (t.x1 - t.x0, t.y1 - t.y0) == (min(tile, width), min(tile, height))
        seen[t.y0 : t.y1, t.x0 : t.x1] += 1
    assert seen.min() >= 1
    assert len({t.window for t in tiles}) == len(tiles)
    for starts, size in ((sorted({t.x0 for t in tiles}), width), (sorted({t.y0 for t in tiles}), height)):
        side = min(tile, size)
        assert all(a + side - b >= overlap for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize(("size", "tile", "overlap"), [((0, 5), 4, 0), ((5, 5), 0, 0), ((5, 5), 4, 4), ((5, 5), 4, -1)])
def test_impossible_plans_are_refused(size: tuple[int, int], tile: int, overlap: int) -> None:
    with pytest.raises(GeoError):
        plan(size, tile, overlap)


def test_an_object_at_a_seam_is_one_object() -> None:
    left, right = plan((160, 100), 100, 40)
    truth = (70, 20, 95, 50)
    seen = [
        (left, left.to_scene(Box(truth, "pixel", "ship", 0.6))),
        (right, right.to_scene(Box((11, 20, 35, 50), "pixel", "ship", 0.9))),
    ]
    (only,) = merge(seen, (160, 100))
    assert only.xyxy == (71, 20, 95, 50)
    assert only.score == 0.9


def test_of_a_cut_and_a_whole_box_the_whole_one_stays() -> None:
    left, right = Tile(0, 0, 100, 100), Tile(60, 0, 160, 100)
    found = [
        (left, Box((80, 10, 100, 30), "pixel", "ship", 0.9)),
        (right, Box((80, 10, 120, 30), "pixel", "ship", 0.5)),
    ]
    (only,) = merge(found, (160, 100))
    assert only.xyxy == (80, 10, 120, 30)


def test_an_object_larger_than_the_overlap_is_put_together() -> None:
    left, right = Tile(0, 0, 100, 100), Tile(60, 0, 160, 100)
    found = [
        (left, Box((20, 10, 100, 30), "pixel", "hall", 0.5)),
        (right, Box((60, 10, 140, 30), "pixel", "hall", 0.4)),
    ]
    (only,) = merge(found, (160, 100))
    assert only.xyxy == (20, 10, 140, 30)


def test_what_is_not_the_same_stays_apart() -> None:
    left, right = Tile(0, 0, 100, 100), Tile(60, 0, 160, 100)
    apart = [
        (left, Box((62, 10, 70, 20), "pixel", "car")),
        (right, Box((72, 10, 80, 20), "pixel", "car")),
        (right, Box((62, 10, 70, 20), "pixel", "bus")),
        (left, Box((62, 11, 70, 20), "pixel", "car")),  # twice in one tile: the model meant two
    ]
    assert len(merge(apart, (160, 100))) == 4
    with pytest.raises(GeoError, match="pixels of the scene"):
        merge([(left, Box((0, 0, 1, 1), "unit"))], (160, 100))
