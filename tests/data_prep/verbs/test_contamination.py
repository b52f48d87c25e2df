from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.__main__ import main
from data_prep.verbs.contamination import Clean
from lhrs_chat import overlap, samples
from lhrs_chat.overlap import Bench, Shot
from lhrs_chat.schema import Image, Sample
from tests.soft_scenes import save, scene, variant


def row(name: str, path: Path, **more: object) -> Sample:
    fields = {"scene_id": f"own-{name}", **more}
    return Sample(name, (Image(path=str(path)),), "facts", "s", "CC0-1.0", **fields)  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    for number in range(3):
        save(tmp_path / "bench" / f"{number}.png", scene(number))
    save(tmp_path / "bench" / "P0007__1__0.png", scene(9))
    return tmp_path / "bench"


def run(folder: Path, rows: list[Sample], *words: str) -> tuple[list[str], dict[str, tuple[str, str]]]:
    samples.write(folder / "rows.jsonl", rows)
    out = folder / "out"
    assert main(["contamination", str(folder / "rows.jsonl"), "--out", str(out), "--workers", "1", *words]) == 0
    dropped = {}
    for place in sorted(out.glob("dropped-*.parquet")):
        found = samples.read_columns(place, ["id", "filter", "reason"])
        dropped |= {key: told for key, *told in zip(*(found[c] for c in ("id", "filter", "reason")), strict=True)}
    return [sample.id for sample in samples.read(out)], dropped


def test_looks_tiles_scenes_and_ground(bench: Path, tmp_path: Path) -> None:
    known = tmp_path / "known"
    ground = row("b", save(known / "b.png", scene(31)), scene_id="town", footprint=(3.0, 0.0, 4.0, 1.0))
    samples.write(known / "rows.jsonl", [ground])
    pictures = tmp_path / "pictures"
    rows = [
        row("free", save(pictures / "free.png", scene(50))),
        row("crop", save(pictures / "crop.png", variant(scene(1), 0.7, 0.5, 0.5, 5))),
        row("tile", save(pictures / "P0007__9__900.png", scene(51))),
        row("told", save(pictures / "told.png", scene(52)), meta={"tile": "P0007"}),
        row("scene", save(pictures / "scene.png", scene(53)), scene_id="town"),
        row("ground", save(pictures / "ground.png", scene(54)), footprint=(3.5, 0.0, 5.0, 1.0)),
        row("beside", save(pictures / "beside.png", scene(55)), footprint=(4.0, 0.0, 5.0, 1.0)),
        row("gone", pictures / "gone.png"),
    ]
    kept, dropped = run(tmp_path, rows, "--against", str(bench), "--against", str(known))
    assert kept == ["free", "beside"]
    filters = {key: told[0].removeprefix("contamination: ") for key, told in dropped.items()}
    expected = {"crop": "look", "tile": "tile", "told": "tile", "scene": "scene", "ground": "footprint"}
    assert filters == {**expected, "gone": "not comparable"}
    assert dropped["crop"][1].startswith(f"shows the same as {bench / '1.png'}, correlation ")
    assert dropped["ground"][1] == f"lies on 50% of the picture {known / 'b.png'}"
    manifest = samples.read_manifest(tmp_path / "out")
    assert manifest["plan"]["against_pictures"] == 5
    assert list(manifest["dropped"])[:2] == ["contamination: look", "contamination: tile"]
    assert manifest["dropped"]["contamination: tile"] == 2


def test_only_the_overlaps_that_count(bench: Path, tmp_path: Path) -> None:
    tile = row("tile", save(tmp_path / "i" / "P0007__9__900.png", scene(51)))
    kept, _ = run(tmp_path, [tile], "--against", str(bench), "--by", "look,footprint")
    assert kept == ["tile"]
    words = ["contamination", str(tmp_path / "rows.jsonl"), "--against", str(bench), "--out", str(tmp_path / "o")]
    assert main([*words, "--by", "looks"]) == 2


def test_the_plan_knows_what_it_was_compared_with(bench: Path, tmp_path: Path) -> None:
    run(tmp_path, [row("a", save(tmp_path / "i" / "a.png", scene(60)))], "--against", str(bench))
    save(bench / "more.png", scene(70))
    words = ["contamination", str(tmp_path / "rows.jsonl"), "--against", str(bench), "--out", str(tmp_path / "out")]
    assert main(words) == 2


def test_the_comparison_travels_to_workers(bench: Path, tmp_path: Path) -> None:
    step = pickle.loads(pickle.dumps(Clean(Bench(overlap.shots(bench)), overlap.KINDS)))
    same = row("same", save(tmp_path / "i" / "same.png", scene(2)))
    outcome = step([same, replace(same, id="again")])
    assert [each.id for each in outcome.dropped] == ["same", "again"]


def test_ground_across_the_date_line() -> None:
    assert overlap.ground((179.0, 0.0, -179.0, 1.0)).area == pytest.approx(2.0)
    assert Shot(Path("a.png"), tile="T1").names == {("tile", "T1")}


def test_nothing_to_compare_with(tmp_path: Path) -> None:
    samples.write(tmp_path / "rows.jsonl", [row("a", tmp_path / "a.png")])
    (tmp_path / "empty").mkdir()
    words = ["contamination", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out"), "--against"]
    assert main([*words, str(tmp_path / "empty")]) == 2
