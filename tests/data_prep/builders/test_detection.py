"""Rows made of boxes: true, balanced, wholly shown, and asked for only where the facts are complete."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from data_prep.builders import BUILDERS
from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.schema import Box, Image, Sample, Targets
from lhrs_chat.text import answers

BUILD = BUILDERS.get("detection").build


def facts(boxes: list[Box], complete: list[str], **extra: Any) -> Sample:
    return Sample(
        id="s/1",
        images=(Image(path="a.png", size_px=(300, 300)),),
        task="facts",
        source="set",
        licence="CC0",
        scene_id="P0001",
        targets=Targets(boxes=tuple(boxes)),
        split="val",
        footprint=(1.0, 2.0, 3.0, 4.0),
        meta={"complete": complete, "tile": "P0001", **extra},
    )


def box(label: str, *xyxy: float) -> Box:
    return Box((xyxy[0], xyxy[1], xyxy[2], xyxy[3]), "pixel", label)


HARBOUR = [
    box("ship", 10, 10, 60, 40),
    box("ship", 100, 20, 120, 30),
    box("ship", 20, 100, 50, 110),
    box("harbor", 200, 60, 290, 150),
]
KNOWN = ["ship", "harbor", "bridge", "airplane"]


def rows(sample: Sample, seeds: int = 20) -> list[Sample]:
    return [row for seed in range(seeds) for row in BUILD(sample, np.random.default_rng(seed))]


def test_rows_keep_what_belongs_to_the_scene() -> None:
    made = list(BUILD(facts(HARBOUR, KNOWN), np.random.default_rng(0)))
    assert {row.task for row in made} == {
        "caption", "referring", "grounding", "region_caption", "count", "presence",
    }  # fmt: skip
    assert len({row.id for row in made}) == len(made)
    assert all(row.id == f"s/1/detection/{row.task}-{row.id.rsplit('-', 1)[1]}" for row in made)
    for row in made:
        assert (row.licence, row.scene_id, row.split, row.footprint) == ("CC0", "P0001", "val", (1.0, 2.0, 3.0, 4.0))
        assert row.messages[0].content[0].type == "image" and row.messages[0].content[0].image == 0
        assert row.meta["tile"] == "P0001" and row.meta["builder"] == "detection"
        assert row.targets.answer and "{" not in row.messages[0].text + row.targets.answer


def test_the_same_seed_makes_the_same_rows() -> None:
    first, second = (list(BUILD(facts(HARBOUR, KNOWN), np.random.default_rng(7))) for _ in range(2))
    assert first == second
    assert first != list(BUILD(facts(HARBOUR, KNOWN), np.random.default_rng(8)))


def test_counts_are_the_numbers_of_boxes() -> None:
    made = [row for row in rows(facts(HARBOUR, KNOWN)) if row.task == "count"]
    for row in made:
        said = answers.number(row.targets.answer or "")
        assert said is not None and said.value == row.targets.numbers[0].value
        half = next(
            (side for side in ("left", "right", "upper", "lower") if f"{side} half" in row.messages[0].text), ""
        )
        label = row.targets.labels[0]
        inside = {
            "": lambda b: True,
            "left": lambda b: b.xyxy[0] + b.xyxy[2] < 300,
            "right": lambda b: b.xyxy[0] + b.xyxy[2] > 300,
            "upper": lambda b: b.xyxy[1] + b.xyxy[3] < 300,
            "lower": lambda b: b.xyxy[1] + b.xyxy[3] > 300,
        }[half]
        assert said.value == sum(b.label == label and inside(b) for b in HARBOUR)
    assert {row.targets.answer for row in made} >= {"3", "1", "0"}


def test_as_many_yes_as_no() -> None:
    made = [row for row in rows(facts(HARBOUR, KNOWN)) if row.task == "presence"]
    said = Counter((row.targets.answer, row.targets.labels[0]) for row in made)
    assert {name for answer, name in said if answer == "Yes."} == {"ship", "harbor"}
    assert {name for answer, name in said if answer == "No."} == {"bridge", "airplane"}
    assert sum(n for (answer, _), n in said.items() if answer == "Yes.") == len(made) / 2


def test_what_is_not_told_in_full_is_not_counted_denied_or_singled_out() -> None:
    made = rows(facts(HARBOUR, []))
    assert {row.task for row in made} == {"caption", "region_caption"}
    for row in made:
        assert answers.number(row.targets.answer or "") is None
    said = " ".join(row.targets.answer or "" for row in made if row.task == "caption")
    assert "ships and a harbor" in said and "three" not in said


def test_an_anchor_that_may_have_a_twin_is_not_used() -> None:
    made = [row for row in rows(facts(HARBOUR, ["ship"]), 60) if row.task == "referring"]
    assert made and not [row for row in made if "harbor" in row.meta["expression"]]
    known = [row for row in rows(facts(HARBOUR, KNOWN), 60) if row.task == "referring"]
    assert [row for row in known if row.meta["kind"] == "relation"]


def test_regions_are_parts_in_the_frame_of_the_picture() -> None:
    made = rows(facts(HARBOUR, KNOWN))
    for row in made:
        asked = [part.region for part in row.messages[0].content if part.type == "region"]
        said = [part.region for part in row.messages[1].content if part.type == "region"]
        assert bool(asked) == (row.task == "region_caption")
        assert bool(said) == (row.task in ("referring", "grounding"))
        assert tuple(asked + said) == (row.targets.boxes if asked or said else ())
        assert all(region in HARBOUR for region in asked + said)
    grounded = {row.targets.labels[0]: row for row in made if row.task == "grounding"}
    assert {b.xyxy for b in grounded["ship"].targets.boxes} == {b.xyxy for b in HARBOUR if b.label == "ship"}
    assert grounded["ship"].targets.answer == "Three ships"


def test_an_oriented_box_stays_oriented() -> None:
    turned = Box.oriented(((50.0, 10.0), (90.0, 50.0), (80.0, 60.0), (40.0, 20.0)), "pixel", "ship")
    (row,) = [row for row in rows(facts([turned], ["ship"]), 1) if row.task == "grounding"]
    assert row.targets.boxes[0].points == turned.points


def test_boxes_of_other_frames_and_images() -> None:
    unit = Box((0.1, 0.1, 0.2, 0.2), "unit", "ship")
    other = box("ship", 10, 10, 60, 40)
    sample = facts([unit, other], ["ship"], box_images=[0, 1])
    (row,) = [row for row in rows(sample, 1) if row.task == "grounding"]
    assert [b.xyxy for b in row.targets.boxes] == [pytest.approx((30, 30, 60, 60))]


def test_a_row_without_boxes_that_is_complete_has_no_rows_of_presence() -> None:
    assert {row.task for row in rows(facts([], ["ship"]))} <= {"count"}
    assert rows(facts([], [])) == []


def test_tiny_things_are_counted_but_not_asked_for() -> None:
    made = rows(facts([box("car", 10, 10, 13, 13), box("car", 50, 50, 53, 54)], ["car"]))
    assert {row.task for row in made} == {"caption", "count"}


def test_a_label_that_the_counts_know_more_of_is_not_complete() -> None:
    from dataclasses import replace

    from lhrs_chat.schema import Number

    sample = facts(HARBOUR, KNOWN)
    targets = replace(sample.targets, numbers=(Number(5, "", "computed", "ship"), Number(1, "", "computed", "harbor")))
    made = rows(replace(sample, targets=targets))
    assert not [row for row in made if row.task in ("count", "referring") and "ship" in row.targets.labels]


def test_a_kind_of_which_another_label_is_a_part_is_neither_counted_nor_denied() -> None:
    boxes = [box("small vehicle", 10, 10, 40, 40), box("vehicle", 100, 100, 150, 150)]
    made = rows(facts(boxes, ["small vehicle", "vehicle", "ship", "airplane"]))
    asked = [row for row in made if row.task in ("count", "presence", "referring", "grounding")]
    assert asked and not [row for row in asked if row.targets.labels[0] == "vehicle" and row.targets.answer != "Yes."]
    alone = rows(facts(boxes[:1], ["small vehicle", "vehicle", "ship"]))
    assert not [row for row in alone if row.task == "presence" and row.targets.labels[0] == "vehicle"]


def test_captions_of_procedural_scenes_name_what_is_there() -> None:
    scenes = SOURCES.get("synthetic").read(None, SourceOptions(count=12, size_px=128, seed=11))
    for sample in scenes:
        counts = Counter(b.label for b in sample.targets.boxes)
        for row in BUILD(sample, np.random.default_rng(0)):
            if row.task == "caption":
                assert set(row.targets.labels) == set(counts)
            if row.task == "presence":
                there = row.targets.labels[0] in counts
                assert row.targets.answer == ("Yes." if there else "No.")
