"""The parts of EarthMind-Bench in other formats: bands in a file each, and regions in RefCOCO's layout."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from eval.benchmarks import BENCHMARKS, Question, _bands, _masks, _refcoco
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Mask
from lhrs_chat.text.run_lengths import to_coco

BENCHMARK = BENCHMARKS.get("earthmind_bench")
FIXTURE = Path(__file__).parents[2] / "data" / "benchmarks" / "earthmind_bench"


def asked(task: str) -> list[Question]:
    return [question for question in BENCHMARK.load(FIXTURE) if question.task == task]


def said(array: np.ndarray) -> str:
    return json.dumps(to_coco(Mask.from_array(array)))


def test_bands_become_four_pictures_beside_radar() -> None:
    found = {question.subset: question for question in asked("multispectral_scene_classification")}
    assert {mode: len(question.images) for mode, question in found.items()} == {"optical": 4, "radar": 1, "both": 5}
    assert {question.same_as for question in found.values()} == {"multispectral_scene_classification#0"}
    colour = np.array(PIL.Image.open(found["optical"].images[0]))
    assert colour.shape == (12, 12, 3) and colour[0, 0].tolist() == [0, 0, 0] and colour[-1, -1].min() == 255
    other = np.array(PIL.Image.open(found["optical"].images[1]))
    assert other.shape == (12, 12, 3), "smaller bands are enlarged"


def test_a_flat_band_is_black_and_a_missing_one_is_named(tmp_path: Path) -> None:
    names = [band for group in _bands.GROUPS for band in group]
    for name in names:
        PIL.Image.fromarray(np.full((4, 4), 500, np.uint16)).save(tmp_path / f"x_{name}.tif")
    assert np.array(PIL.Image.open(_bands.compose(tmp_path, "x", "row 0")[0])).max() == 0
    (tmp_path / "x_B8A.tif").write_bytes(b"no picture")
    with pytest.raises(DataError, match="row 0: the band cannot be read"):
        _bands.compose(tmp_path, "x", "row 0")
    (tmp_path / "x_B8A.tif").unlink()
    with pytest.raises(DataError, match="row 0: bands are missing"):
        _bands.compose(tmp_path, "x", "row 0")


def test_regions_are_read_from_polygons_and_run_lengths() -> None:
    regions = list(_refcoco.read(FIXTURE / "sarnew", "test"))
    assert [region.text for region in regions] == ["the block above", "the tall block", "the building"]
    polygon, runs = regions[0].mask.to_array(), regions[1].mask.to_array()
    assert polygon.sum() == 8 * 5 and polygon[3:8, 2:10].all()
    assert runs.sum() == 11 * 4 and runs[1:12, 5:9].all()
    assert [region.text for region in _refcoco.read(FIXTURE / "sarnew", "train")] == ["not asked"]


def test_the_official_iou_counts_the_background_and_drops_answers_without_a_mask() -> None:
    questions = [question for question in asked("segmentation") if question.subset == "radar"]
    true = [question.targets.masks[0].to_array() for question in questions]
    strict, official = BENCHMARK.protocols["strict"], BENCHMARK.protocols["official"]
    texts = [said(true[0]), "", said(np.zeros_like(true[2]))]
    overlaps = [row["mask_iou"] for row in strict.corpus["segmentation"](questions, texts)]
    assert overlaps == [1.0, 0.0, 0.0]
    empty = (true[2].size - true[2].sum()) / true[2].size / 2
    assert official.pooled["segmentation"](questions, texts)["miou"] == pytest.approx((1.0 + empty) / 2)
    total = sum(int(mask.sum()) for mask in true)
    assert strict.pooled["segmentation"](questions, texts)["ciou"] == pytest.approx(true[0].sum() / total)
    assert official.pooled["segmentation"](questions, ["", "", ""])["miou"] == 0.0


def test_masks_of_another_size_do_not_count() -> None:
    question = asked("segmentation")[0]
    assert _masks.iou(said(np.ones((2, 2), bool)), question.targets.masks[0]) == 0.0


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("false",)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda refs: [Evil()], "cannot be read"),
        (lambda refs: "text", "holds no list"),
        (lambda refs: [refs[0] | {"ann_id": 99}], "'ann_id'"),
        (lambda refs: [refs[0] | {"image_id": 99}], "'image_id'"),
        (lambda refs: [refs[0] | {"sentences": [{"raw": "a"}]}], "'sent'"),
    ],
)
def test_bad_expressions_are_refused(
    spoil: Callable[[list[Any]], Any], found: str, fixture_of: Callable[[str], Path]
) -> None:
    folder = fixture_of("earthmind_bench") / "sarnew"
    path = folder / _refcoco.REFS
    path.write_bytes(pickle.dumps(spoil(pickle.loads(path.read_bytes()))))
    with pytest.raises(DataError, match=found):
        list(_refcoco.read(folder, "test"))


def test_a_bad_region_is_refused(fixture_of: Callable[[str], Path]) -> None:
    folder = fixture_of("earthmind_bench") / "sarnew"
    document = json.loads((folder / _refcoco.INSTANCES).read_text())
    document["annotations"][0]["segmentation"] = [[1, 2, 3]]
    (folder / _refcoco.INSTANCES).write_text(json.dumps(document))
    with pytest.raises(DataError, match="'segmentation'"):
        list(_refcoco.read(folder, "test"))


def test_a_true_mask_fits_both_pictures(fixture_of: Callable[[str], Path]) -> None:
    folder = fixture_of("earthmind_bench")
    PIL.Image.new("RGB", (5, 5)).save(folder / "sarnew" / "sar" / "p_1.png")
    with pytest.raises(DataError, match="another size"):
        BENCHMARK.load(folder)
