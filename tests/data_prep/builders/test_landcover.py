"""Rows made of land cover: every share and place is that of the masks."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.builders import BUILDERS
from lhrs_chat.schema import Image, Mask, Sample, Targets
from lhrs_chat.text import answers

BUILD = BUILDERS.get("landcover").build
COVERS = ("cropland", "tree cover", "permanent water", "grassland")
KNOWN = [*COVERS, "shrubland", "mangrove forest", "ship"]


def facts(codes: np.ndarray, names: tuple[str, ...] = COVERS, **meta: Any) -> Sample:
    height, width = codes.shape
    masks = tuple(Mask.from_array(codes == n, name) for n, name in enumerate(names, 1) if (codes == n).any())
    return Sample(
        id="s",
        images=(Image(path="a.png", size_px=(width, height)),),
        task="facts",
        source="set",
        licence="CC0",
        scene_id="s",
        targets=Targets(masks=masks),
        meta={"complete": KNOWN, **meta},
    )


def halves() -> np.ndarray:
    """Cropland above, trees below, a lake in the lower right quarter."""
    codes = np.ones((60, 60), dtype=int)
    codes[30:] = 2
    codes[48:, 40:] = 3
    return codes


def rows(sample: Sample, seeds: int = 20) -> list[Sample]:
    return [row for seed in range(seeds) for row in BUILD(sample, np.random.default_rng(seed))]


def of_task(made: list[Sample], task: str) -> list[Sample]:
    found = [row for row in made if row.task == task]
    assert found, task
    return found


def test_the_answers_to_a_known_layout() -> None:
    made = rows(facts(halves()))
    shares = {row.targets.labels[0]: row.targets.answer for row in of_task(made, "area_share")}
    assert shares == {"cropland": "About 50%.", "tree cover": "About 45%.", "permanent water": "About 5%."}
    filled = {row.messages[0].text: row.targets.answer for row in of_task(made, "what_is_at")}
    said = {part: answer for text, answer in filled.items() for part in PARTS if part in text}
    assert said == {
        "upper left quarter": "cropland",
        "upper right quarter": "cropland",
        "lower left quarter": "tree cover",
        "lower right quarter": "tree cover",
    }
    assert {row.targets.answer for row in of_task(made, "which_parts")} == {"The lower right quarter."}
    assert not [row for row in made if row.task == "vqa"]  # cropland leads by less than 8 points


PARTS = ("upper left quarter", "upper right quarter", "lower left quarter", "lower right quarter")


def test_a_caption_says_amounts_and_layout() -> None:
    for row in of_task(rows(facts(halves())), "caption"):
        text = row.targets.answer or ""
        assert "cropland (about 50%)" in text.lower() and "tree cover (about 45%)" in text
        assert "upper half" in text and "lower half" in text
        assert re.search(r"water.*lower right quarter", text)
        assert row.targets.captions == (text,) and text.endswith(".") and text[0].isupper()


def test_the_largest_cover_is_asked_for_where_it_is_clear() -> None:
    codes = np.ones((60, 60), dtype=int)
    codes[:, 40:] = 4
    made = rows(facts(codes))
    assert {row.targets.answer for row in of_task(made, "vqa")} == {"cropland"}
    assert {row.targets.answer for row in of_task(made, "compare")} == {"cropland"}
    assert all("mostly" in t or "most of" in t or "mainly" in t for t in map(str.lower, captions(made)))


def captions(made: list[Sample]) -> list[str]:
    return [row.targets.answer or "" for row in of_task(made, "caption")]


def test_where_most_ground_is_untold_nothing_is_called_the_largest() -> None:
    codes = np.zeros((60, 60), dtype=int)
    codes[:30, :30] = 3
    made = rows(facts(codes))
    assert not [row for row in made if row.task == "vqa"]
    for text in captions(made):
        assert "about 25%" in text.lower() and "mostly permanent water" not in text.split(".")[0].lower()


def test_presence_is_balanced_and_speaks_of_covers() -> None:
    made = of_task(rows(facts(halves())), "presence")
    yes = [row for row in made if row.targets.answer == "Yes."]
    assert len(yes) * 2 == len(made)
    assert {row.targets.labels[0] for row in made if row not in yes} == {"grassland", "shrubland", "mangrove forest"}


def test_traces_are_neither_named_nor_denied() -> None:
    codes = np.ones((100, 100), dtype=int)
    codes[:5, :20] = 3  # 1 %
    made = rows(facts(codes))
    assert all("water" not in text for text in captions(made))
    assert all("water" not in row.targets.labels[0] for row in made if row.task == "presence")


def test_masks_of_other_images_and_of_no_common_grid_are_left_out() -> None:
    sample = facts(halves(), mask_images=[1, 1, 1])
    assert rows(sample) == []
    odd = Mask.from_array(np.ones((10, 10), dtype=bool), "grassland")
    masks = (*facts(halves()).targets.masks, odd)
    assert rows(replace(sample, targets=Targets(masks=masks), meta={})) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 40), st.integers(5, 40))
def test_what_is_said_of_any_ground_is_true(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 5, (rng.integers(1, 4), rng.integers(1, 4)))
    codes = np.repeat(np.repeat(coarse, -(-height // len(coarse)), 0), -(-width // coarse.shape[1]), 1)[:height, :width]
    share = {name: 100 * float((codes == n).mean()) for n, name in enumerate(COVERS, 1)}
    for row in BUILD(facts(codes), rng):
        answer = row.targets.answer or ""
        if row.task == "area_share":
            number = answers.number(answer)
            assert number is not None and abs(number.value - share[row.targets.labels[0]]) <= 2.5
        elif row.task == "compare":
            assert share[answer] == max(share[name] for name in row.targets.choices)
        elif row.task == "vqa":
            assert share[answer] == max(share.values())
        elif row.task == "what_is_at":
            (part,) = [part for part in (*PARTS, "centre") if part in row.messages[0].text]
            assert 100 * (cut(codes, part) == COVERS.index(answer) + 1).mean() >= 60
        elif row.task == "which_parts":
            code = COVERS.index(row.targets.labels[0]) + 1
            part = answer.removeprefix("The ").removesuffix(".")
            assert (cut(codes, part) == code).sum() >= 0.6 * (codes == code).sum()
        elif row.task == "caption":
            for name, said in re.findall(r"(tree cover|\w+) \(about (\d+)%\)", answer.lower()):
                assert abs(share["permanent water" if name == "water" else name] - float(said)) <= 2.5


def cut(codes: np.ndarray, part: str) -> np.ndarray:
    height, width = codes.shape
    if part == "centre":
        return codes[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
    rows_of = codes[: height // 2] if "upper" in part else codes[height // 2 :]
    return rows_of[:, : width // 2] if "left" in part else rows_of[:, width // 2 :]


def test_plural_covers_are_said_in_the_plural() -> None:
    codes = np.ones((40, 40), dtype=int)
    made = rows(facts(codes, ("field",)))
    assert all("fields" in text for text in captions(made))
    with pytest.raises(AssertionError):
        of_task(made, "compare")
