from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import rasterio
from rasterio.transform import from_origin

from eval import contamination, perceptual, runner, runs
from eval.__main__ import main
from eval.benchmarks import BENCHMARKS
from lhrs_chat.errors import DataError

BENCHMARK = BENCHMARKS.get("nano_probe")


def scene(seed: int, side_px: int = 192) -> np.ndarray:
    """Soft shapes of many sizes, as a picture from above has: (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side_px, side_px), np.float32)
    for cells in (3, 6, 12, 24, 48):
        noise = PIL.Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        total += np.asarray(noise.resize((side_px, side_px), PIL.Image.Resampling.BICUBIC)) / cells**0.4
    grey = np.clip(128 + 45 * total / total.std(), 0, 255).astype(np.uint8)
    return np.stack([grey, np.roll(grey, 5, 1), grey // 2], axis=2)


def variant(pixels: np.ndarray, share: float, x: float, y: float, turn: int) -> np.ndarray:
    """A part, turned or mirrored, at another size, as a JPEG of low quality."""
    height, width = pixels.shape[:2]
    left, top = int(x * (1 - share) * width), int(y * (1 - share) * height)
    part = pixels[top : top + int(share * height), left : left + int(share * width)]
    part = np.rot90(part if turn < 4 else part[:, ::-1], turn % 4)
    out = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(part)).resize((130, 130)).save(out, "JPEG", quality=60)
    return np.asarray(PIL.Image.open(out))


@pytest.mark.parametrize(
    ("turn", "share", "x", "y"),
    [
        (0, 1.0, 0, 0),
        (1, 0.9, 0.5, 1),
        (2, 0.8, 1, 1),
        (3, 0.7, 0.5, 0),
        (4, 0.6, 0, 1),
        (5, 0.5, 1, 0),
        (7, 1.0, 0, 0),
    ],
)
def test_a_turned_part_is_found(turn: int, share: float, x: float, y: float) -> None:
    pixels = scene(turn)
    part = variant(pixels, share, x, y, turn)
    whole = perceptual.hashes(part, [perceptual.WHOLE], turned=False)
    own = perceptual.hashes(pixels, perceptual.PARTS, turned=True)
    assert perceptual.nearest_bits(whole, own).min() <= perceptual.MAX_BITS
    assert perceptual.correlation(part, pixels) >= perceptual.SAME


def test_parts_at_any_place_are_mostly_found() -> None:
    draw = np.random.default_rng(0)
    found = 0
    for seed in range(12):
        pixels = scene(seed)
        part = variant(pixels, draw.uniform(0.5, 1), draw.uniform(), draw.uniform(), int(draw.integers(8)))
        whole = perceptual.hashes(part, [perceptual.WHOLE], turned=False)
        near = perceptual.nearest_bits(whole, perceptual.hashes(pixels, perceptual.PARTS, turned=True)).min()
        found += bool(near <= perceptual.MAX_BITS and perceptual.correlation(part, pixels) >= perceptual.SAME)
    assert found >= 8


def test_other_scenes_are_not_alike() -> None:
    for seed in range(12):
        assert perceptual.correlation(scene(seed), scene(seed + 100)) < perceptual.SAME


def test_hash_of_a_picture() -> None:
    pixels = scene(1)
    (one,) = perceptual.hashes(pixels, [perceptual.WHOLE], turned=False)
    (dark,) = perceptual.hashes((pixels * 0.6).astype(np.uint8), [perceptual.WHOLE], turned=False)
    (noisy,) = perceptual.hashes(
        np.clip(pixels + np.random.default_rng(0).normal(0, 8, pixels.shape), 0, 255).astype(np.uint8),
        [perceptual.WHOLE],
        turned=False,
    )
    assert int(np.bitwise_count(one ^ dark)) <= 2 and int(np.bitwise_count(one ^ noisy)) <= 4
    assert len(set(perceptual.hashes(pixels, [perceptual.WHOLE], turned=True).tolist())) == 8
    flat = np.full((40, 40, 3), 90, np.uint8)
    assert perceptual.hashes(flat, perceptual.PARTS, turned=True).size == 0


@pytest.fixture
def bench(probe: Path) -> Path:
    """The probe with pictures that can be told from each other."""
    for number, path in enumerate(sorted((probe / "images").iterdir())):
        PIL.Image.fromarray(scene(number)).save(path)
    return probe


def save(folder: Path, name: str, pixels: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    PIL.Image.fromarray(pixels).save(folder / name)
    return folder / name


def test_parts_both_ways_and_names(bench: Path, tmp_path: Path) -> None:
    images = sorted((bench / "images").iterdir())
    train = tmp_path / "train"
    part = save(train, "part.jpg", variant(scene(0), 0.7, 0.5, 0.5, 5))
    larger = scene(50, 256)
    PIL.Image.fromarray(larger[:179, :179]).save(images[1])
    holder = save(train, "holder.png", larger)
    save(train, "other.png", scene(77))
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
        save(tmp_path, name, scene(60 + number))
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
    save(tmp_path / "train", "same.png", scene(4))
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
    with pytest.raises(DataError, match="no training pictures"):
        contamination.find(runs.open_data("nano_probe", bench), tmp_path / "train")
