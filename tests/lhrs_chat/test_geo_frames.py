from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.frames import Placement, clip, convert, convert_mask, convert_point
from lhrs_chat.geo.reference import part_of
from lhrs_chat.schema import FRAMES, Box, Georef, Mask, Point

SIZE = (640, 480)
PLACEMENT = Placement(SIZE, (40, 20, 600, 440), (224, 168), (0, 28), (224, 224))
NORTH_UP = Georef("EPSG:32631", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
ROTATED = Georef("EPSG:32631", (8.0, 3.0, 500_000.0, 2.5, -9.0, 5_000_000.0))
PARTS = st.floats(0, 1, allow_nan=False)
FRAME = st.sampled_from(FRAMES)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    xs = sorted([draw(PARTS) * SIZE[0], draw(PARTS) * SIZE[0]])
    ys = sorted([draw(PARTS) * SIZE[1], draw(PARTS) * SIZE[1]])
    return Box((xs[0], ys[0], xs[1], ys[1]), "pixel", "thing", 0.5)


@given(boxes(), FRAME, FRAME, st.sampled_from([NORTH_UP, ROTATED]))
def test_every_frame_round_trips(box: Box, first: str, second: str, georef: Georef) -> None:
    def to(b: Box, frame: str) -> Box:
        return convert(b, frame, size_px=SIZE, placement=PLACEMENT, georef=georef)

    start = to(box, first)
    back = to(to(start, second), first)
    assert back.frame == first
    assert (back.label, back.score) == ("thing", 0.5)
    assert back.xyxy == pytest.approx(start.xyxy, abs=1e-6)
    assert to(back, "pixel").xyxy == pytest.approx(box.xyxy, abs=1e-6)


@given(st.lists(st.tuples(PARTS, PARTS), min_size=4, max_size=4), FRAME, st.sampled_from([NORTH_UP, ROTATED]))
def test_corners_and_points_round_trip(corners: list[tuple[float, float]], frame: str, georef: Georef) -> None:
    box = Box.oriented(tuple((x * SIZE[0], y * SIZE[1]) for x, y in corners), "pixel")
    there = convert(box, frame, size_px=SIZE, placement=PLACEMENT, georef=georef)
    back = convert(there, "pixel", size_px=SIZE, placement=PLACEMENT, georef=georef)
    for got, want in zip(back.points, box.points, strict=True):
        assert got == pytest.approx(want, abs=1e-6)
    point = Point(*box.points[0], "pixel", "p")
    away = convert_point(point, frame, size_px=SIZE, placement=PLACEMENT, georef=georef)
    home = convert_point(away, "pixel", size_px=SIZE, placement=PLACEMENT, georef=georef)
    assert (home.x, home.y) == pytest.approx((point.x, point.y), abs=1e-6)
    assert (away.x, away.y) == pytest.approx(there.points[0])


def test_known_values() -> None:
    box = Box((64, 48, 320, 240), "pixel")
    assert convert(box, "unit", size_px=SIZE).xyxy == pytest.approx((0.1, 0.1, 0.5, 0.5))
    assert convert(box, "per100", size_px=SIZE).xyxy == pytest.approx((10, 10, 50, 50))
    assert convert(box, "per1000", size_px=SIZE).xyxy == pytest.approx((100, 100, 500, 500))
    model = convert(box, "model", size_px=SIZE, placement=PLACEMENT).xyxy
    assert model == pytest.approx(((64 - 40) * 0.4, (48 - 20) * 0.4 + 28, (320 - 40) * 0.4, (240 - 20) * 0.4 + 28))
    assert PLACEMENT.to_pixel(PLACEMENT.to_model(box)).xyxy == pytest.approx(box.xyxy)
    on_map = convert(box, "map", size_px=SIZE, georef=NORTH_UP)
    assert on_map.xyxy == (500_640, 4_997_600, 503_200, 4_999_520)
    assert on_map.points is None


def test_polygon_mask_converts_and_run_lengths_do_not() -> None:
    mask = Mask("pixel", polygons=(((0, 0), (64, 0), (64, 48)),), label="m")
    unit = convert_mask(mask, "unit", size_px=SIZE)
    assert unit.polygons[0][2] == pytest.approx((0.1, 0.1))
    assert unit.label == "m"
    runs = Mask("pixel", rle=(4,), shape_px=(2, 2))
    with pytest.raises(GeoError, match="run lengths"):
        convert_mask(runs, "unit", size_px=SIZE)


def test_missing_placement_or_georef_is_said() -> None:
    box = Box((0, 0, 1, 1), "pixel")
    with pytest.raises(GeoError, match="placement"):
        convert(box, "model", size_px=SIZE)
    with pytest.raises(GeoError, match="no georeference"):
        convert(box, "map", size_px=SIZE)
    with pytest.raises(GeoError, match="another image"):
        convert(box, "model", size_px=(10, 10), placement=PLACEMENT)
    with pytest.raises(GeoError, match="cannot be inverted"):
        flat = Georef("EPSG:32631", (0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
        convert(Box((0, 0, 1, 1), "map"), "pixel", size_px=SIZE, georef=flat)
    with pytest.raises(GeoError, match="empty side"):
        Placement(SIZE, (5, 5, 5, 9), (10, 10), (0, 0), (10, 10))


@given(boxes(), st.floats(-1000, 1000), st.floats(-1000, 1000))
def test_clipped_boxes_lie_inside_or_are_refused(box: Box, dx: float, dy: float) -> None:
    x1, y1, x2, y2 = box.xyxy
    moved = Box((x1 + dx, y1 + dy, x2 + dx, y2 + dy), "pixel")
    outside = moved.xyxy[2] < 0 or moved.xyxy[3] < 0 or moved.xyxy[0] > SIZE[0] or moved.xyxy[1] > SIZE[1]
    try:
        cut = clip(moved, SIZE)
    except GeoError:
        assert outside or min(moved.xyxy[2], moved.xyxy[3]) <= 0 or moved.xyxy[0] >= SIZE[0] or moved.xyxy[1] >= SIZE[1]
        return
    assert not outside
    assert 0 <= cut.xyxy[0] <= cut.xyxy[2] <= SIZE[0]
    assert 0 <= cut.xyxy[1] <= cut.xyxy[3] <= SIZE[1]


def test_clip_by_frame() -> None:
    assert clip(Box((-5, 10, 30, 120), "per100"), SIZE).xyxy == (0, 10, 30, 100)
    with pytest.raises(GeoError, match="outside"):
        clip(Box((641, 0, 700, 10), "pixel"), SIZE)
    with pytest.raises(GeoError, match="outside"):
        clip(Box((-10, 0, 0, 10), "pixel"), SIZE)
    with pytest.raises(GeoError, match="image frame"):
        clip(Box((0, 0, 1, 1), "map"), SIZE)
    tilted = Box.oriented(((-10, 10), (10, -10), (30, 10), (10, 30)), "pixel")
    assert clip(tilted, SIZE).xyxy == pytest.approx((0, 0, 30, 30))
    corner = Box.oriented(((-20, -1), (-1, -20), (1, -18), (-18, 1)), "pixel")  # its envelope reaches in, it does not
    with pytest.raises(GeoError, match="outside"):
        clip(corner, SIZE)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_a_part_lies_where_the_whole_says(scale: float) -> None:
    whole = Georef("EPSG:32631", (2.0, 0.5, 500_000.0, 0.25, -2.0, 5_000_000.0))
    part = part_of(whole, 30, 40, scale)
    inside = convert_point(Point(4, 6, "pixel"), "map", size_px=(9, 9), georef=part)
    known = convert_point(Point(30 + 4 * scale, 40 + 6 * scale, "pixel"), "map", size_px=(99, 99), georef=whole)
    assert (inside.x, inside.y) == pytest.approx((known.x, known.y)) and part.crs == whole.crs
