"""Rows made of a map: what is said of a small town of known geometry is measured in it, and nothing is denied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.builders import BUILDERS
from data_prep.builders.vgi import direction_of
from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.schema import Box, Sample
from lhrs_chat.text import answers
from tests.data_prep.mapped import Extract, town, write_raster

BUILD = BUILDERS.get("vgi").build


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    (sample,) = SOURCES.get("osm").read(town(tmp_path_factory.mktemp("town")), SourceOptions(size_px=200))
    return sample


def rows(sample: Sample, seeds: int = 25) -> list[Sample]:
    return [row for seed in range(seeds) for row in BUILD(sample, np.random.default_rng(seed))]


def test_all_tasks_are_made_and_keep_what_belongs_to_the_scene(facts: Sample) -> None:
    made = rows(facts)
    assert {row.task for row in made} == {"caption", "region_caption", "area", "vqa", "dialogue"}
    for row in made:
        assert (row.licence, row.scene_id, row.footprint) == (facts.licence, facts.scene_id, facts.footprint)
        assert row.meta["builder"] == "vgi" and "osm" not in row.meta
        assert row.targets.masks == () and "{" not in "".join(message.text for message in row.messages)


def test_captions_tell_the_setting_and_the_places(facts: Sample) -> None:
    made = [row for row in rows(facts) if row.task == "caption"]
    for row in made:
        text = row.targets.answer or ""
        assert "residential area" in text and "a pond" in text.lower() and "Kruununhaka" not in text
        if row.meta.get("detailed"):
            assert "church with two storeys (about 900 m2)" in text and "upper right" in text
            assert "(about 2400 m2)" in text  # the park
    assert {bool(row.meta.get("detailed")) for row in made} == {True, False}


def test_sizes_are_those_of_the_ground(facts: Sample) -> None:
    known = {"park": 2400.0, "church": 900.0, "building": 1200.0, "pond": 3200.0, "tree": 36 * np.pi}
    made = [row for row in rows(facts) if row.task == "area"]
    assert {row.targets.labels[0] for row in made} >= {"park", "church", "pond"}
    for row in made:
        said = answers.number(row.targets.answer or "")
        assert said is not None and said.unit == "m2"
        assert said.value == pytest.approx(known[row.targets.labels[0]], rel=0.05)
        assert row.targets.numbers[0].value == pytest.approx(known[row.targets.labels[0]], rel=0.02)


def test_directions_and_distances(facts: Sample) -> None:
    made = [row for row in rows(facts, 60) if row.task == "vqa"]
    centres = {"park": (50, 40), "church": (155, 35), "building": (170, 155), "pond": (50, 160)}
    for row in made:
        one, other = (np.array(centres[name]) for name in row.targets.labels)
        if row.targets.numbers:
            said = answers.number(row.targets.answer or "")
            assert said is not None and said.value == pytest.approx(np.hypot(*(one - other)), rel=0.06)
        else:
            x, y = other - one
            answer = row.targets.answer or ""
            assert ("right" in answer) <= (x > 0) and ("left" in answer) <= (x < 0)
            assert ("upper" in answer or "Above" in answer) <= (y < 0)
            assert ("lower" in answer or "Below" in answer) <= (y > 0)
        asked = [part.region for part in row.messages[0].content if part.type == "region"]
        pieces = [part.text for part in row.messages[0].content if part.type != "image"]
        for region, before in zip(asked, pieces[::2], strict=False):
            assert region is not None and before.rstrip().removesuffix(" at").endswith(region.label)


def test_regions_are_told_with_what_can_be_seen(facts: Sample) -> None:
    made = {row.targets.labels[0]: row.targets.answer for row in rows(facts) if row.task == "region_caption"}
    assert made["church"] == "A church with two storeys, in the upper right of the picture."
    assert made["building"] == "A building with a flat roof, in the lower right of the picture."
    assert made["park"] == "A park, in the upper left of the picture."


def test_a_dialogue_shows_the_picture_once_and_ends_with_its_answer(facts: Sample) -> None:
    made = [row for row in rows(facts) if row.task == "dialogue"]
    for row in made:
        shown = [part.type == "image" for message in row.messages for part in message.content]
        assert sum(shown) == 1 and shown[0]
        assert [message.role for message in row.messages] == ["user", "assistant"] * 3
        assert row.targets.answer == row.messages[-1].text


def test_objects_cut_by_the_edge_are_not_measured(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    extract = Extract()
    extract.ring(150, 150, 250, 250, leisure="park")
    extract.write(tmp_path / "a.osm.pbf")
    (sample,) = SOURCES.get("osm").read(tmp_path, SourceOptions(size_px=200))
    made = rows(sample)
    assert {row.task for row in made} == {"caption", "region_caption"}
    assert all("about" not in (row.targets.answer or "").lower() for row in made)


def test_other_facts_have_no_rows(facts: Sample) -> None:
    assert rows(replace(facts, meta={})) == []
    unplaced = replace(facts, images=(replace(facts.images[0], georef=None),))
    assert rows(unplaced) == []


@pytest.mark.parametrize(
    ("x", "y", "direction"),
    [
        (90, 50, "right"), (90, 10, "upper right"), (50, 10, "above"), (10, 10, "upper left"), (10, 50, "left"),
        (10, 90, "lower left"), (50, 90, "below"), (90, 90, "lower right"), (90, 33, None), (53, 50, None),
    ],
)  # fmt: skip
def test_the_eight_directions(x: float, y: float, direction: str | None) -> None:
    one, other = (Box((a - 4, b - 4, a + 4, b + 4), "pixel") for a, b in ((50, 50), (x, y)))
    assert direction_of(one, other) == direction
