"""Chains of reasoning: the answer, and every number on the way, follow from the masks of the steps."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from data_prep.builders import BUILDERS
from data_prep.builders._rasters import array_of, distance_px, touch
from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.schema import Image, Mask, Sample, Targets

SINGLE = {"coverage_percentage", "absolute_area", "area_comparison", "boundary_detection", "distance_measurement"}


def _sample(masks: tuple[Mask, ...], images: int = 1, size: int = 40, **meta: object) -> Sample:
    image = Image(array=np.zeros((3, size, size), dtype=np.uint8), size_px=(size, size), gsd_m=10.0)
    return Sample(
        id="p",
        images=(image,) * images,
        task="facts",
        source="made",
        licence="CC0-1.0",
        scene_id="p",
        targets=Targets(masks=masks),
        meta={"image_roles": ["before", "after"] if images == 2 else ["optical"], **meta},
    )


def _block(x1: int, y1: int, x2: int, y2: int, size: int = 40) -> np.ndarray:
    found = np.zeros((size, size), dtype=bool)
    found[y1:y2, x1:x2] = True
    return found


def _build(facts: Sample, seed: int = 0) -> list[Sample]:
    return list(BUILDERS.get("pixel_cot").build(facts, np.random.default_rng(seed)))


@pytest.fixture(scope="module")
def made() -> list[tuple[Sample, Sample]]:
    """Rows of scenes and of pairs, each with its facts."""
    found = []
    for name, count in (("synthetic", 30), ("synthetic_change", 25)):
        read = SOURCES.get(name).read(None, SourceOptions(count=count, seed=6, size_px=80))
        found += [(facts, row) for number, facts in enumerate(read) for row in _build(facts, number)]
    return found


def _number(text: str) -> float:
    return float(re.findall(r"[-+]?[\d,]*\.?\d+", text)[0].replace(",", ""))


def _square_m(text: str) -> float:
    return _number(text) * (1e6 if "km2" in text else 1.0)


def _masks(row: Sample) -> list[np.ndarray]:
    return [mask.to_array() for mask in row.targets.masks]


def _of(made: list[tuple[Sample, Sample]], subtask: str) -> list[tuple[Sample, Sample]]:
    found = [(facts, row) for facts, row in made if row.meta["subtask"] == subtask]
    assert len(found) > 3
    return found


def test_all_tasks_are_made(made: list[tuple[Sample, Sample]]) -> None:
    assert {row.meta["subtask"] for _, row in made} == SINGLE | {"cover_change", "building_change"}


def test_every_mask_belongs_to_a_step_and_every_step_to_a_piece_of_text(made: list[tuple[Sample, Sample]]) -> None:
    for facts, row in made:
        assistant, steps = row.messages[1], row.meta["steps"]
        assert [step["text"] for step in steps] == [part.text.strip() for part in assistant.content]
        assert [s["mask"] for s in steps if s["mask"] is not None] == list(range(len(row.targets.masks)))
        assert [s["image"] for s in steps if s["mask"] is not None] == row.meta["mask_images"]
        assert row.targets.answer == assistant.text and row.task == "reasoning"
        truth = {(k, m.label): m for k, m in zip(_places(facts), facts.targets.masks, strict=True)}
        for place, mask in zip(row.meta["mask_images"], row.targets.masks, strict=True):
            if row.meta["subtask"] != "building_change":
                assert mask.rle == truth[place, mask.label].rle
        assert all(mask.to_array().any() for mask in row.targets.masks)


def _places(facts: Sample) -> list[int]:
    return list(facts.meta.get("mask_images", [0] * len(facts.targets.masks)))


def test_the_answer_tag_holds_the_letter_or_the_value(made: list[tuple[Sample, Sample]]) -> None:
    kinds, letters = set(), set()
    for _, row in made:
        said = re.fullmatch(r".*<answer>(.*)</answer>", row.targets.answer or "", re.DOTALL)
        assert said
        if row.targets.choices:
            assert f"{said[1]}. {row.meta['final']}" in row.targets.choices
            assert "\n".join(row.targets.choices) in row.messages[0].text
            assert len(set(row.targets.choices)) == len(row.targets.choices) in (2, 4)
            letters.add(said[1])
        else:
            assert said[1] == row.meta["final"]
        kinds.add(bool(row.targets.choices))
    assert kinds == {True, False} and letters == set("ABCD")


def test_shares_and_areas_are_counted(made: list[tuple[Sample, Sample]]) -> None:
    for _, row in _of(made, "coverage_percentage"):
        (mask,) = _masks(row)
        assert _number(row.meta["final"]) == pytest.approx(100 * mask.mean(), abs=0.051)
        assert 0.05 <= mask.mean() <= 0.95 and f"{int(mask.sum()):,} pixels" in (row.targets.answer or "")
    for facts, row in _of(made, "absolute_area"):
        (mask,) = _masks(row)
        area = float(mask.sum()) * (facts.images[0].gsd_m or 0) ** 2
        assert _square_m(row.meta["final"]) == pytest.approx(area, rel=0.01, abs=0.5)
        assert row.targets.numbers[0].value == pytest.approx(area, abs=0.051)


def test_wrong_options_are_clearly_wrong(made: list[tuple[Sample, Sample]]) -> None:
    for subtask in ("coverage_percentage", "absolute_area", "distance_measurement", "cover_change"):
        for _, row in _of(made, subtask):
            right = _square_m(row.meta["final"])
            values = [_square_m(choice[3:]) for choice in row.targets.choices]
            assert all(abs(value - right) >= 0.1 * abs(right) for value in values if value != right)


def test_the_larger_cover_is_the_larger(made: list[tuple[Sample, Sample]]) -> None:
    for _, row in _of(made, "area_comparison"):
        one, other = _masks(row)
        larger = row.targets.masks[0 if one.sum() > other.sum() else 1].label
        assert row.meta["final"].startswith(larger[:4])
        assert abs(int(one.sum()) - int(other.sum())) > 0.1 * max(one.sum(), other.sum())


def test_borders_are_found_pixel_by_pixel(made: list[tuple[Sample, Sample]]) -> None:
    said = set()
    for _, row in _of(made, "boundary_detection"):
        one, other = (np.pad(mask, 1) for mask in _masks(row))
        meets = any((np.roll(one, (dy, dx), axis=(0, 1)) & other).any() for dy in (-1, 0, 1) for dx in (-1, 0, 1))
        assert row.meta["final"] == ("yes" if meets else "no")
        said.add(meets)
    assert said == {True, False}


def test_distances_are_the_shortest(made: list[tuple[Sample, Sample]]) -> None:
    for facts, row in _of(made, "distance_measurement"):
        one, other = (np.argwhere(mask) for mask in _masks(row))
        nearest = min(float(np.hypot(*(other - at).T).min()) for at in one)
        assert nearest > 10
        assert _number(row.meta["final"]) == pytest.approx(nearest * (facts.images[0].gsd_m or 0), abs=0.051)


def test_changes_are_the_difference_of_two_dates(made: list[tuple[Sample, Sample]]) -> None:
    for facts, row in _of(made, "cover_change"):
        label = row.targets.masks[0].label
        shares = [0.0, 0.0]
        for place, mask in zip(_places(facts), facts.targets.masks, strict=True):
            if mask.label == label:
                shares[place] = round(100 * float(mask.to_array().mean()), 1)
        assert _number(row.meta["final"]) == pytest.approx(shares[1] - shares[0], abs=0.01)
        assert len(row.targets.masks) == sum(share > 0 for share in shares)


def test_lost_buildings_are_counted() -> None:
    places = [(2, 2), (12, 2), (22, 2), (2, 22), (22, 22)]
    before = np.any([_block(x, y, x + 6, y + 6) for x, y in places], axis=0)
    after = np.any([_block(2, 2, 8, 8), _block(12, 2, 16, 8), _block(22, 2, 24, 8), _block(30, 30, 36, 36)], axis=0)
    masks = (Mask.from_array(before, "building"), Mask.from_array(after, "building"))
    facts = _sample(masks, 2, mask_images=[0, 1], complete=["building"])
    rows = [row for row in _build(facts) if row.meta["subtask"] == "building_change"]
    assert [row.meta["final"] for row in rows] == ["3"]  # two are gone, of a third one third still stands
    assert "five buildings" in (rows[0].targets.answer or "")
    lost = rows[0].targets.masks[1].to_array()
    assert lost.sum() == 3 * 36 and rows[0].meta["mask_images"] == [0, 1]
    unsure = replace(facts, meta={**facts.meta, "complete": []})
    assert "building_change" not in {row.meta["subtask"] for row in _build(unsure)}


def test_damage_that_is_told_is_taken_as_it_is() -> None:
    def outline(x: float, y: float, label: str) -> Mask:
        return Mask("pixel", polygons=(((x, y), (x + 5, y), (x + 5, y + 5), (x, y + 5)),), label=label)

    places = [(2.0, 2.0), (12.0, 2.0), (22.0, 2.0), (2.0, 22.0)]
    damage = ["destroyed building", "undamaged building", "destroyed building", "building with major damage"]
    masks = [outline(x, y, "building") for x, y in places]
    masks += [outline(x, y, label) for (x, y), label in zip(places, damage, strict=True)]
    facts = _sample(tuple(masks), 2, mask_images=[0] * 4 + [1] * 4, complete=["building", "destroyed building"])
    rows = [row for row in _build(facts) if row.meta["subtask"] == "building_change"]
    assert [row.meta["final"] for row in rows] == ["2"]
    lost = rows[0].targets.masks[1].to_array()
    assert lost[4, 4] and lost[4, 24] and not lost[4, 14] and not lost[24, 4]
    unknown = replace(facts, meta={**facts.meta, "complete": ["building"]})
    assert not [row for row in _build(unknown) if row.meta["subtask"] == "building_change"]


def test_hand_made_distance_and_border() -> None:
    left, right, middle = _block(0, 0, 10, 40), _block(30, 0, 40, 40), _block(10, 0, 20, 40)
    assert distance_px(left, right) == 21.0
    assert touch(left, middle) and not touch(left, right)
    facts = _sample((Mask.from_array(left, "water"), Mask.from_array(right, "forest")))
    rows = {row.meta["subtask"]: row for row in _build(facts)}
    assert rows["distance_measurement"].meta["final"] == "210.0 m"
    assert rows["boundary_detection"].meta["final"] == "no"
    assert rows["coverage_percentage"].meta["final"] == "25.0 %"
    assert rows["absolute_area"].meta["final"] == "40,000 m2"
    assert "area_comparison" not in rows  # of equal size


def test_rings_after_the_first_are_holes() -> None:
    ring = ((0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0))
    hole = ((5.0, 5.0), (10.0, 5.0), (10.0, 10.0), (5.0, 10.0))
    filled = array_of(Mask("pixel", polygons=(ring, hole)), (40, 30))
    assert filled.shape == (30, 40) and filled[2, 2] and not filled[7, 7] and not filled[25, 25]


def test_rows_without_masks_are_passed_over_and_building_is_repeatable() -> None:
    assert _build(_sample(())) == []
    facts = _sample((Mask.from_array(_block(0, 0, 10, 40), "water"), Mask.from_array(_block(25, 0, 40, 40), "forest")))
    assert _build(facts, 1) == _build(facts, 1)
    assert len({row.messages[0].text for seed in range(20) for row in _build(facts, seed)}) > 30


def test_a_radar_picture_is_shown_on_some_rows_and_never_carried_along_unseen() -> None:
    seen = set()
    for number, facts in enumerate(SOURCES.get("synthetic_pairs").read(None, SourceOptions(count=6, size_px=64))):
        for row in _build(facts, number):
            shown = [part.image for part in row.messages[0].content if part.type == "image"]
            assert shown == list(range(len(row.images)))
            assert row.meta["image_roles"] == ["optical", "sar"][: len(row.images)]
            seen.add(len(row.images))
    assert seen == {1, 2}
