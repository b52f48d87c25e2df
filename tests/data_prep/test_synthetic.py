"""Procedural scenes: reproducible, and their facts agree with one another and with the pixels."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from data_prep.canvas import CODE, COVERS, THINGS, Canvas, Sun, disk, rectangle, swept
from data_prep.layouts import CLASSES
from data_prep.sources import SOURCES, SourceOptions
from data_prep.sources._drawn import LEAST_PX, split_of
from data_prep.sources.synthetic import scene
from data_prep.textures import relief, texture, tile
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Sample

SIZE = 96
COUNT = 130


@pytest.fixture(scope="module")
def scenes() -> list[Sample]:
    return list(SOURCES.get("synthetic").read(None, SourceOptions(count=COUNT, seed=7, size_px=SIZE)))


def _pixels(sample: Sample) -> np.ndarray:
    array = sample.images[0].array
    assert array is not None
    return array


def _shares(sample: Sample) -> dict[str, float]:
    return {n.label: n.value for n in sample.targets.numbers if n.unit == "%"}


def test_a_seed_gives_the_same_bytes_and_facts() -> None:
    for index in range(6):
        first, second = scene(3, index, 64), scene(3, index, 64)
        assert _pixels(first).tobytes() == _pixels(second).tobytes()
        assert first.targets == second.targets
        assert first.meta == second.meta


def test_seed_and_index_change_the_picture() -> None:
    pictures = {_pixels(scene(seed, index, 64)).tobytes() for seed in range(3) for index in range(4)}
    assert len(pictures) == 12


def test_rows_are_facts_with_one_picture(scenes: list[Sample]) -> None:
    assert len(scenes) == COUNT
    assert len({s.id for s in scenes}) == len({s.scene_id for s in scenes}) == COUNT
    for sample in scenes:
        pixels = _pixels(sample)
        assert sample.task == "facts" and sample.messages == ()
        assert pixels.shape == (3, SIZE, SIZE) and pixels.dtype == np.uint8
        assert sample.images[0].size_px == (SIZE, SIZE)
        assert sample.meta["sensor"] == sample.images[0].sensor
        assert sample.meta["gsd_m"] == sample.images[0].gsd_m and sample.meta["seed"] == 7
        assert sample.targets.labels[0] in CLASSES
        assert pixels.std() > 1  # something is to be seen


def test_all_sensors_and_most_classes_are_drawn(scenes: list[Sample]) -> None:
    sensors = {"aerial", "satellite", "sentinel-2", "panchromatic", "sar", "sentinel-1"}
    assert {s.meta["sensor"] for s in scenes} == sensors
    assert len({s.targets.labels[0] for s in scenes}) >= len(CLASSES) - 3
    assert {box.label for s in scenes for box in s.targets.boxes} == set(THINGS)


def test_grey_sensors_have_equal_bands(scenes: list[Sample]) -> None:
    for sample in scenes:
        red, green, blue = _pixels(sample)
        grey = bool((red == green).all() and (green == blue).all())
        assert grey == (sample.meta["sensor"] in ("panchromatic", "sar", "sentinel-1"))


def test_shares_agree_with_masks_and_sum_to_the_whole(scenes: list[Sample]) -> None:
    for sample in scenes:
        shares = _shares(sample)
        masks = {mask.label: mask.to_array() for mask in sample.targets.masks}
        assert set(shares) == set(masks) <= set(COVERS)
        covered = np.zeros((SIZE, SIZE), dtype=int)
        for label, mask in masks.items():
            assert shares[label] == pytest.approx(100 * mask.mean())
            covered += mask
        assert covered.max() <= 1  # a pixel has one cover
        if sample.meta["sensor"] not in ("sar", "sentinel-1"):
            assert sum(shares.values()) == pytest.approx(100)


def test_boxes_hold_enough_pixels_and_agree_with_masks(scenes: list[Sample]) -> None:
    for sample in scenes:
        masks = {mask.label: mask.to_array() for mask in sample.targets.masks}
        for box in sample.targets.boxes:
            x1, y1, x2, y2 = (int(value) for value in box.xyxy)
            assert box.frame == "pixel" and 0 <= x1 < x2 <= SIZE and 0 <= y1 < y2 <= SIZE
            assert (x2 - x1) * (y2 - y1) >= LEAST_PX
            if box.label == "building":
                window = masks["building"][y1:y2, x1:x2]
                assert window.sum() >= LEAST_PX
                for side in (window[0], window[-1], window[:, 0], window[:, -1]):
                    assert side.any()  # tight
            if box.label == "ship" and "water" in masks:
                assert masks["water"][y1:y2, x1:x2].mean() > 0.3


def test_ships_can_be_seen_in_the_pixels() -> None:
    """Inside ship boxes the picture varies more than in the water around them."""
    seen = [
        (_pixels(s).mean(axis=0), s.targets)
        for s in islice(SOURCES.get("synthetic").read(None, SourceOptions(seed=2, size_px=64)), 200)
        if s.targets.labels[0] == "sea" and s.targets.boxes and s.meta["sensor"] in ("satellite", "panchromatic")
    ]
    assert seen
    for grey, targets in seen:
        outside = np.ones(grey.shape, dtype=bool)
        inside = np.zeros(grey.shape, dtype=bool)
        for box in targets.boxes:
            x1, y1, x2, y2 = (int(value) for value in box.xyxy)
            outside[max(0, y1 - 9) : y2 + 9, max(0, x1 - 9) : x2 + 9] = False
            inside[y1:y2, x1:x2] = True
        assert grey[inside].std() > grey[outside].std()


def test_counts_and_heights_agree_with_boxes(scenes: list[Sample]) -> None:
    for sample in scenes:
        labels = [box.label for box in sample.targets.boxes]
        counts = {n.label: n.value for n in sample.targets.numbers if n.unit == ""}
        heights = {n.label: n.value for n in sample.targets.numbers if n.unit == "m"}
        for thing, count in counts.items():
            assert count == labels.count(thing) > 0
        assert set(heights) == {f"height of box {i}" for i in range(len(labels))}
        assert all(0.5 < height < 60 for height in heights.values())


def test_complete_labels_are_known(scenes: list[Sample]) -> None:
    for sample in scenes:
        complete = set(sample.meta["complete"])
        assert complete <= {*COVERS, *THINGS}
        counts = {n.label for n in sample.targets.numbers if n.unit == ""}
        for thing in THINGS[1:]:
            if thing in complete:  # then every one of them is counted and boxed
                assert (thing in counts) == any(box.label == thing for box in sample.targets.boxes)
        if sample.meta["gsd_m"] >= 10:
            assert not complete & set(THINGS)
            assert sample.targets.boxes == ()


def test_captions_are_sentences_about_the_facts(scenes: list[Sample]) -> None:
    for sample in scenes:
        assert sample.targets.captions
        for caption in sample.targets.captions:
            assert caption[0].isupper() and caption.endswith(".") and " ." not in caption
        for thing in THINGS:
            named = any(thing in caption for caption in sample.targets.captions)
            if thing not in ("building", "car", "storage tank") and named:
                assert any(box.label == thing for box in sample.targets.boxes)


def test_splits_are_disjoint_and_about_80_10_10() -> None:
    names = [f"synthetic-0-{index:07d}" for index in range(3000)]
    shares = {split: sum(split_of(name) == split for name in names) / 3000 for split in ("train", "val", "test")}
    assert 0.77 < shares["train"] < 0.83 and 0.08 < shares["val"] < 0.12 and 0.08 < shares["test"] < 0.12


def test_a_split_yields_only_its_scenes() -> None:
    read = SOURCES.get("synthetic").read
    found = {
        split: {s.scene_id for s in read(None, SourceOptions(count=4, size_px=48, split=split))}
        for split in ("train", "val", "test")
    }
    assert all(len(ids) == 4 for ids in found.values())
    assert len(set.union(*found.values())) == 12
    for split, ids in found.items():
        assert {split_of(scene_id) for scene_id in ids} == {split}


def test_without_a_count_scenes_do_not_end() -> None:
    assert len(list(islice(SOURCES.get("synthetic").read(None, SourceOptions(size_px=32)), 5))) == 5
    assert list(SOURCES.get("synthetic").read(None, SourceOptions(count=0))) == []


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        next(SOURCES.get("synthetic").read(tmp_path, SourceOptions(count=1)))


@pytest.mark.parametrize("wrong", [{"count": -1}, {"seed": -1}, {"size_px": 4}, {"split": "dev"}])
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match="allowed"):
        SourceOptions(**wrong)  # type: ignore[arg-type]


def test_shadow_points_away_from_the_sun_with_the_right_length() -> None:
    sun = Sun(azimuth=0.0, elevation=np.pi / 4)
    dx, dy = sun.shadow_px(10.0, 0.5)
    assert dx == pytest.approx(-20) and dy == pytest.approx(0)


def test_swept_hull_holds_both_ends() -> None:
    square = rectangle(0, 0, 2, 2, 0.0)
    hull = swept(square, 10, 0)
    assert sorted(hull) == [(-1.0, -1.0), (-1.0, 1.0), (11.0, -1.0), (11.0, 1.0)]


def test_canvas_boxes_are_exact() -> None:
    canvas = Canvas(np.random.default_rng(0), 64, 1.0, Sun(0.3, 0.8))
    canvas.fill("pavement", np.full((64, 64, 3), 0.5, dtype=np.float32))
    outline = [(10.0, 20.0), (29.5, 20.0), (29.5, 39.5), (10.0, 39.5)]
    canvas.shade(outline, 8.0)
    canvas.put("building", [(outline, (1.0, 0.2, 0.2))], [outline], 8.0)
    assert not canvas.free(rectangle(20, 30, 6, 6, 0.4))
    assert canvas.free(rectangle(50, 10, 6, 6, 0.4), covers=("pavement",))
    assert not canvas.free(disk(50, 10, 3), covers=("water",))
    canvas.finish(np.zeros((64, 64), dtype=np.float32))
    box, seen_px = canvas.visible(0)
    assert box == (10.0, 20.0, 30.0, 40.0) and seen_px == 400
    assert (canvas.cover == CODE["building"]).sum() == 400
    assert np.allclose(canvas.rgb[30, 20], [1.0, 0.2, 0.2], atol=0.01)
    assert canvas.shadow[25, 5] > 0.9 and canvas.shadow[30, 40] == 0  # the sun is at the right


@pytest.mark.parametrize("kind", ["cloud", "soil", "grain", "crown", "block"])
def test_textures_are_normalised_and_periodic(kind: str) -> None:
    values = tile(kind)  # type: ignore[arg-type]
    assert abs(float(values.mean())) < 1e-3 and float(values.std()) == pytest.approx(1, abs=1e-3)
    seam = np.abs(values[:, 0] - values[:, -1]).mean()
    assert seam < 2 * np.abs(np.diff(values, axis=1)).mean()


@pytest.mark.parametrize("size_px", [17, 256, 700])
def test_textures_have_the_asked_size(size_px: int) -> None:
    rng = np.random.default_rng(1)
    assert texture(rng, size_px, "soil").shape == (size_px, size_px)
    assert texture(rng, size_px, "grain", 0.4).shape == (size_px, size_px)
    assert relief(rng, size_px, 2.5).shape == (size_px, size_px)
