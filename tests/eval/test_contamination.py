from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import rasterio
from rasterio.transform import from_origin

from eval import contamination, runner, runs
from eval.__main__ import main
from eval.benchmarks import BENCHMARKS
from lhrs_chat.errors import DataError
from tests.soft_scenes import save, scene, variant

BENCHMARK = BENCHMARKS.get("nano_probe")


@pytest.fixture
def bench(probe: Path) -> Path:
    """The probe with pictures that can be told from each other."""
    for number, path in enumerate(sorted((probe / "images").iterdir())):
        PIL.Image.fromarray(scene(number)).save(path)
    return probe


def test_parts_both_ways_and_names(bench: Path, tmp_path: Path) -> None:
    images = sorted((bench / "images").iterdir())
    train = tmp_path / "train"
    part = save(train / "part.jpg", variant(scene(0), 0.7, 0.5, 0.5, 5))
    larger = scene(50, 256)
    PIL.Image.fromarray(larger[:179, :179]).save(images[1])
    holder = save(train / "holder.png", larger)
    save(train / "other.png", scene(77))
    (train / "broken.png").write_bytes(b"no picture")
    found = contamination.find(runs.open_data("nano_probe", bench), train)
    pairs = {(overlap.bench, overlap.train, overlap.kind) for overlap in found.overlaps}
    assert pairs == {(str(images[0]), str(part), "look"), (str(images[1]), str(holder), "look")}
    assert found.unreadable == (str(train / "broken.png"),) and (found.bench, found.train) == (9, 4)


def test_tiles_scenes_and_footprints(bench: Path, tmp_path: Path) -> None:
    data = runs.open_data("nano_probe", bench)
    rows = tmp_path / "train.jsonl"
    places = {"P0007__1__0.png": "", "free.png": "", "by_scene.png": "synthetic/3"}
    for number, name in enumerate(places):
        save(tmp_path / name, scene(60 + number))
    lines = [
        {"id": name, "images": [{"path": name}], "task": "facts", "source": "s", "licence": "l", "scene_id": scene_id}
        for name, scene_id in places.items()
    ]
    lines[1]["footprint"] = [3.0, 0.0, 3.5, 0.5]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    tile = bench / "images" / "P0007__2__100.png"
    (bench / "images" / "synthetic_0.png").rename(tile)
    ground = bench / "images" / "ground.tif"
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 3, "dtype": "uint8", "crs": "EPSG:4326"}
    with rasterio.open(ground, "w", transform=from_origin(3.25, 0.5, 1 / 128, 1 / 128), **profile) as file:
        file.write(scene(90, 64).transpose(2, 0, 1))
    moved = [
        replace(q, images=(tile,) if "synthetic-0" in q.id else (ground,) if "synthetic-1" in q.id else q.images)
        for q in data.questions
    ]
    found = contamination.find(replace(data, questions=moved), rows)
    kinds = {overlap.kind: (Path(overlap.bench).name, overlap.detail) for overlap in found.overlaps}
    assert kinds["tile"] == ("P0007__2__100.png", "P0007")
    assert kinds["scene"] == ("synthetic_3.png", "synthetic/3")
    assert kinds["footprint"] == ("ground.tif", "50% of the picture")
    assert len(found.overlaps) == 3


def test_scores_with_and_without(bench: Path, tmp_path: Path, scripted: Any, capsys: Any) -> None:
    from eval.records import image_sha256

    known = image_sha256(bench / "images" / "synthetic_0.png")
    speech = scripted(lambda question, hashes: "yes" if hashes == (known,) else "")
    runner.run(BENCHMARK, BENCHMARK.load(bench), speech, tmp_path / "run", ["real"])
    save(tmp_path / "train" / "same.png", scene(4))
    arguments = ["contamination", "--train", str(tmp_path / "train"), "--bench", "nano_probe", "--data", str(bench)]
    assert main([*arguments, "--runs", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "1 of 9 pictures and 8 of 72 questions overlap with 1 training pictures" in printed
    stored = json.loads((tmp_path / "out" / "contamination.json").read_text())
    (row,) = [r for r in stored["scores"] if (r["set"], r["task"]) == ("synthetic", "presence")]
    assert [row[part]["mean"] for part in ("all", "clean", "overlapping")] == [0.2, 0.0, 1.0]
    assert (tmp_path / "out" / "contamination.md").read_text() == printed


@pytest.mark.parametrize("make", ["missing", "empty"])
def test_no_training_data(bench: Path, tmp_path: Path, make: str) -> None:
    if make == "empty":
        (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no pictures here"):
        contamination.find(runs.open_data("nano_probe", bench), tmp_path / "train")
