"""A small CLIP with a frozen trunk of timm: how it begins, what of it learns, and what is measured of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from safetensors.torch import load_file, save_file

from lhrs_chat import samples
from lhrs_chat.errors import ConfigError, DataError, LhrsError, WeightsError
from lhrs_chat.models.convert.clip import CONFIG, WEIGHTS
from lhrs_chat.models.encoders import efficientnet_lite
from lhrs_chat.models.scorers.clip import ClipScorer, open_clip_module
from lhrs_chat.schema import Image, Message, Sample, Targets
from tests.training.clip_model import write_clip
from training import clip_start, loop, retrieval
from training.journal import read_journal
from training.objectives import OBJECTIVES
from training.recipe import Recipe, load_recipe
from training.stage import TOLD

STEPS = 20
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (30, 60, 190), "white": (230, 230, 230)}
SIZES = {
    "embed_dim": 16,
    "vision_cfg": {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 32},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}
MEANS = "visual.trunk.bn1.running_mean"


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """An EfficientNet-Lite0 with random weights and statistics, under the published names."""
    torch.manual_seed(1)
    whole = efficientnet_lite.build({"variant": "lite0", "head": True, "classifier": True})
    for name, tensor in whole.named_buffers():
        if "running" in name:
            tensor.uniform_(0.5, 1.5)
    return {efficientnet_lite._published_name(name): tensor for name, tensor in whole.state_dict().items()}


@pytest.fixture(scope="module")
def start(published: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("start") / "clip"
    clip_start.write(published, out, seed=0)
    return out


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP with a tiny convolutional tower."""
    folder = tmp_path_factory.mktemp("timm")
    torch.manual_seed(0)
    made = open_clip_module().CLIP(**SIZES)
    save_file({name: tensor.contiguous() for name, tensor in made.state_dict().items()}, folder / WEIGHTS)
    look = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": SIZES, "preprocess_cfg": look}))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    rows = []
    for number, (name, other) in enumerate((a, b) for a in COLOURS for b in COLOURS if a != b):
        array = np.zeros((40, 60, 3), dtype=np.uint8) + np.array(COLOURS[name], dtype=np.uint8)
        array[10:30, 10:40] = COLOURS[other]
        PilImage.fromarray(array).save(folder / f"{number}.png")
        said = (Message.of("user", "what?"), Message.of("assistant", f"a {other} field in a {name} one"))
        image = Image(path=f"{number}.png", size_px=(60, 40))
        split = "val" if number % 6 == 5 else "train"
        rows.append(Sample(f"row/{number}", (image,), "preference", "made", "CC0", f"s{number}", said, split=split))
    samples.write(folder / "rows.jsonl", rows)
    return folder


def recipe(model: Path, data: Path, out: Path, *more: str) -> Recipe:
    small = (
        *("optim.precision=fp32", "optim.batch_images=5", "log_steps=1", "save_steps=20", "eval_steps=20"),
        *('data.mix={"made": 1}', "data.passes=20", 'optim.lr={".": 1e-2, "visual.trunk": 0}', f"model={model}"),
        *(f"optim.max_steps={STEPS}", f"data.folder={data}", f"out={out}"),
    )
    return load_recipe("clip_nano", [*small, *more])


def test_twenty_steps_and_the_trunk_stays(model: Path, data: Path, tmp_path: Path) -> None:
    made = recipe(model, data, tmp_path / "run")
    losses = [entry["loss"] for entry in read_journal(loop.run(made)) if "loss" in entry]
    assert len(losses) == STEPS and sum(losses[-5:]) < 0.9 * sum(losses[:5])
    before, after = (load_file(folder / WEIGHTS) for folder in (model, made.out))
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert "visual.head.proj.weight" in moved and "token_embedding.weight" in moved
    assert not any("trunk" in name for name in moved)
    assert ClipScorer.open(made.out, "made").texts(["a red field"]).shape == (1, 16)


def test_features_that_are_kept_are_those_of_the_pictures(model: Path, data: Path, tmp_path: Path) -> None:
    losses = []
    for kept in ("true", "false"):
        stage = OBJECTIVES.get("clip").begin(recipe(model, data, tmp_path, f"data.cache_features={kept}"))
        batch = stage.batch(stage.rows[:5])
        assert batch.pop(TOLD).samples == 5
        assert batch["pixels"].shape == ((5, 256) if kept == "true" else (5, 3, 32, 32))
        losses.append(stage.module.eval()(**batch))
    torch.testing.assert_close(*losses, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("rate", "stays"), [("0", True), ("1e-2", False)])
def test_norms_that_do_not_learn_keep_their_statistics(
    rate: str, stays: bool, model: Path, data: Path, tmp_path: Path
) -> None:
    rates = f'optim.lr={{".": 1e-2, "visual.trunk": {rate}}}'
    made = recipe(model, data, tmp_path / "run", rates, "data.cache_features=false", "optim.max_steps=3")
    loop.run(made)
    before, after = (load_file(folder / WEIGHTS)[MEANS] for folder in (model, made.out))
    assert torch.equal(before, after) == stays


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ('optim.lr={".": 1e-3}', "visual.trunk"),
        ("clip.patches=1", "clip.patches"),
        ("model=VIT", "without a trunk"),
    ],
)
def test_features_are_not_kept_of_what_changes(
    change: str, found: str, model: Path, data: Path, tmp_path: Path
) -> None:
    rates = 'optim.lr={".": 1e-3}' if "VIT" in change else 'optim.lr={".": 1e-3, "visual.trunk": 0}'
    change = change.replace("VIT", str(write_clip(tmp_path / "vit")) if "VIT" in change else "")
    with pytest.raises(ConfigError, match=rf"can be kept(.|\n)*{found}"):
        OBJECTIVES.get("clip").begin(recipe(model, data, tmp_path / "run", rates, change))


def test_the_start_sees_what_lhrs_nano_sees(published: dict[str, torch.Tensor], start: Path) -> None:
    settings = {"variant": "lite0", "head": True, "taps": ["stride32"]}
    ours = efficientnet_lite.build(settings).eval()
    ours.load_state_dict(efficientnet_lite.weight_map(published, settings))
    scorer = ClipScorer.open(start, "start")
    rng = np.random.default_rng(0)
    picture = PilImage.fromarray(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8))
    pixels = (torch.from_numpy(np.asarray(picture, dtype=np.float32)) - 127) / 128
    pixels = pixels.permute(2, 0, 1)[None]
    torch.testing.assert_close(scorer.transform(picture)[None], pixels)
    with torch.inference_mode():
        torch.testing.assert_close(scorer.model.visual.trunk(pixels), ours(pixels)[0].mean(1))


def test_a_start_of_other_weights_is_refused(published: dict[str, torch.Tensor], start: Path, tmp_path: Path) -> None:
    less = {name: tensor for name, tensor in published.items() if name != "_conv_stem.weight"}
    with pytest.raises(WeightsError, match=r"missing _conv_stem\.weight"):
        clip_start.write(less, tmp_path / "new", seed=0)
    assert not (tmp_path / "new").exists()
    with pytest.raises(LhrsError, match="output folder is not empty"):
        clip_start.write(published, start, seed=0)


class Known:
    """A CLIP whose features are told by hand: of pictures by their grey value, of texts by their words."""

    pictures_of = torch.eye(3)
    words = ("dark", "grey", "light")

    def pictures(self, images: list[np.ndarray]) -> torch.Tensor:
        return torch.stack([self.pictures_of[int(image.mean()) // 100] for image in images])

    def texts(self, texts: list[str]) -> torch.Tensor:
        return torch.stack([torch.tensor([float(word in text) for word in self.words]) for text in texts])


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    rows = []
    for number, (label, caption) in enumerate([("dark", "so dark"), ("grey", "a light one"), ("light", "so light")]):
        PilImage.new("RGB", (8, 8), (number * 100 + 20,) * 3).save(tmp_path / f"{number}.png")
        targets = Targets(labels=(label,), captions=(caption,))
        image = Image(path=f"{number}.png")
        rows.append(Sample(f"r{number}", (image,), "facts", "made", "CC0", f"s{number}", targets=targets, split="test"))
    rows.append(dataclasses.replace(rows[0], id="other", targets=Targets(labels=("dark",))))
    samples.write(tmp_path / "rows.jsonl", rows)
    return tmp_path


def test_recall_looks_at_the_first() -> None:
    likeness = torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.2, 0.6]])
    wanted = torch.tensor([[False, False, True], [True, True, False]])
    assert [retrieval.recall(likeness, wanted, first) for first in (1, 2, 9)] == [[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]


def test_what_a_clip_finds(facts: Path) -> None:
    rows = retrieval.usable(samples.read(facts), "test", ["made"])
    assert [row.id for row in rows] == ["r0", "r1", "r2"], "a row without captions is left out"
    lines = retrieval.report(Known(), rows).splitlines()
    assert lines[0].startswith("3 pictures, 3 captions, 3 scene classes")
    means = {
        line.split("|")[1].strip(): [cell.split(" (")[0].strip() for cell in line.split("|")[2:-1]]
        for line in lines[4:]
    }
    assert means["a picture finds its scene class"] == ["100.0"] * 3
    assert means["a caption finds its picture"][0] == "66.7"
    assert means["a picture finds a caption"][1:] == ["100.0"] * 2
    with pytest.raises(DataError, match="no picture with captions"):
        retrieval.usable(samples.read(facts), "test", ["another"])


def test_the_command_asks_for_a_clip(
    facts: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert retrieval.main([str(model), str(facts)]) == 0
    assert "| a picture finds a caption |" in capsys.readouterr().out
    monkeypatch.setattr(retrieval, "open_scorer", lambda name: Known())
    assert retrieval.main([str(model), str(facts)]) == 2
    assert "by a CLIP" in capsys.readouterr().err
