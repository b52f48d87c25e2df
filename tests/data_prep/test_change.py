"""Questions about change: the answers are computed again pixel by pixel from the masks of the two dates."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from data_prep.builders import BUILDERS
from data_prep.builders.change import CLASSES, RANGES, SPOKEN, percent_range
from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.schema import Image, Mask, Sample, Targets

TYPES = {
    *("change_or_not", "increase_or_not", "decrease_or_not", "smallest_change", "largest_change"),
    *("change_to_what", "change_ratio", "change_ratio_types"),
}
BEFORE = ("gggb", "ggff", "wwff", "wwff")
AFTER = ("gggg", "ggss", "wwss", "wwwf")
LETTERS = {"g": "grass", "b": "building", "f": "forest", "w": "water", "s": "bare soil"}


def _masks(drawn: tuple[str, ...], cell: int = 4) -> dict[str, np.ndarray]:
    letters = np.array([list(row) for row in drawn]).repeat(cell, axis=0).repeat(cell, axis=1)
    return {LETTERS[letter]: letters == letter for letter in sorted({*"".join(drawn)})}


def _facts(before: tuple[str, ...] = BEFORE, after: tuple[str, ...] = AFTER) -> Sample:
    dates = (_masks(before), _masks(after))
    size = 4 * len(before)
    image = Image(array=np.zeros((3, size, size), dtype=np.uint8), size_px=(size, size))
    return Sample(
        id="c",
        images=(image, image),
        task="facts",
        source="made",
        licence="CC0-1.0",
        scene_id="c",
        targets=Targets(masks=tuple(Mask.from_array(m, name) for date in dates for name, m in date.items())),
        meta={
            "image_roles": ["before", "after"],
            "mask_images": [number for number, date in enumerate(dates) for _ in date],
            "complete": ["building", "forest", "water", "grass", "bare soil"],
        },
    )


def _build(facts: Sample, seed: int = 0) -> list[Sample]:
    return list(BUILDERS.get("change").build(facts, np.random.default_rng(seed)))


def _class_of(label: str) -> str:
    return next(name for name, labels in CLASSES.items() if label in labels)


def _moves(facts: Sample) -> tuple[Counter[tuple[str, str]], int]:
    """Pixels by class before and after, and their number; built-up names of the pixels from the masks."""
    dates: list[dict[tuple[int, int], str]] = [{}, {}]
    for place, mask in zip(facts.meta["mask_images"], facts.targets.masks, strict=True):
        for y, x in zip(*np.nonzero(mask.to_array()), strict=True):
            dates[place][int(y), int(x)] = _class_of(mask.label)
    moves = Counter((dates[0][at], dates[1][at]) for at in dates[0] if at in dates[1])
    return moves, facts.targets.masks[0].to_array().size


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Sample, list[Sample]]]:
    read = SOURCES.get("synthetic_change").read(None, SourceOptions(count=14, seed=2, size_px=64))
    return [(facts, _build(facts, number)) for number, facts in enumerate([_facts(), *read])]


def _asked_class(text: str) -> str:
    names = {SPOKEN.get(name, name).removesuffix("s"): name for name in CLASSES}
    question = text.split("second from after. ")[1].split(" Answer")[0]
    return next(name for words, name in names.items() if words in question)


def _asked_date(text: str) -> int | None:
    return 0 if "in the first picture" in text else 1 if "in the second picture" in text else None


def _lost_and_gained(moves: Counter[tuple[str, str]]) -> tuple[Counter[str], Counter[str]]:
    lost: Counter[str] = Counter()
    gained: Counter[str] = Counter()
    for (old, new), count in moves.items():
        if old != new:
            lost[old] += count
            gained[new] += count
    return lost, gained


def test_all_types_are_asked_with_the_fixed_answers(pairs: list[tuple[Sample, list[Sample]]]) -> None:
    fixed = {"yes", "no", *CLASSES, *RANGES}
    assert len(fixed) == 19
    assert {row.meta["subtask"] for row in pairs[0][1]} == {*TYPES, "caption", "change_mask"}
    for _, rows in pairs:
        for row in rows:
            if row.meta["subtask"] in TYPES:
                assert row.task == "change" and row.targets.answer in fixed
                assert row.targets.answer in row.targets.choices
                assert [p.image for p in row.messages[0].content if p.type == "image"] == [0, 1]
                if row.targets.choices != ("yes", "no"):
                    assert all(choice in row.messages[0].text for choice in row.targets.choices)


def test_yes_and_no_are_right(pairs: list[tuple[Sample, list[Sample]]]) -> None:
    said: Counter[tuple[str, str | None]] = Counter()
    for facts, rows in pairs:
        lost, gained = _lost_and_gained(_moves(facts)[0])
        for row in rows:
            subtask, text = row.meta["subtask"], row.messages[0].text
            if subtask in ("change_or_not", "increase_or_not", "decrease_or_not"):
                name, date = _asked_class(text), _asked_date(text)
                if subtask == "change_or_not":
                    counts = (lost[name], gained[name])
                    truth = sum(counts) > 0 if date is None else counts[date] > 0
                else:
                    more = gained[name] - lost[name]
                    truth = more > 0 if subtask == "increase_or_not" else more < 0
                assert row.targets.answer == ("yes" if truth else "no")
                said[subtask, row.targets.answer] += 1
    assert len(said) == 6 and min(said.values()) > 3


def test_extremes_and_becomings_are_right(pairs: list[tuple[Sample, list[Sample]]]) -> None:
    seen = set()
    for facts, rows in pairs:
        moves, _ = _moves(facts)
        lost, gained = _lost_and_gained(moves)
        for row in rows:
            subtask, text = row.meta["subtask"], row.messages[0].text
            if subtask in ("largest_change", "smallest_change"):
                date = _asked_date(text)
                counts = lost + gained if date is None else (lost, gained)[date]
                choose = max if subtask == "largest_change" else min
                assert row.targets.answer == choose(counts, key=lambda name: counts[name])
                seen.add((subtask, date))
            if subtask == "change_to_what":
                name = _asked_class(text)
                went = {new: count for (old, new), count in moves.items() if old == name != new}
                assert row.targets.answer == max(went, key=lambda new: went[new])
    assert len(seen) == 6


def test_shares_are_right(pairs: list[tuple[Sample, list[Sample]]]) -> None:
    for facts, rows in pairs:
        moves, total = _moves(facts)
        lost, gained = _lost_and_gained(moves)
        for row in rows:
            text = row.messages[0].text
            if row.meta["subtask"] == "change_ratio":
                changed = 100 * sum(lost.values()) / total
                percent = 100 - changed if "same" in text or "not changed" in text else changed
            elif row.meta["subtask"] == "change_ratio_types":
                percent = 100 * (lost, gained)[_asked_date(text) or 0][_asked_class(text)] / total
            else:
                continue
            low = 10 * (math.ceil(percent / 10 - 1e-9) - 1)
            assert row.targets.answer == ("0" if percent == 0 else f"{low}_to_{low + 10}")


@pytest.mark.parametrize(
    ("percent", "answer"),
    [(0, "0"), (0.01, "0_to_10"), (10, "0_to_10"), (10.01, "10_to_20"), (100 * 0.3, "20_to_30"), (100, "90_to_100")],
)
def test_ranges_end_at_or_above_the_share(percent: float, answer: str) -> None:
    assert percent_range(percent) == answer


def test_the_hand_made_pair() -> None:
    rows = _build(_facts())
    answers = {(row.meta["subtask"], row.messages[0].text.split("after. ")[1]): row.targets.answer for row in rows}
    ratio = [row.targets.answer for row in rows if row.meta["subtask"] == "change_ratio"]
    assert ratio == ["30_to_40", "60_to_70"]  # 6 of 16 cells
    to_what = {text: answer for (subtask, text), answer in answers.items() if subtask == "change_to_what"}
    assert sorted(map(str, to_what.values())) == ["NVG_surface", "low_vegetation"]
    caption = next(row for row in rows if row.meta["subtask"] == "caption")
    assert "25 % of the area" in (caption.targets.answer or "")  # forest to soil, 4 cells
    assert "One building is gone." in (caption.targets.answer or "")
    by_label = {mask.label: mask.to_array() for mask in caption.targets.masks}
    assert by_label["trees to non-vegetated ground"].sum() == 4 * 16
    assert by_label["building"].sum() == 16 and caption.meta["mask_images"][-1] == 0
    marked = next(row for row in rows if row.meta["subtask"] == "change_mask")
    assert marked.task == "segmentation" and marked.targets.masks[0].to_array().sum() == 6 * 16


def test_nothing_changed() -> None:
    rows = _build(_facts(BEFORE, BEFORE))
    assert {row.meta["subtask"] for row in rows} == {
        *("change_or_not", "increase_or_not", "decrease_or_not", "change_ratio", "change_ratio_types", "caption")
    }
    yes_no = {row.targets.answer for row in rows if row.targets.choices == ("yes", "no")}
    shares = [row.targets.answer for row in rows if row.meta["subtask"] == "change_ratio"]
    assert yes_no == {"no"} and shares == ["0", "90_to_100"]


def test_masks_of_changed_pixels_alone_are_enough() -> None:
    facts = _facts()
    keep = np.array([list(row) for row in BEFORE]) != np.array([list(row) for row in AFTER])
    keep = keep.repeat(4, axis=0).repeat(4, axis=1)
    masks = tuple(Mask.from_array(mask.to_array() & keep, mask.label) for mask in facts.targets.masks)
    meta = {**facts.meta, "complete": [], "masks_tell": "changed pixels only"}
    partial = replace(facts, targets=Targets(masks=masks), meta=meta)
    whole = {row.messages[0].text: row.targets.answer for seed in range(30) for row in _build(facts, seed)}
    shared = 0
    for row in (row for seed in range(10) for row in _build(partial, seed)):
        text = row.messages[0].text
        if row.meta["subtask"] in TYPES and text in whole:
            shared += 1
            assert row.targets.answer == whole[text]
    assert shared > 50


def test_rows_that_are_no_pair_or_tell_no_cover_are_passed_over() -> None:
    facts = _facts()
    assert _build(replace(facts, meta={**facts.meta, "image_roles": ["optical", "sar"]})) == []
    renamed = tuple(replace(mask, label="destroyed building") for mask in facts.targets.masks)
    assert _build(replace(facts, targets=Targets(masks=renamed))) == []
    assert _build(replace(facts, targets=Targets())) == []


def test_building_is_repeatable() -> None:
    assert _build(_facts(), 4) == _build(_facts(), 4)
    assert len({row.messages[0].text for seed in range(8) for row in _build(_facts(), seed)}) > 40


def test_a_pair_of_which_nothing_is_labelled_as_changed_tells_that_nothing_changed() -> None:
    facts = _facts()
    meta = {"image_roles": ["before", "after"], "mask_images": [], "masks_tell": "changed pixels only", "complete": []}
    rows = _build(replace(facts, targets=Targets(), meta=meta))
    assert {row.targets.answer for row in rows if row.targets.choices == ("yes", "no")} == {"no"}
    assert [row.targets.answer for row in rows if row.meta["subtask"] == "change_ratio"] == ["0", "90_to_100"]


@pytest.mark.parametrize("side", [0, 6])
def test_a_mask_of_changed_buildings_alone_tells_whether_they_changed_where_and_on_which_share(side: int) -> None:
    facts = _facts()
    changed = np.zeros((16, 16), dtype=bool)
    changed[:side, :side] = True
    masks = (Mask.from_array(changed, "changed building"),) if side else ()
    meta = {"image_roles": ["before", "after"], "mask_images": [1] * len(masks)}
    meta |= {"masks_tell": "changed things", "complete": ["changed building"]}
    rows = {row.meta["subtask"]: row for row in _build(replace(facts, targets=Targets(masks=masks), meta=meta))}
    assert rows["change_or_not"].targets.answer == ("yes" if side else "no")
    assert rows["change_ratio_types"].targets.answer == ("10_to_20" if side else "0")  # 36 of 256 pixels: 14.1 %
    told = "Changed buildings take 14.1 % of the picture, mainly in the upper left."
    assert rows["caption"].targets.captions == (told if side else "No building has appeared or disappeared.",)
    assert ("change_mask" in rows) == bool(side)
    for row in rows.values():
        assert [p.image for p in row.messages[0].content if p.type == "image"] == [0, 1] and len(row.images) == 2
        assert all((mask.to_array() == changed).all() for mask in row.targets.masks)


def test_masks_of_change_are_not_taken_for_the_cover_of_the_picture() -> None:
    facts = _facts()
    for tells in ("changed pixels only", "changed things"):
        pair = replace(facts, meta={**facts.meta, "masks_tell": tells})
        for builder in ("landcover", "pixel_cot", "preferences"):
            assert list(BUILDERS.get(builder).build(pair, np.random.default_rng(0))) == []
