"""Truths move with the pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lhrs_chat.corruptions import CORRUPTIONS, Motion, parse
from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.schema import Box, Mask

CASES = parse("rotate,scale,translate,quarter_turn")


def scene() -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A bright rectangle on black: (1, H, W), and its box; it is too far inside to be mirrored at an edge."""
    pixels = np.zeros((1, 160, 240), "uint8")
    pixels[:, 66:92, 95:145] = 255
    return pixels, (95, 66, 145, 92)


@pytest.mark.parametrize(("name", "severity"), CASES)
@pytest.mark.parametrize("frame", ["pixel", "unit", "per100"])
def test_boxes_move_with_pixels(name: str, severity: int, frame: str) -> None:
    pixels, (x1, y1, x2, y2) = scene()
    corruption = CORRUPTIONS.get(name)
    damaged = corruption.damage(pixels, severity, seed=11)[0] > 127
    motion = corruption.motion((240, 160), severity, seed=11)
    assert damaged.shape == motion.moved_size_px[::-1]
    scale = {"pixel": (1.0, 1.0), "unit": (1 / 240, 1 / 160), "per100": (100 / 240, 100 / 160)}[frame]
    moved = motion.box(Box((x1 * scale[0], y1 * scale[1], x2 * scale[0], y2 * scale[1]), frame, "house", 0.5))  # type: ignore[arg-type]
    assert moved is not None
    assert (moved.frame, moved.label, moved.score) == (frame, "house", 0.5)
    back = {"pixel": (1.0, 1.0), "unit": motion.moved_size_px, "per100": tuple(n / 100 for n in motion.moved_size_px)}
    found = np.array(moved.xyxy) * np.tile(back[frame], 2)
    rows, columns = np.nonzero(damaged)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert found == pytest.approx(expected, abs=1.5)
    upright = name != "rotate" or severity == 5
    assert (moved.points is None) is upright


@pytest.mark.parametrize(("name", "severity"), CASES)
def test_masks_move_with_pixels(name: str, severity: int) -> None:
    pixels, (x1, y1, x2, y2) = scene()
    corruption = CORRUPTIONS.get(name)
    damaged = corruption.damage(pixels, severity, seed=2)[0] > 127
    motion = corruption.motion((240, 160), severity, seed=2)
    lengths = motion.mask(Mask.from_array(pixels[0] > 0, "house", 0.5))
    assert (lengths.label, lengths.score) == ("house", 0.5)
    moved = lengths.to_array()
    assert (moved & damaged).sum() / (moved | damaged).sum() > 0.95
    ring = ((x1 / 240, y1 / 160), (x2 / 240, y1 / 160), (x2 / 240, y2 / 160), (x1 / 240, y2 / 160))
    polygon = motion.mask(Mask("unit", polygons=(ring,)))
    assert polygon.frame == "unit"
    assert polygon.polygons is not None
    corners = np.array(polygon.polygons[0]) * motion.moved_size_px
    assert area(corners) == pytest.approx(moved.sum(), rel=0.05)
    assert corners.mean(axis=0)[::-1] == pytest.approx(np.argwhere(moved).mean(axis=0) + 0.5, abs=0.6)


def area(corners: np.ndarray) -> float:
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_quarter_turns_are_exact(turns: int, dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 250, (5, 31, 47)).astype(dtype)
    assert (CORRUPTIONS.get("quarter_turn").damage(pixels, turns) == np.rot90(pixels, turns, axes=(1, 2))).all()


def test_rotation_by_a_right_angle_is_exact_on_a_square() -> None:
    pixels = np.random.default_rng(0).integers(0, 60_000, (2, 40, 40)).astype("uint16")
    assert (CORRUPTIONS.get("rotate").damage(pixels, 5) == np.rot90(pixels, axes=(1, 2))).all()


@pytest.mark.parametrize(("severity", "shift"), [(1, 15), (5, 35)])
def test_translation_is_exact_and_mirrors_the_edge(severity: int, shift: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1, 90, 80)).astype("uint8")
    moved = CORRUPTIONS.get("translate").damage(pixels, severity, seed=0)
    a, b, x, c, d, y = CORRUPTIONS.get("translate").motion((80, 90), severity, seed=0).affine
    assert (a, b, c, d, abs(x), abs(y)) == (1, 0, 0, 1, shift, shift)
    padded = np.pad(pixels[0], shift, mode="symmetric")
    top, left = shift - int(y), shift - int(x)
    assert (moved[0] == padded[top : top + 90, left : left + 80]).all()


def test_translation_goes_to_all_four_sides() -> None:
    motions = [CORRUPTIONS.get("translate").motion((80, 80), 1, seed) for seed in range(20)]
    assert {(motion.affine[2], motion.affine[5]) for motion in motions} == {
        (x, y) for x in (-15, 15) for y in (-15, 15)
    }


def test_scale_leaves_an_empty_frame() -> None:
    pixels = np.full((2, 100, 200), 50, "uint8")
    moved = CORRUPTIONS.get("scale").damage(pixels, 5)
    expected = np.zeros_like(pixels)
    expected[:, 25:75, 50:150] = 50
    assert (moved == expected).all()
    masked = CORRUPTIONS.get("scale").damage(np.ma.MaskedArray(pixels), 5)
    assert (masked.mask == (expected == 0)).all()
    floats = CORRUPTIONS.get("scale").damage(pixels.astype("float32") - 70, 5)
    assert (floats == -20).all()


def test_rotation_goes_counter_clockwise() -> None:
    motion = CORRUPTIONS.get("rotate").motion((100, 100), 1)
    angle = math.radians(30)
    expected = [[50 + 50 * math.cos(angle), 50 - 50 * math.sin(angle)]]
    assert motion.xy(np.array([[100.0, 50.0]])) == pytest.approx(np.array(expected))


def test_boxes_are_cut_at_edges_or_lost() -> None:
    motion = Motion((100, 80), (100, 80), (1.0, 0.0, 20.0, 0.0, 1.0, 0.0))
    assert motion.box(Box((70, 10, 90, 20), "pixel")) == Box((90, 10, 100, 20), "pixel")
    assert motion.box(Box((85, 10, 95, 20), "pixel")) is None
    assert motion.box(Box((0.85, 0.1, 0.95, 0.2), "unit")) is None


def test_oriented_boxes_keep_their_corners() -> None:
    box = Box.oriented(((20, 10), (30, 20), (20, 30), (10, 20)), "pixel")
    moved = Motion.about_centre((100, 100), scale=0.5).box(box)
    assert moved is not None
    assert moved.points == ((35, 30), (40, 35), (35, 40), (30, 35))


def test_other_frames_and_other_pictures_are_refused() -> None:
    motion = Motion.none((100, 80))
    with pytest.raises(GeoError):
        motion.box(Box((0, 0, 1, 1), "map"))
    with pytest.raises(DataError, match="another picture"):
        motion.mask(Mask.from_array(np.ones((100, 80), bool)))


def test_what_only_changes_values_moves_nothing() -> None:
    motion = CORRUPTIONS.get("cloud").motion((100, 80), 3)
    box = Box((10, 20, 30, 40), "per100", "x")
    assert motion == Motion.none((100, 80))
    assert motion.box(box) == box
    assert motion.text("the left part") == "the left part"


def test_only_quarter_turns_turn_words() -> None:
    said = [CORRUPTIONS.get(name).motion((9, 9), severity).text("top") for name, severity in CASES]
    assert said == ["top"] * 15 + ["left", "bottom", "right"]
