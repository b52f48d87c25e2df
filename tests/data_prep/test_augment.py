"""Changed rows stay true: pixels, boxes, masks and words move together, and turning back gives the row back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.__main__ import main
from data_prep.augment import CHANGES, changed, crop
from data_prep.builders._regions import region_of
from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.geo.frames import convert
from lhrs_chat.schema import Box, Frame, Georef, Image, Mask, Message, Part, Sample, Targets

SIZE = (60, 40)
ALL = sorted(CHANGES)


def place(box: Box, size_px: tuple[int, int]) -> str:
    """Where the centre of a box lies, in words."""
    x1, y1, x2, y2 = convert(box, "unit", size_px=size_px).xyxy
    column, line = min(2, int(3 * (x1 + x2) / 2)), min(2, int(3 * (y1 + y2) / 2))
    words = (("top", "", "bottom")[line], ("left", "", "right")[column])
    return " ".join(word for word in words if word) or "middle"


def scene(x: int, y: int, width: int, height: int, frame: Frame = "pixel") -> Sample:
    """One bright thing on a dark ground, and the question where it is."""
    pixels = np.zeros((2, SIZE[1], SIZE[0]), np.uint8)
    pixels[:, y : y + height, x : x + width] = 200
    pixels[1, 0, 0] = 77
    box = convert(Box((x, y, x + width, y + height), "pixel", "ship"), frame, size_px=SIZE)
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    ring = tuple((float(px), float(py)) for px, py in corners)
    answer = (Part("text", text=f"At the {place(box, SIZE)}: "), Part("region", region=box), Part("text", text="."))
    return Sample(
        id="row",
        images=(Image(array=pixels, size_px=SIZE, georef=Georef("EPSG:32631", (2, 0, 6e5, 0, -2, 5e6))),),
        task="referring",
        source="synthetic",
        licence="CC0-1.0",
        scene_id="s",
        messages=(Message.of("user", "Where is the ship?", (0,)), Message("assistant", answer)),
        targets=Targets(
            answer=f"At the {place(box, SIZE)}.",
            boxes=(box,),
            masks=(Mask.from_array(pixels[0] > 0, "ship"), Mask("pixel", (ring,), label="ship")),
            captions=(f"A ship at the {place(box, SIZE)}.",),
        ),
        footprint=(3.0, 45.0, 3.1, 45.1),
        meta={"expression": f"the ship at the {place(box, SIZE)}", "points": [[x, y, "buoy"]], "complete": ["ship"]},
    )


SCENES = st.builds(
    scene,
    st.integers(0, 50),
    st.integers(0, 32),
    st.integers(2, 9),
    st.integers(2, 7),
    st.sampled_from(["pixel", "unit", "per100", "per1000"]),
)


def pixels_of(sample: Sample) -> np.ndarray:
    array = sample.images[0].array
    assert array is not None
    return array


def same(one: Sample, other: Sample) -> None:
    assert (pixels_of(one) == pixels_of(other)).all()
    assert one.messages[0] == other.messages[0]
    assert one.messages[1].text == other.messages[1].text
    assert one.targets.answer == other.targets.answer
    assert one.targets.masks[0] == other.targets.masks[0]
    for mine, theirs in zip(regions(one), regions(other), strict=True):
        assert mine.xyxy == pytest.approx(theirs.xyxy, abs=1e-9)
        assert mine.frame == theirs.frame
    rings = [np.array(sample.targets.masks[1].polygons) for sample in (one, other)]
    assert rings[0] == pytest.approx(rings[1], abs=1e-9)


def regions(sample: Sample) -> list[Box]:
    parts = [part.region for message in sample.messages for part in message.content]
    return [*sample.targets.boxes, *(region for region in parts if region is not None)]


@settings(max_examples=40)
@given(SCENES, st.sampled_from(["turn_90", "turn_270"]))
def test_four_quarter_turns_are_nothing(row: Sample, name: str) -> None:
    turned = row
    for _ in range(4):
        turned = changed(turned, CHANGES[name])
    same(turned, row)


@settings(max_examples=40)
@given(SCENES, st.sampled_from(["flip_left_right", "flip_top_bottom", "turn_180"]))
def test_twice_is_nothing(row: Sample, name: str) -> None:
    same(changed(changed(row, CHANGES[name]), CHANGES[name]), row)


@settings(max_examples=40)
@given(SCENES, st.sampled_from(ALL))
def test_boxes_masks_and_words_agree_with_the_pixels(row: Sample, name: str) -> None:
    made = changed(row, CHANGES[name])
    shown = pixels_of(made)[0] > 0
    size = made.images[0].size_px
    assert size is not None
    assert shown.shape == size[::-1]
    for region in regions(made):
        x1, y1, x2, y2 = (round(value) for value in convert(region, "pixel", size_px=size).xyxy)
        covered = np.zeros_like(shown)
        covered[y1:y2, x1:x2] = True
        assert (covered == shown).all()
    assert (made.targets.masks[0].to_array() == shown).all()
    xs, ys = np.array(made.targets.masks[1].polygons)[0].T
    box = convert(made.targets.boxes[0], "pixel", size_px=size)
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == pytest.approx(box.xyxy, abs=1e-9)
    where = place(box, size)
    assert made.targets.answer == f"At the {where}."
    assert made.messages[1].text == f"At the {where}: ."
    assert made.targets.captions == (f"A ship at the {where}.",)
    assert made.meta["expression"] == f"the ship at the {where}"
    (px, py, label), *_ = made.meta["points"]
    assert min(abs(px - box.xyxy[0]), abs(px - box.xyxy[2])) < 1e-9
    assert min(abs(py - box.xyxy[1]), abs(py - box.xyxy[3])) < 1e-9
    assert label == "buoy"
    assert made.images[0].georef is None  # north is not up any more
    assert (made.footprint, made.scene_id, made.licence) == (row.footprint, "s", "CC0-1.0")
    assert made.meta["augmented"] == [name]


def facts(row: Sample) -> Sample:
    return replace(row, task="facts", messages=(), targets=replace(row.targets, answer=None))


@settings(max_examples=40)
@given(SCENES, st.tuples(st.integers(0, 30), st.integers(0, 20)), st.tuples(st.integers(4, 30), st.integers(4, 20)))
def test_a_crop_of_facts_shows_what_is_inside(row: Sample, start: tuple[int, int], size: tuple[int, int]) -> None:
    window = (*start, start[0] + size[0], start[1] + size[1])
    made = crop(facts(row), window)
    shown = pixels_of(made)[0] > 0
    assert (shown == (pixels_of(row)[0] > 0)[window[1] : window[3], window[0] : window[2]]).all()
    assert bool(made.targets.boxes) == bool(made.targets.masks) == bool(shown.any())
    assert made.targets.captions == ()
    for box in made.targets.boxes:
        x1, y1, x2, y2 = (round(value) for value in convert(box, "pixel", size_px=size).xyxy)
        assert shown[y1:y2, x1:x2].all()
        assert shown.sum() == (x2 - x1) * (y2 - y1)
        whole = (pixels_of(row)[0] > 0).sum()
        assert made.meta["complete"] == (["ship"] if shown.sum() >= 0.5 * whole else [])
    if made.targets.masks:
        assert (made.targets.masks[0].to_array() == shown).all()
        xs, ys = np.array(made.targets.masks[1].polygons)[0].T
        assert (xs.max() - xs.min()) * (ys.max() - ys.min()) == pytest.approx(shown.sum())
    georef = made.images[0].georef
    assert georef is not None
    assert georef.transform == (2, 0, 6e5 + 2 * start[0], 0, -2, 5e6 - 2 * start[1])
    assert made.footprint is not None
    assert made.footprint != row.footprint


def test_a_conversation_is_cropped_only_where_it_stays_true() -> None:
    row = scene(20, 10, 9, 6)
    plain = Message.of("user", "Where is the ship?", (0,))
    box = row.targets.boxes[0]
    answer = Message("assistant", (Part("text", text="Here: "), Part("region", region=box)))
    told = replace(row, messages=(plain, answer), targets=Targets(answer="Here", boxes=(box,)))
    made = crop(told, (10, 5, 40, 25))
    assert [region.xyxy for region in regions(made)] == [(10, 5, 19, 11)] * 2
    assert made.messages[1].text == "Here: "
    for bad, window in (
        (row, (10, 5, 40, 25)),  # says where in the picture
        (told, (22, 5, 40, 25)),  # cuts the ship
        (replace(told, task="count"), (10, 5, 40, 25)),
        (replace(told, meta={"kind": "relation"}), (10, 5, 40, 25)),
        (told, (10, 5, 80, 25)),
    ):
        with pytest.raises(DataError):
            crop(bad, window)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("x", [2, 27, 50])
@pytest.mark.parametrize("y", [2, 18, 33])
def test_the_regions_of_the_builders_move_along(name: str, x: int, y: int) -> None:
    """Asked anew about the changed picture, the builders give the answer that the rewriting gives."""
    row = scene(x, y, 4, 4)
    asked = replace(
        row, targets=replace(row.targets, answer=region_of(convert(row.targets.boxes[0], "per100", size_px=SIZE)))
    )
    made = changed(asked, CHANGES[name])
    size = made.images[0].size_px
    assert size is not None
    assert made.targets.answer == region_of(convert(made.targets.boxes[0], "per100", size_px=size))


def test_words_speak_of_the_region_that_follows() -> None:
    row = scene(5, 6, 7, 5)
    box = row.targets.boxes[0]
    parts = (Part("text", text="It lies above "), Part("region", region=box), Part("text", text=", at "))
    turns = (row.messages[0], Message("assistant", (*parts, Part("text", text="its left."))))
    made = changed(replace(row, messages=turns), CHANGES["flip_top_bottom"])
    assert [part.text for part in made.messages[1].content] == ["It lies below ", "", ", at its left."]
    question = Message.of("user", "Left or right?", (0,))
    made = changed(replace(row, messages=(question, turns[1])), CHANGES["turn_90"])
    assert made.messages[0] == Message.of("user", "Bottom or top?", (0,))
    assert made.messages[1].text == "It lies to the left of , at its bottom."


def test_a_pair_of_dates_turns_together() -> None:
    row = facts(scene(5, 6, 7, 5))
    second = np.zeros((1, 20, 30), np.uint8)
    second[0, 2:4, 3:9] = 1
    pair = replace(
        row,
        images=(*row.images, Image(array=second)),
        targets=Targets(boxes=(Box((3, 2, 9, 4), "pixel"),), masks=(Mask.from_array(second[0] > 0),)),
        meta={"box_images": [1], "mask_images": [1], "image_roles": ["before", "after"]},
    )
    made = changed(pair, CHANGES["turn_90"])
    after = made.images[1].array
    assert after is not None
    assert after.shape == (1, 30, 20)
    assert (made.targets.masks[0].to_array() == (after[0] > 0)).all()
    x1, y1, x2, y2 = (int(value) for value in made.targets.boxes[0].xyxy)
    assert after[0, y1:y2, x1:x2].all()
    assert after.sum() == (x2 - x1) * (y2 - y1)
    with pytest.raises(DataError, match="one size"):
        crop(pair, (0, 0, 10, 10))


def test_the_verb_adds_copies_of_training_rows(tmp_path: Path) -> None:
    rows = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        row = scene(4 + 10 * number, 5, 6, 4)
        PIL.Image.fromarray(pixels_of(row)[0]).save(path)
        split = "test" if number == 3 else "train"
        image = Image(path=path.name, size_px=SIZE)
        rows.append(replace(row, id=f"row-{number}", images=(image,), split=split, meta={}))
    samples.write(tmp_path / "rows.jsonl", rows)
    arguments = ["augment", str(tmp_path / "rows.jsonl"), "--changes", "flip_left_right,turn_90", "--workers", "1"]
    assert main([*arguments, "--copies", "2", "--crop-px", "30", "--out", str(tmp_path / "out")]) == 0
    found = list(samples.read(tmp_path / "out"))
    assert [row.id for row in found[:3]] == ["row-0", "row-0/flip_left_right", "row-0/turn_90"] or [
        row.id for row in found[:3]
    ] == ["row-0", "row-0/turn_90", "row-0/flip_left_right"]
    assert len(found) == 3 * 3 + 1  # words about places are not cropped
    for row in found:
        with PIL.Image.open(row.images[0].path or "") as opened:
            shown = np.asarray(opened) > 0
        x1, y1, x2, y2 = (int(value) for value in row.targets.boxes[0].xyxy)
        assert shown[y1:y2, x1:x2].all()
        assert row.targets.answer == f"At the {place(row.targets.boxes[0], shown.shape[::-1])}."
    assert main([*arguments[:2], "--changes", "turn_45", "--out", str(tmp_path / "wrong")]) == 2
