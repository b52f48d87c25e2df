from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.__main__ import main
from data_prep.verbs import split as verb
from lhrs_chat import overlap, samples
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Image, Sample
from tests.soft_scenes import save, scene

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def row(name: str, **more: object) -> Sample:
    fields = {"scene_id": "", "source": "s", **more}
    path = fields.pop("path", f"{name}.png")
    return Sample(name, (Image(path=str(path)),), "facts", licence="CC0-1.0", **fields)  # type: ignore[arg-type]


def splits(folder: Path, rows: list[Sample], *words: str) -> dict[str, str]:
    samples.write(folder / "rows.jsonl", rows)
    out = folder / "out"
    assert main(["split", str(folder / "rows.jsonl"), "--out", str(out), "--workers", "1", *words]) == 0
    return {sample.id: sample.split for sample in samples.read(out)}


def boxes() -> st.SearchStrategy[tuple[float, float, float, float]]:
    def box(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
        west, east = x, x + w if x + w <= 180 else x + w - 360
        return west, y, east, y + h

    side = st.sampled_from([0.5, 1.0, 3.0])
    return st.builds(box, st.integers(170, 180), st.integers(-3, 3), side, side)


@st.composite
def some_rows(draw: st.DrawFn) -> list[Sample]:
    count = draw(st.integers(1, 25))
    return [
        row(
            f"r{n}",
            scene_id=draw(st.sampled_from(["", "a", "b", "c", f"own{n}"])),
            source=draw(st.sampled_from(["s", "t"])),
            path=draw(st.sampled_from([f"/i/{n}.png", f"/i/P{n % 4:04d}_{n}.png", "/i/shared.png"])),
            footprint=draw(st.none() | boxes()),
        )
        for n in range(count)
    ]


def share_something(one: Sample, other: Sample) -> bool:
    names = [overlap.of_sample(each)[0].names for each in (one, other)]
    same = bool(names[0] & names[1]) or one.images == other.images
    if one.footprint is None or other.footprint is None:
        return same
    return same or overlap.ground(one.footprint).intersection(overlap.ground(other.footprint)).area > 0


@settings(max_examples=60)
@given(some_rows(), st.integers(0, 5), st.randoms())
def test_no_scene_tile_picture_or_ground_in_two_splits(tmp_path_factory, rows, seed, rnd) -> None:  # type: ignore[no-untyped-def]
    place = tmp_path_factory.mktemp("split") / "rows.jsonl"
    found = []
    for order in (rows, rnd.sample(rows, len(rows))):
        samples.write(place, order)
        group_of, groups = verb.together(str(place), iter(()))
        names = verb.assign(groups, SHARES, seed)
        found.append({each.id: names[group_of[verb.keys_of(each)[0]]] for each in samples.read(place)})
        assert sum(group.counts.total() for group in groups) == len(rows)
    assert found[0] == found[1]
    for one, other in itertools.combinations(rows, 2):
        if share_something(one, other):
            assert found[0][one.id] == found[0][other.id], (one, other)


def test_the_shares_are_met_for_each_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(f"{origin}{n}", scene_id=f"{origin}{n // 2}", source=origin) for origin in "ab" for n in range(100)]
    found = splits(tmp_path, rows, "--shares", "0.7,0.2,0.1")
    for origin in "ab":
        own = [name for key, name in found.items() if key[0] == origin]
        assert [own.count(name) for name in ("train", "val", "test")] == [70, 20, 10]
    manifest = samples.read_manifest(tmp_path / "out")
    assert manifest["realised"]["a"] == {"train": 70, "val": 20, "test": 10}
    assert (manifest["groups"], manifest["largest_group"]) == (100, 2)
    assert "| a | 100 | 70 (70.0%) | 20 (20.0%) | 10 (10.0%) |" in capsys.readouterr().out
    assert splits(tmp_path / "again", rows[::-1], "--shares", "0.7,0.2,0.1") == found
    other = splits(tmp_path / "seeded", rows, "--shares", "0.7,0.2,0.1", "--seed", "1")
    assert other != found


def test_a_share_of_nothing_gets_nothing(tmp_path: Path) -> None:
    found = splits(tmp_path, [row(f"r{n}", scene_id=str(n)) for n in range(7)], "--shares", "0.5,0,0.5")
    assert set(found.values()) == {"train", "test"}


def test_footprints_that_touch_are_not_joined_and_chains_are() -> None:
    bounds = [(0, 0, 1, 1), (1, 0, 2, 1), (1.5, 0, 2.5, 1), (179.5, 0, -179.5, 1), (-179.7, 0, -179, 1)]
    assert sorted(verb.overlapping(bounds)) == [(1, 2), (3, 4)]


def test_near_duplicate_pictures_stay_together_if_asked(tmp_path: Path) -> None:
    rows = []
    for n in range(12):
        for copy, pixels in enumerate((scene(n), np.rot90(scene(n)))):
            path = save(tmp_path / f"{n}-{copy}.png", pixels)
            rows.append(row(f"{n}-{copy}", path=path))
    apart = splits(tmp_path / "apart", rows, "--shares", "0.5,0.25,0.25")
    assert any(apart[f"{n}-0"] != apart[f"{n}-1"] for n in range(12))
    found = splits(tmp_path / "kept", rows, "--shares", "0.5,0.25,0.25", "--near-duplicates", "6")
    assert all(found[f"{n}-0"] == found[f"{n}-1"] for n in range(12))
    assert set(found.values()) == set(SHARES)


@pytest.mark.parametrize("text", ["0.8,0.2", "0.5,0.4,0.2", "1.2,-0.1,-0.1", "a,b,c", "", "nan,0.5,0.5"])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(DataError, match="shares"):
        verb.shares_of(text)


def test_a_broken_row_is_told_and_the_rest_is_split(tmp_path: Path) -> None:
    samples.write(tmp_path / "rows.jsonl", [replace(row("a"), split="test"), row("b")])
    with (tmp_path / "rows.jsonl").open("a") as stream:
        stream.write('{"id": "c"}\n')
    assert main(["split", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out"), "--shares", "1,0,0"]) == 0
    assert [(each.id, each.split) for each in samples.read(tmp_path / "out")] == [("a", "train"), ("b", "train")]
    assert samples.read_manifest(tmp_path / "out")["dropped"] == {"unreadable": 1}
