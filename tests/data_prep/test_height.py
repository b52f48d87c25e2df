"""Questions about heights: every answer is computed again from the rasters, in other words."""

from __future__ import annotations

import math
import re
from collections import deque

import numpy as np
import pytest

from data_prep.builders import BUILDERS
from data_prep.builders._rasters import components, connected_to, slope_deg
from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.schema import Box, Image, Mask, Sample, Targets

SUBTASKS = {
    *("elevation_retrieval", "pixel_info", "instance_height", "instance_extraction", "height_ranking"),
    *("pattern_description", "threshold_segmentation", "class_segmentation", "slope_info"),
    *("flooding_inference", "landslides_inference"),
}


def _facts(size: int = 60) -> Sample:
    """Ground that rises to the right, steeply in its right third, a pond at the left, four buildings and a wood."""
    ndsm, dem = np.zeros((size, size), dtype=np.float32), np.zeros((size, size), dtype=np.float32)
    dem[:] = 100 + np.cumsum(np.where(np.arange(size) < 2 * size // 3, 0.25, 2.0))
    building, forest, water = (np.zeros((size, size), dtype=bool) for _ in range(3))
    for (x, y), height in {(20, 5): 4.0, (40, 5): 9.0, (20, 40): 15.0, (40, 40): 24.0}.items():
        building[y : y + 10, x : x + 10] = True
        ndsm[y : y + 10, x : x + 10] = height
    forest[24:34, 50:60] = True
    ndsm[forest] = 18.0
    water[:, :6] = True
    dem[water] = 100.0
    covers = {"building": building, "forest": forest, "water": water, "grass": ~(building | forest | water)}
    rasters = (("height", ("nDSM",), ndsm), ("height", ("DEM",), dem))
    optical = Image(array=np.zeros((3, size, size), dtype=np.uint8), size_px=(size, size), gsd_m=2.0)
    heights = (Image(array=m[None], size_px=(size, size), bands=b, sensor=s) for s, b, m in rasters)
    return Sample(
        id="h",
        images=(optical, *heights),
        task="facts",
        source="made",
        licence="CC0-1.0",
        scene_id="h",
        targets=Targets(masks=tuple(Mask.from_array(mask, name) for name, mask in covers.items())),
        meta={"image_roles": ["optical", "height", "height"]},
    )


def _build(facts: Sample, seed: int = 0) -> list[Sample]:
    return list(BUILDERS.get("height").build(facts, np.random.default_rng(seed)))


@pytest.fixture(scope="module")
def scenes() -> list[tuple[Sample, list[Sample]]]:
    read = SOURCES.get("synthetic_height").read(None, SourceOptions(count=25, seed=11, size_px=96))
    return [(facts, _build(facts, number)) for number, facts in enumerate([_facts(), *read])]


def _of(scenes: list[tuple[Sample, list[Sample]]], *subtasks: str) -> list[tuple[Sample, Sample]]:
    found = [(facts, row) for facts, rows in scenes for row in rows if row.meta["subtask"] in subtasks]
    assert found
    return found


def _metres(facts: Sample, row: Sample) -> np.ndarray:
    image = next(i for i in facts.images[1:] if i.bands == (row.meta["height_kind"],))
    assert image.array is not None
    return np.asarray(image.array[0])


def _covers(facts: Sample) -> dict[str, np.ndarray]:
    return {mask.label: mask.to_array() for mask in facts.targets.masks}


def _flooded(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Walk from the seeds through the mask, side by side."""
    reached = seeds & mask
    queue = deque(zip(*np.nonzero(reached), strict=True))
    while queue:
        y, x = queue.popleft()
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < mask.shape[0] and 0 <= u < mask.shape[1] and mask[v, u] and not reached[v, u]:
                reached[v, u] = True
                queue.append((v, u))
    return np.asarray(reached)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]


def test_all_tasks_are_asked(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    assert {row.meta["subtask"] for _, rows in scenes for row in rows} == SUBTASKS
    assert {row.meta["subtask"] for row in scenes[0][1]} == SUBTASKS


def test_rows_follow_the_contract(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    for facts, rows in scenes:
        assert len({row.id for row in rows}) == len(rows)
        for row in rows:
            assert row.id.startswith(f"{facts.id}/") and row.task in ("height", "segmentation")
            assert (row.task == "segmentation") == bool(row.targets.masks)
            user, assistant = row.messages
            shown = [part.image for part in user.content if part.type == "image"]
            assert shown == [0, 1] and row.images[1].bands == (row.meta["height_kind"],)
            assert row.images[0] is facts.images[0] and row.images[1] in facts.images[1:]
            assert row.meta["image_roles"] == ["optical", "height"]
            assert row.targets.answer == assistant.text.strip()
            assert (row.licence, row.scene_id) == (facts.licence, facts.scene_id)
            steps = row.meta.get("steps", [])
            assert [s["mask"] for s in steps if s["mask"] is not None] == list(range(len(row.targets.masks)))
            if steps:
                assert [step["text"] for step in steps] == [part.text.strip() for part in assistant.content]


def test_building_is_repeatable_and_varied(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    facts = _facts()
    assert _build(facts, 3) == _build(facts, 3)
    asked = {row.messages[0].text for seed in range(6) for row in _build(facts, seed)}
    assert len(asked) > 40


def test_retrieved_heights_stand_in_the_raster(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    for facts, row in _of(scenes, "elevation_retrieval"):
        metres, value = _metres(facts, row), row.targets.numbers[0].value
        boxes = [part.region for part in row.messages[0].content if part.region is not None]
        if boxes:
            x1, y1, x2, y2 = (int(side) for side in boxes[0].xyxy)
            assert value == pytest.approx(float(metres[y1:y2, x1:x2].max()), abs=0.051)
        else:
            x, y = _numbers(row.messages[0].text.split(" at ")[1])[:2]
            wide = metres.shape[1]
            cell = metres[math.ceil(y * wide / 100 - 0.5) :, math.ceil(x * wide / 100 - 0.5) :][:1, :1]
            assert value == pytest.approx(float(cell.item()), abs=0.551)  # whatever pixel that per cent means
        assert _numbers(row.targets.answer or "")[0] == value


def test_pixel_info_tells_cover_height_and_rank(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    for facts, row in _of(scenes, "pixel_info"):
        x, y = row.meta["rule"]["point_px"]
        metres, (label,) = _metres(facts, row), row.targets.labels
        assert _covers(facts)[label][y, x] and label in (row.targets.answer or "")
        assert row.targets.numbers[0].value == pytest.approx(float(metres[y, x]), abs=0.051)
        assert row.targets.numbers[2].value == pytest.approx(100 * (metres < metres[y, x]).mean(), abs=0.51)


def test_heights_of_single_buildings_are_those_of_the_box() -> None:
    truth = {(20, 5): 4.0, (40, 5): 9.0, (20, 40): 15.0, (40, 40): 24.0, (50, 24): 18.0}
    asked = set()
    for seed in range(12):
        for row in _build(_facts(), seed):
            if row.meta["subtask"] == "instance_height":
                box = next(part.region for part in row.messages[0].content if part.region is not None)
                corner = (int(box.xyxy[0]), int(box.xyxy[1]))
                assert box == Box((*box.xyxy[:2], corner[0] + 10.0, corner[1] + 10.0), "pixel", box.label)
                assert row.targets.numbers[0].value == truth[corner]
                asked.add(corner)
    assert asked == set(truth)


def test_the_highest_and_the_lowest_building_are_marked() -> None:
    found = {}
    for seed in range(4):
        for row in _build(_facts(), seed):
            if row.meta["subtask"] == "instance_extraction":
                rank = "highest" if "highest" in row.messages[0].text else "lowest"
                found[rank] = row
    masks = {rank: row.targets.masks[0].to_array() for rank, row in found.items()}
    assert masks["highest"][40:50, 40:50].all() and masks["highest"].sum() == 100
    assert masks["lowest"][5:15, 20:30].all() and masks["lowest"].sum() == 100
    assert "24.0 m" in (found["highest"].targets.answer or "") and "lower right" in (
        found["highest"].targets.answer or ""
    )


def test_buildings_of_mixed_height_are_not_compared() -> None:
    facts = _facts()
    array = facts.images[1].array
    assert array is not None
    array[0, 5:15, 20:25] = 30.0  # one half of a building is now the highest thing there is
    subtasks = {row.meta["subtask"] for row in _build(facts)}
    assert "instance_extraction" not in subtasks and "threshold_segmentation" in subtasks


def test_rankings_are_in_order(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    for facts, row in _of(scenes, "height_ranking"):
        metres = _metres(facts, row)
        marks = dict(re.findall(r"([A-E]) at \((\d+ %, \d+) %\)", row.messages[0].text))
        assert set(marks) == set(row.targets.choices) == set(row.targets.labels) and len(marks) >= 3
        tops = {}
        for letter, place in marks.items():
            x, y = (int((value + 0.5) * metres.shape[0] / 100) for value in _numbers(place))
            piece = _flooded(metres > 0, _at(metres.shape, x, y))
            tops[letter] = float(np.median(metres[piece])) if piece.any() else 0.0
        assert row.targets.answer == ", ".join(row.targets.labels)
        if facts.id == "h":
            ordered = sorted(tops, key=lambda letter: -tops[letter])
            assert list(row.targets.labels) == ordered


def _at(shape: tuple[int, ...], x: int, y: int) -> np.ndarray:
    found = np.zeros(shape, dtype=bool)
    found[min(y, shape[0] - 1), min(x, shape[1] - 1)] = True
    return found


def test_masks_over_a_limit(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    for facts, row in _of(scenes, "threshold_segmentation"):
        limit = row.meta["rule"]["over_m"]
        wanted = _metres(facts, row) > limit
        assert (row.targets.masks[0].to_array() == wanted).all() and 0.02 <= wanted.mean() <= 0.6
        assert row.targets.numbers[0].value == pytest.approx(100 * wanted.mean(), abs=0.051)
        assert f"{limit:g} m" in row.messages[0].text


def test_masks_of_a_class(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    limits = set()
    for facts, row in _of(scenes, "class_segmentation"):
        mask = row.targets.masks[0]
        wanted = _covers(facts)[mask.label].copy()
        if "rule" in row.meta:
            wanted &= _metres(facts, row) > row.meta["rule"]["over_m"]
            assert f"{row.meta['rule']['over_m']:g} m" in row.messages[0].text
        limits.add("rule" in row.meta)
        assert (mask.to_array() == wanted).all()
        assert row.targets.numbers[0].value == pytest.approx(100 * wanted.mean(), abs=0.051)
    assert limits == {True, False}


def test_the_slope_of_a_plane_is_its_angle_up_to_the_border() -> None:
    y, x = np.mgrid[0:20, 0:30].astype(float)
    slope = slope_deg(300 + 0.6 * x - 0.8 * y, 2.0)
    assert slope == pytest.approx(np.full((20, 30), math.degrees(math.atan(0.5))))


def test_slopes_are_those_of_the_ground(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    for facts, row in _of(scenes, "slope_info"):
        down, right = np.gradient(_metres(facts, row).astype(float), facts.images[0].gsd_m or 1.0)
        slope = np.degrees(np.arctan(np.hypot(down, right)))  # central differences, not Horn's weights
        value = row.targets.numbers[0].value
        if row.targets.masks:
            mask = row.targets.masks[0].to_array()
            assert value == pytest.approx(100 * mask.mean(), abs=0.051)
            assert ((slope > row.meta["rule"]["over_deg"]) == mask).mean() > 0.9
        else:
            assert value == pytest.approx(slope.mean(), abs=0.6)


def test_floods_fill_what_the_water_reaches(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    kinds = set()
    for facts, row in _of(scenes, "flooding_inference"):
        dem, rule = _metres(facts, row), row.meta["rule"]
        seeds = np.zeros(dem.shape, dtype=bool)
        if rule["from"] == "water":
            seeds |= _covers(facts)["water"]
            assert rule["level_m"] == pytest.approx(float(dem[seeds].min()) + rule["rise_m"], abs=1e-3)
        else:
            seeds[[0, -1]] = True
            seeds[:, [0, -1]] = True
            assert "water" not in _covers(facts)
            assert f"{rule['level_m']:g} m above sea level" in row.messages[0].text
        wanted = _flooded(dem < rule["level_m"], seeds) | (seeds if rule["from"] == "water" else False)
        flood = next(mask.to_array() for mask in row.targets.masks if mask.label == "flood")
        assert (flood == wanted).all()
        assert row.targets.numbers[0].value == pytest.approx(100 * wanted.mean(), abs=0.051)
        assert (row.targets.answer or "").endswith(f"{row.targets.numbers[0].value:.1f} % of the picture.")
        kinds.add(rule["from"])
    assert kinds == {"water", "edge"}


def test_a_hollow_behind_a_ridge_stays_dry() -> None:
    low = np.ones((7, 9), dtype=bool)
    low[:, 4] = False  # the ridge
    seeds = np.zeros((7, 9), dtype=bool)
    seeds[3, 0] = True
    reached = connected_to(seeds, low)
    assert reached[:, :4].all() and not reached[:, 4:].any()


def test_landslides_follow_the_rule_that_is_told(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    held = set()
    for facts, row in _of(scenes, "landslides_inference"):
        rule = row.meta["rule"]
        covers, text = _covers(facts), row.messages[0].text
        assert f"steeper than {rule['over_deg']} degrees" in text
        assert ("forest" in text) == ("forest" in rule["firm"])
        held.add("forest" in rule["firm"])
        if row.targets.masks:
            steep, prone = (mask.to_array() for mask in row.targets.masks)
            firm = np.any([covers[name] for name in rule["firm"] if name in covers] or [np.zeros_like(steep)], axis=0)
            assert (prone == (steep & ~firm)).all()
            assert row.targets.numbers[0].value == pytest.approx(100 * prone.mean(), abs=0.051)
            down, right = np.gradient(_metres(facts, row).astype(float), facts.images[0].gsd_m or 1.0)
            assert ((np.degrees(np.arctan(np.hypot(down, right))) > rule["over_deg"]) == steep).mean() > 0.9
        else:
            assert row.targets.numbers[0].value == 0.0
    assert held == {True, False}


def test_the_pattern_is_told_in_numbers_of_the_raster(scenes: list[tuple[Sample, list[Sample]]]) -> None:
    for facts, row in _of(scenes, "pattern_description"):
        metres, text = _metres(facts, row), row.targets.answer or ""
        share = round(100 * float((metres > 2).mean()))
        if share == 0:
            assert "flat" in text
        else:
            assert text.startswith(f"{share} %") and f"at {metres.max():.1f} m" in text
            assert f"median height of {np.median(metres[metres > 2]):.1f} m" in text


def test_rows_without_heights_or_with_gaps_are_passed_over() -> None:
    facts = _facts()
    plain = Sample(**{**vars(facts), "images": facts.images[:1], "meta": {"image_roles": ["optical"]}})
    assert _build(plain) == []
    array = facts.images[1].array
    assert array is not None
    array[0, :30] = np.nan
    rows = [row for row in _build(facts) if row.meta["height_kind"] == "nDSM"]
    assert rows and all("nan" not in (row.targets.answer or "") for row in rows)
    assert "pattern_description" not in {row.meta["subtask"] for row in rows}


def test_components_are_joined_over_corners() -> None:
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=bool)
    sizes = sorted(int(piece.sum()) for piece in components(mask))
    assert sizes == [1, 2, 2] and len(components(mask, 2)) == 2
