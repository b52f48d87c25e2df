from __future__ import annotations

import numpy as np
import pytest

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.geo.overlay import COLOURS, OWN, draw
from lhrs_chat.schema import Box, Mask


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_outlines_and_labels_are_seen_on_any_ground(ground: int) -> None:
    rgb = np.full((200, 300, 3), ground, np.uint8)
    out = np.asarray(draw(rgb, [Box((100, 60, 200, 140), "pixel", "ship", 0.8)]))
    assert out.shape == rgb.shape
    assert (rgb == ground).all()  # the picture handed in is not drawn on
    assert tuple(out[100, 100]) == COLOURS[0]
    assert (out[98:103, 94:107] == 0).all(axis=2).any()  # a dark rim beside the colour
    assert (out[100, 150] == ground).all()
    plate = out[30:60, 100:160]
    assert (plate == COLOURS[0]).all(axis=2).any()
    assert (plate == 0).all(axis=2).any()


def test_labels_stay_inside_the_picture() -> None:
    rgb = np.full((60, 60, 3), 200, np.uint8)
    out = np.asarray(draw(rgb, [Box((50, 0, 60, 10), "pixel", "a long label", 0.5)]))
    assert (out[:, 20:40] == COLOURS[0]).all(axis=2).any()


def test_decimated_views_and_relative_frames() -> None:
    rgb = np.full((100, 150, 3), 10, np.uint8)
    one = np.asarray(draw(rgb, [Box((400, 200, 800, 600), "pixel")], size_px=(1500, 1000)))
    two = np.asarray(draw(rgb, [Box((400 / 15, 20, 800 / 15, 60), "per100")]))
    np.testing.assert_array_equal(one, two)
    assert tuple(one[40, 40]) == COLOURS[0]


def test_masks_are_half_transparent() -> None:
    rgb = np.full((40, 40, 3), 100, np.uint8)
    mask = np.zeros((20, 20), dtype=bool)
    mask[:10] = True
    out = np.asarray(draw(rgb, masks=[Mask.from_array(mask, "water")]))
    np.testing.assert_allclose(out[5, 5], (np.array(OWN["water"]) + 100) / 2, atol=2)
    assert (out[30, 30] == 100).all()
    ring = ((0, 0), (30, 0), (30, 30), (0, 30)), ((10, 10), (20, 10), (20, 20), (10, 20))
    out = np.asarray(draw(rgb, masks=[Mask("pixel", polygons=ring)]))
    assert (out[5, 5] != 100).any()
    assert (out[15, 15] == 100).all()


def test_each_label_has_its_colour() -> None:
    rgb = np.zeros((50, 100, 3), np.uint8)
    found = [
        Box((10, 30, 20, 45), "pixel", "a"),
        Box((40, 30, 60, 45), "pixel", "b"),
        Box((70, 30, 90, 45), "pixel", "a"),
    ]
    out = np.asarray(draw(rgb, found))
    assert tuple(out[38, 10]) == tuple(out[38, 70]) == COLOURS[0]
    assert tuple(out[38, 40]) == COLOURS[1]


def test_errors() -> None:
    with pytest.raises(DataError, match="uint8"):
        draw(np.zeros((5, 5, 3)))
    with pytest.raises(GeoError, match="no georeference"):
        draw(np.zeros((5, 5, 3), np.uint8), [Box((0, 0, 1, 1), "map")])


def test_water_keeps_its_colour_beside_others() -> None:
    rgb = np.zeros((50, 100, 3), np.uint8)
    names = ["ship", "water", "vegetation", *"abcdefg"]
    found = [Box((10 * i, 30, 10 * i + 8, 45), "pixel", name) for i, name in enumerate(names)]
    out = np.asarray(draw(rgb, found))
    drawn = {name: tuple(out[38, 10 * i]) for i, name in enumerate(names)}
    assert drawn["water"] == OWN["water"]
    assert drawn["vegetation"] == OWN["vegetation"]
    assert OWN["water"] not in [drawn[name] for name in names if name != "water"]
