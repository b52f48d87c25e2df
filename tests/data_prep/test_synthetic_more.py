"""Procedural scenes with radar, heights, clouds and a second date: the extras are exact and agree with the masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep.canvas import CODE, Canvas, Sun
from data_prep.clouds import cover_with_clouds
from data_prep.events import EVENTS, build, rise, season
from data_prep.grounds import Palette
from data_prep.heights import above_ground, lit, terrain
from data_prep.radar import from_the_side
from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample

SIZE = 96
NEW = ("synthetic_pairs", "synthetic_height", "synthetic_change", "synthetic_clouds")


def _read(name: str, count: int, seed: int = 3) -> list[Sample]:
    return list(SOURCES.get(name).read(None, SourceOptions(count=count, seed=seed, size_px=SIZE)))


def _array(sample: Sample, image: int) -> np.ndarray:
    array = sample.images[image].array
    assert array is not None
    return array


def _cover(sample: Sample, image: int = 0) -> dict[str, np.ndarray]:
    places = sample.meta.get("mask_images", [0] * len(sample.targets.masks))
    return {m.label: m.to_array() for k, m in zip(places, sample.targets.masks, strict=True) if k == image}


def _canvas(size: int = 40, gsd_m: float = 1.0, left: float = 10.0) -> Canvas:
    """Grass, a 12 x 12 px building of 10 m at (left, 14), and water in the last eight columns."""
    canvas = Canvas(np.random.default_rng(0), size, gsd_m, Sun(0.0, 0.8))
    canvas.fill("grass", np.full((size, size, 3), 0.4, dtype=np.float32))
    where = np.zeros((size, size))
    where[:, size - 8 :] = 1
    canvas.fill("water", np.full((size, size, 3), 0.1, dtype=np.float32), where)
    outline = [(left, 14.0), (left + 11.5, 14.0), (left + 11.5, 25.5), (left, 25.5)]
    canvas.put("building", [(outline, (0.9, 0.9, 0.9))], [outline], 10.04)
    return canvas


def _finish(canvas: Canvas) -> None:
    canvas.finish(np.zeros((canvas.size_px, canvas.size_px), dtype=np.float32))


@pytest.mark.parametrize("name", NEW)
def test_a_seed_gives_the_same_rows_and_another_seed_others(name: str) -> None:
    one, again, other = _read(name, 3), _read(name, 3), _read(name, 3, seed=4)
    for first, second in zip(one, again, strict=True):
        assert (first.id, first.targets, first.meta) == (second.id, second.targets, second.meta)
        for image in range(len(first.images)):
            assert _array(first, image).tobytes() == _array(second, image).tobytes()
    assert [row.id for row in one] != [row.id for row in other]
    assert _array(one[0], 0).tobytes() != _array(other[0], 0).tobytes()


@pytest.mark.parametrize("name", NEW)
def test_rows_follow_the_contract(name: str, tmp_path: Path) -> None:
    for row in _read(name, 6):
        assert row.task == "facts" and row.licence and row.source == name
        assert len(row.meta["image_roles"]) == len(row.images)
        assert all(image.size_px == (SIZE, SIZE) == image.array.shape[:0:-1] for image in row.images)  # type: ignore[union-attr]
    with pytest.raises(DataError, match="no folder"):
        next(SOURCES.get(name).read(tmp_path, SourceOptions(count=1)))


def test_heights_above_ground_are_exact() -> None:
    canvas = _canvas()
    canvas.tree(26.0, 8.0, 4.0, (0.1, 0.3, 0.1))
    _finish(canvas)
    height = above_ground(canvas)
    building = canvas.ids == 1
    assert building.sum() == 144 and (height[building] == np.float32(10.0)).all()
    rows, columns = np.nonzero((height > 0) & ~building)
    assert rows.size > 30 and np.hypot(columns + 0.5 - 26, rows + 0.5 - 8).max() < 4.8
    assert height[7:9, 25:27].max() == pytest.approx(6.4, abs=0.2)  # 1.6 times the radius of 4 m
    assert height[7, 29] < height[7, 26]  # a round crown
    assert (height[canvas.cover == CODE["water"]] == 0).all()


def test_the_ground_is_lowest_and_flat_at_the_water() -> None:
    for seed in range(8):
        canvas = _canvas(64)
        canvas.rng = np.random.default_rng(seed)
        _finish(canvas)
        dem = terrain(canvas)
        water = canvas.cover == CODE["water"]
        assert np.ptp(dem[water]) == 0 and dem.min() == dem[water][0]
        assert dem[:, :20].mean() > dem[water][0]


def test_light_follows_the_slope() -> None:
    canvas = _canvas()  # the sun stands at the right
    across = np.broadcast_to(canvas.x, (40, 40)).astype(np.float32)
    assert lit(canvas, np.zeros((40, 40), dtype=np.float32)) == pytest.approx(np.ones((40, 40)))
    normal, sun = np.array([0.2, 0, 1.0]), np.array([np.cos(0.8), 0, np.sin(0.8)])  # falls to the right
    assert lit(canvas, -0.2 * across)[20, 20] == pytest.approx(normal @ sun / np.linalg.norm(normal) / sun[2], rel=1e-4)
    assert lit(canvas, 0.2 * across)[20, 20] < 1


def test_what_is_high_falls_towards_the_radar_and_shades_what_is_behind() -> None:
    sides = set()
    for seed in range(6):
        canvas = _canvas(100, left=40.0)
        canvas.rng = np.random.default_rng(seed)
        _finish(canvas)
        seen = from_the_side(canvas, above_ground(canvas))
        row = seen[16:24].mean(axis=0)
        left, right = row[34:39].mean(), row[53:58].mean()
        sides.add("left" if left > right else "right")
        assert abs(left - right) > 0.3  # bright on one side, dark on the other
        flat = from_the_side(canvas, np.zeros((100, 100), dtype=np.float32))[16:24].mean(axis=0)
        assert abs(flat[34:39].mean() - flat[53:58].mean()) < 0.15
    assert sides == {"left", "right"}


def test_pairs_show_one_place_in_colour_and_in_grey() -> None:
    rows = _read("synthetic_pairs", 8)
    for row in rows:
        assert row.meta["image_roles"] == ["optical", "sar"]
        assert row.images[0].gsd_m == row.images[1].gsd_m
        assert row.images[1].sensor == ("sentinel-1" if row.images[0].sensor == "sentinel-2" else "sar")
        red, green, blue = _array(row, 1)
        assert (red == green).all() and (green == blue).all() and red.std() > 5


def test_height_rows_agree_with_their_masks_and_numbers() -> None:
    seen = set()
    for row in _read("synthetic_height", 25):
        ndsm, dem = _array(row, 1)[0], _array(row, 2)[0]
        covers = _cover(row)
        assert [image.bands for image in row.images[1:]] == [("nDSM",), ("DEM",)]
        assert ndsm.dtype == dem.dtype == np.float32 and ndsm.min() >= 0 and dem.min() >= 0
        told = {n.label: n.value for n in row.targets.numbers if n.unit == "m"}
        for number, box in enumerate(row.targets.boxes):
            x1, y1, x2, y2 = (int(value) for value in box.xyxy)
            assert (ndsm[y1:y2, x1:x2] == np.float32(told[f"height of box {number}"])).any()
        if "building" in covers:
            assert (ndsm[covers["building"]] > 1).all()
        if "forest" in covers:
            assert np.median(ndsm[covers["forest"]]) > 4
        if "road" in covers:
            assert np.median(ndsm[covers["road"]]) == 0
        if "water" in covers:
            assert np.ptp(dem[covers["water"]]) == 0
        seen |= set(covers)
    assert {"building", "forest", "water", "road"} <= seen


def test_slopes_can_be_seen_in_the_picture() -> None:
    """Over bare scenes, what faces the sun is brighter: light and brightness go together."""
    found = []
    for row in _read("synthetic_height", 60, seed=1):
        dem, grey = _array(row, 2)[0], _array(row, 0).mean(axis=0)
        down, right = np.gradient(dem, row.images[0].gsd_m or 1.0)
        if row.targets.labels[0] in ("meadow", "bare land") and np.hypot(down, right).mean() > 0.15:
            design = np.stack([np.ones(dem.size), down.ravel(), right.ravel()], axis=1)
            fitted = design @ np.linalg.lstsq(design, grey.ravel(), rcond=None)[0]
            found.append(np.corrcoef(fitted, grey.ravel())[0, 1])
    assert found and np.mean(found) > 0.4


def test_changed_pixels_are_those_whose_cover_differs() -> None:
    changes = []
    for row in _read("synthetic_change", 30):
        assert row.meta["image_roles"] == ["before", "after"]
        dates = [_cover(row, image) for image in (0, 1)]
        for covers in dates:
            assert (np.sum(list(covers.values()), axis=0) == 1).all()  # every pixel has one cover
        same = sum((dates[0][name] & dates[1][name]).sum() for name in dates[0] if name in dates[1])
        number = row.targets.numbers[0]
        assert (number.label, number.unit) == ("changed", "%")
        assert number.value == pytest.approx(100 * (1 - same / SIZE**2))
        changes.append(number.value)
        assert len(row.meta["box_images"]) == len(row.targets.boxes)
    assert 0.0 in changes and max(changes) > 20


def test_change_is_seen_where_it_is_told() -> None:
    """Where the cover differs the two pictures differ more, once their brightness is made alike."""
    inside, outside = [], []
    for row in _read("synthetic_change", 30):
        before, after = (_cover(row, image) for image in (0, 1))
        empty = np.zeros((SIZE, SIZE), dtype=bool)
        changed = np.any([before.get(n, empty) != after.get(n, empty) for n in {*before, *after}], axis=0)
        if 0.05 < changed.mean() < 0.5:
            one, two = (_array(row, image).astype(float) for image in (0, 1))
            gap = np.zeros((SIZE, SIZE))
            for a, b in zip(one, two, strict=True):
                slope, base = np.polyfit(a[~changed], b[~changed], 1)
                gap += np.abs(slope * a + base - b)
            inside.append(gap[changed].mean())
            outside.append(gap[~changed].mean())
    assert len(inside) > 5 and np.mean(inside) > 2 * np.mean(outside)


def test_a_copy_of_a_canvas_goes_its_own_way() -> None:
    canvas = _canvas()
    copy = canvas.copy(np.random.default_rng(1))
    palette = Palette.draw(np.random.default_rng(2))
    assert rise(copy, palette)
    _finish(canvas)
    _finish(copy)
    wet = [(c.cover == CODE["water"]) for c in (canvas, copy)]
    assert (wet[0] & ~wet[1]).sum() == 0 and wet[1].sum() > wet[0].sum() == 8 * 40
    assert (copy.cover == CODE["building"]).sum() == 144  # buildings stand in the water


def test_new_buildings_keep_off_the_old_ones_and_the_water() -> None:
    canvas = _canvas(128)
    assert build(canvas, Palette.draw(np.random.default_rng(0)))
    _finish(canvas)
    labels = [thing.label for thing in canvas.things]
    assert len(labels) > 1 and set(labels) == {"building"}
    assert (canvas.ids == 1).sum() == 144
    assert (canvas.cover[:, -8:] == CODE["water"]).all()


def test_events_say_whether_they_could_happen() -> None:
    for event in EVENTS:
        canvas = Canvas(np.random.default_rng(3), 64, 1.0, Sun(0.3, 0.8))
        canvas.fill("road", np.full((64, 64, 3), 0.4, dtype=np.float32))
        before = canvas.cover.copy()
        assert not event(canvas, Palette.draw(np.random.default_rng(0)))
        assert (canvas.cover == before).all()


def test_a_season_changes_colours_and_no_cover() -> None:
    canvas = _canvas()
    _finish(canvas)
    cover, rgb = canvas.cover.copy(), canvas.rgb.copy()
    season(canvas)
    moved = np.abs(canvas.rgb - rgb).max(axis=2) > 1e-4
    assert (canvas.cover == cover).all() and moved.any()
    assert (moved <= (cover == CODE["grass"])).all()


def test_clouds_hide_and_shade() -> None:
    for seed in range(5):
        canvas = _canvas(128)
        canvas.rng = np.random.default_rng(seed)
        _finish(canvas)
        rgb = canvas.rgb.copy()
        hidden, shaded = cover_with_clouds(canvas, 0.3)
        assert 0.02 < hidden.mean() < 0.75 and not (hidden & shaded).any()
        land = canvas.cover == CODE["grass"]
        assert canvas.rgb[hidden & land].mean() > rgb[hidden & land].mean() + 0.1
        if (shaded & land).sum() > 50:
            assert canvas.rgb[shaded & land].mean() < rgb[shaded & land].mean()


def test_cloudy_rows_tell_only_what_can_be_seen() -> None:
    shares = []
    for row in _read("synthetic_clouds", 15):
        covers = _cover(row)
        cloud, shadow = covers.pop("cloud"), covers.pop("cloud shadow")
        told = {n.label: n.value for n in row.targets.numbers if n.unit == "%"}
        assert told["cloud"] == pytest.approx(100 * cloud.mean())
        assert not (cloud & shadow).any()
        for name, mask in covers.items():
            assert not (mask & cloud).any() and told[name] == pytest.approx(100 * mask.mean())
        for box in row.targets.boxes:
            x1, y1, x2, y2 = (int(value) for value in box.xyxy)
            assert not cloud[y1:y2, x1:x2].all()
        assert {"cloud", "cloud shadow"} <= set(row.meta["complete"])
        shares.append(told["cloud"])
    assert min(shares) < 15 and max(shares) > 35
