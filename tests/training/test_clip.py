"""Contrastive training through open_clip, with the regions of FarSLIP."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image as PilImage
from safetensors.torch import load_file
from torch import multiprocessing

from lhrs_chat import samples
from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.models.convert.clip import CONFIG, KEPT_POSITIONS, WEIGHTS
from lhrs_chat.models.scorers import Judged, open_scorer
from lhrs_chat.schema import Box, Image, Message, Sample, Targets
from tests.training.clip_model import one_of_two, small_losses, write_clip
from training import loop
from training.journal import read_journal
from training.objectives import OBJECTIVES
from training.recipe import Recipe, load_recipe
from training.stage import TOLD

STEPS = 20
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (30, 60, 190), "white": (230, 230, 230)}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "model")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of one colour with a patch of another, and what they show."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = []
    for number, (name, other) in enumerate((a, b) for a in COLOURS for b in COLOURS if a != b):
        array = np.zeros((40, 60, 3), dtype=np.uint8) + np.array(COLOURS[name], dtype=np.uint8)
        array[10:30, 10:40] = COLOURS[other]
        PilImage.fromarray(array).save(folder / f"{number}.png")
        boxes = (Box((10.0, 10.0, 40.0, 30.0), "pixel", other), Box((0.0, 0.0, 2.0, 2.0), "pixel", "too small"))
        image = Image(path=f"{number}.png", size_px=(60, 40))
        targets = Targets(captions=(f"a {other} field in a {name} one",), boxes=boxes)
        split = "val" if number % 6 == 5 else "train"
        rows.append(
            Sample(f"row/{number}", (image,), "facts", "made", "CC0", f"s{number}", targets=targets, split=split)
        )
    samples.write(folder / "rows.jsonl", rows)
    return folder


def recipe(name: str, model: Path, data: Path, out: Path, *more: str) -> Recipe:
    small = (
        *("optim.precision=fp32", "optim.batch_images=5", "log_steps=1", "save_steps=20", "data.passes=20"),
        *("data.workers=0", 'optim.lr={".": 3e-4}', "optim.weight_decay=0.01", "clip.box_area_px=[100, 10000]"),
        *(f"optim.max_steps={STEPS}", f"model={model}", "start=null", f"data.folder={data}", f"out={out}"),
    )
    return load_recipe(name, [*small, *more])


def learned(made: Recipe) -> list[float]:
    losses = [entry["loss"] for entry in read_journal(loop.run(made)) if "loss" in entry]
    assert len(losses) == STEPS and np.isfinite(losses).all()
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    return losses


@pytest.mark.parametrize("name", ["clip", "farslip_stage1", "farslip_stage2"])
def test_twenty_steps_and_the_folder_scores(name, model, data, tmp_path):
    made = recipe(name, model, data, tmp_path / "run", "eval_steps=20")
    learned(made)
    row = next(row for row in samples.read(data) if row.split == "train")
    shown = np.asarray(PilImage.open(row.images[0].path))
    caption = row.targets.captions[0]
    scores = [
        open_scorer(str(folder)).score([Judged(caption, images=(shown,))])[0].value for folder in (model, made.out)
    ]
    assert scores[0] != scores[1]
    assert json.loads((made.out / CONFIG).read_text())["preprocess_cfg"]["resize_mode"] == "squash"


def test_stages_run_as_a_curriculum(model, data, tmp_path):
    first = recipe("farslip_stage1", model, data, tmp_path / "one", "optim.max_steps=3")
    loop.run(first)
    second = recipe("farslip_stage2", model, data, tmp_path / "two", "optim.max_steps=1", f"start={first.out}")
    assert (
        OBJECTIVES.get("clip").begin(second).module.model.logit_scale == load_file(first.out / WEIGHTS)["logit_scale"]
    )


def test_captions_alone_are_the_loss_of_open_clip(model, data, tmp_path):
    stage = OBJECTIVES.get("clip").begin(recipe("clip", model, data, tmp_path))
    batch = stage.batch(stage.rows[:5])
    told = batch.pop(TOLD)
    losses = stage.module(**batch)
    own = stage.module.model
    shown, said, scale = own(batch["pixels"], batch["texts"])
    torch.testing.assert_close(losses.sum() / 5, open_clip.ClipLoss()(shown, said, scale))
    assert told.samples == len(losses) == 5


def test_pictures_are_squashed(model, data, tmp_path):
    stage = OBJECTIVES.get("clip").begin(recipe("clip", model, data, tmp_path))
    visit = stage.rows[0]
    transform = open_clip.image_transform(32, is_train=False, mean=[0.5] * 3, std=[0.25] * 3, resize_mode="squash")
    torch.testing.assert_close(stage.batch([visit])["pixels"][0], transform(PilImage.open(visit.pair.file)))


@pytest.mark.parametrize("target", ["shared", "stopgrad", "ema", "frozen"])
def test_who_sees_the_crops(target, model, data, tmp_path):
    own = ("clip.captions=0", "clip.patches=1", f"clip.target={target}", "clip.momentum=0.5")
    made = recipe("clip", model, data, tmp_path / target, *own)
    stage = OBJECTIVES.get("clip").begin(made)
    batch = stage.batch(stage.rows[:3])
    del batch[TOLD]
    batch["regions"].requires_grad_()
    stage.module.train()(**batch).mean().backward()
    assert (batch["regions"].grad is not None and bool(batch["regions"].grad.any())) == (target == "shared")
    first = load_file(model / WEIGHTS)["visual.proj"]
    loop.fit(made, stage)
    if target in ("ema", "frozen"):
        moved = (stage.module.teacher.proj - first).abs().max()
        assert (moved > 0) == (target == "ema")
        assert (stage.module.teacher.proj - stage.module.model.visual.proj).abs().max() > 0
    assert not any(name.startswith("teacher") for name in load_file(made.out / WEIGHTS))


@pytest.mark.parametrize("target", ["shared", "ema"])
def test_a_run_that_was_stopped_goes_on_exactly(target, model, data, tmp_path):
    whole = recipe("farslip_stage1", model, data, tmp_path / "whole", "optim.max_steps=6", f"clip.target={target}")
    loop.run(whole)
    parts = dataclasses.replace(whole, out=tmp_path / "parts")
    loop.run(dataclasses.replace(parts, optim=dataclasses.replace(parts.optim, stop_step=3)))
    loop.run(parts)
    one, other = (load_file(made.out / WEIGHTS) for made in (whole, parts))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_first_positions_of_a_stretched_tower_stay(data, tmp_path):
    stretched = write_clip(tmp_path / "model", **{KEPT_POSITIONS: 12})
    made = recipe("clip", stretched, data, tmp_path / "run", "optim.weight_decay=1")
    loop.run(made)
    before, after = (load_file(folder / WEIGHTS)["positional_embedding"] for folder in (stretched, made.out))
    assert torch.equal(before[:12], after[:12])
    assert not torch.equal(before[12:], after[12:])
    assert json.loads((made.out / CONFIG).read_text())[KEPT_POSITIONS] == 12


def test_regions_lie_where_they_say(model, data, tmp_path):
    stage = OBJECTIVES.get("clip").begin(
        recipe("clip", model, data, tmp_path, "clip.patches=1", "clip.categories=1", "clip.crop_area=[1, 1]")
    )
    batch = stage.batch(stage.rows[:2])
    assert batch["regions"].shape == (8, 3, 32, 32) and batch["image"].tolist() == [0] * 4 + [1] * 4
    assert batch["things"].shape[0] == 2, "boxes of another area are left out"
    wide = batch["places"]
    assert float(wide.min()) >= 0 and float(wide.max()) <= 1
    assert torch.equal(batch["pixels"], stage.batch(stage.rows[:2])["pixels"])
    assert torch.equal(batch["places"], stage.batch(stage.rows[:2])["places"]), "a visit always draws the same"
    assert not torch.equal(batch["places"][:4], batch["places"][4:])


def test_what_does_not_fit_is_named(model, data, tmp_path):
    with pytest.raises(DataError, match="no labelled box"):
        loop.run(recipe("farslip_stage2", model, data, tmp_path / "a", "clip.box_area_px=[1e6, 2e6]"))
    with pytest.raises(ConfigError, match="no CLIP"):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "config.json").write_text("{}")
        loop.run(recipe("clip", tmp_path / "other", data, tmp_path / "b"))
    PilImage.new("RGB", (8, 8)).save(tmp_path / "x.png")
    bare = Sample("bare", (Image(path="x.png"),), "facts", "made", "CC0", "s", (Message.of("user", "what?"),))
    samples.write(tmp_path / "rows.jsonl", [bare])
    with pytest.raises(DataError, match=r"caption\n.*bare"):
        loop.run(recipe("clip", model, tmp_path, tmp_path / "c"))


@pytest.mark.slow
def test_two_processes_are_one_with_all_pictures(model, data, tmp_path):
    """The second process has one labelled region less: what it is filled up with neither attracts nor repels."""
    stage = OBJECTIVES.get("clip").begin(recipe("farslip_stage2", model, data, tmp_path))
    halves = [stage.batch(stage.rows[:2]), stage.batch(stage.rows[2:4])]
    for half in halves:
        del half[TOLD]
    for name in ("things", "categories", "category"):
        halves[1][name] = halves[1][name][:1]
    whole = {name: torch.cat([half[name] for half in halves]) for name in halves[0]}
    losses = small_losses(model)
    loss = losses(**whole).mean()
    loss.backward()
    multiprocessing.spawn(one_of_two, (str(model), halves, str(tmp_path / "grads.pt")), nprocs=2)
    there, grads = torch.load(tmp_path / "grads.pt")
    torch.testing.assert_close(loss.detach(), there)
    for name, tensor in losses.model.named_parameters():
        torch.testing.assert_close(tensor.grad, grads[name], atol=1e-6, rtol=1e-3)
