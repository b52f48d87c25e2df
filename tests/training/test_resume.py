"""A run that is killed, fills the disk or diverges: what is left is whole; going on equals never having stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lhrs_chat import samples
from lhrs_chat.config import dump_yaml
from lhrs_chat.errors import ConfigError, DataError, LhrsError
from lhrs_chat.schema import Image
from tests.training.systems import row, tiny_recipe
from training import loop
from training.checkpoints import checkpoints, whole_or_nothing
from training.journal import read_journal
from training.objectives._next_token import TextObjective

TIMED = {"tokens_per_second", "samples_per_second", "mfu"}
# Dropout, several batches a step, packs, two passes, an evaluation: all that a run has to remember.
FULL = (
    *("lora.dropout=0.1", "optim.batch_images=1", "optim.accumulate=2", "data.pack_tokens=1024", "data.passes=3"),
    *("optim.max_steps=12", "save_steps=3", "log_steps=2", "eval_steps=4", "eval_answers=1", "keep_checkpoints=1"),
)


def curve(out: Path) -> list[dict]:
    return [{name: value for name, value in entry.items() if name not in TIMED} for entry in read_journal(out)]


def same_weights(one: Path, other: Path) -> bool:
    files = [path.name for path in sorted(one.glob("*.safetensors"))]
    assert len(files) == 2
    pairs = [(load_file(one / name), load_file(other / name)) for name in files]
    return all(a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in pairs)


def start(recipe, log) -> subprocess.Popen:
    file = recipe.out.with_suffix(".run.yaml")
    file.write_text(dump_yaml(recipe))
    return subprocess.Popen(
        [sys.executable, "-m", "training", str(file)], stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def test_killed_run_goes_on_as_if_nothing_had_been(tiny_model, mixed, tmp_path):
    """SIGKILL behind a random step that is logged, and again in the second run, in processes of their own."""
    whole = tiny_recipe(tiny_model, mixed, tmp_path / "whole", *FULL)
    cut = tiny_recipe(tiny_model, mixed, tmp_path / "cut", *FULL)
    with (tmp_path / "log").open("wb") as log:
        undisturbed = start(whole, log)
        killed = start(cut, log)
        lines = int(np.random.default_rng().integers(2, 8))
        journal = cut.out / "loss.jsonl"
        while killed.poll() is None and (not journal.exists() or len(journal.read_bytes().splitlines()) < lines):
            time.sleep(0.002)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        assert not (cut.out / "finished.json").exists()
        assert start(cut, log).wait() == 0
        assert undisturbed.wait() == 0
    said = (tmp_path / "log").read_text()
    assert "tokenised before, reused from" in said
    assert curve(cut.out) == curve(whole.out)
    assert [entry["step"] for entry in curve(cut.out)] == sorted(entry["step"] for entry in curve(cut.out))
    assert same_weights(cut.out, whole.out)
    assert json.loads((cut.out / "finished.json").read_text())["steps"] == 12


def test_every_checkpoint_says_what_it_was_made_from(tiny_model, mixed, tmp_path):
    out = loop.run(tiny_recipe(tiny_model, mixed, tmp_path / "run", "save_steps=2"))
    for folder in (*checkpoints(out), out):
        told = json.loads((folder / "provenance.json").read_text())
        assert {"torch", "transformers", "peft", "lhrs_chat", "python"} <= set(told["versions"])
        assert set(told["data"]) == {"rows.jsonl"}
        assert len(told["data"]["rows.jsonl"]) == 64
        assert "rank: 2" in (folder / "recipe.yaml").read_text()
    assert [path.name for path in checkpoints(out)] == ["checkpoint-2", "checkpoint-4"]


def test_half_written_checkpoint_is_not_gone_on_from(tiny_model, mixed, tmp_path):
    more = ("save_steps=2", "optim.max_steps=4")
    out = loop.run(tiny_recipe(tiny_model, mixed, tmp_path / "run", *more))
    before = curve(out)
    (out / "checkpoint-4").rename(out / ".checkpoint-4.part")
    (out / ".checkpoint-4.part" / "trained.safetensors").write_bytes(b"half")
    (out / "bridge.safetensors").unlink()
    assert loop.run(tiny_recipe(tiny_model, mixed, tmp_path / "run", *more)) == out
    assert curve(out) == before
    assert sorted(path.name for path in out.glob("*checkpoint*")) == ["checkpoint-2", "checkpoint-4"]


def test_last_and_best_checkpoints_are_kept(tiny_model, learnable, tmp_path):
    """What is held out is the opposite of what is learned, so that it soon gets worse."""
    file = learnable / "0.png"
    opposite = {"train": "a" * 30, "val": "z" * 30}
    rows = [
        dataclasses.replace(row(f"{split}/{n}", (("what is it", said),), None), split=split)
        for split, said in opposite.items()
        for n in range(4)
    ]
    shown = dataclasses.replace(row("train/4", (("what is it", "a" * 30),), file), images=(Image(path=str(file)),))
    data = tmp_path / "data"
    data.mkdir()
    samples.write(data / "rows.jsonl", [*rows, shown])
    more = ("optim.max_steps=10", "eval_steps=1", "save_steps=4", "keep_checkpoints=1", "data.passes=8")
    recipe = tiny_recipe(tiny_model, data, tmp_path / "run", *more, "write=best", "eval_answers=2")
    out = loop.run(recipe)
    held_out = {entry["step"]: entry["eval_loss"] for entry in read_journal(out) if "eval_loss" in entry}
    best = min(held_out, key=lambda step: held_out[step])
    assert best < 10
    assert {path.name for path in checkpoints(out)} == {f"checkpoint-{best}", "checkpoint-10"}
    kept = load_file(out / f"checkpoint-{best}" / "trained.safetensors")
    written = load_file(out / "bridge.safetensors")
    for name, tensor in written.items():
        assert torch.equal(tensor, kept[f"model.bridge.{name}"])
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 20
    assert {answer["id"].split("/")[0] for answer in answers} == {"val"}
    assert all(answer["wanted"] and "what is" in answer["prompt"] for answer in answers)


def test_rows_or_order_that_changed_are_not_gone_on_with(tiny_model, mixed, tmp_path):
    out = tmp_path / "run"
    data = tmp_path / "data"
    data.mkdir()
    rows = (mixed / "rows.jsonl").read_text().splitlines(keepends=True)
    (data / "rows.jsonl").write_text("".join(rows))
    loop.run(tiny_recipe(tiny_model, data, out, "save_steps=2"))
    with pytest.raises(ConfigError, match=r"order of rows differs(.|\n)*optim.accumulate=2, was 1"):
        loop.run(tiny_recipe(tiny_model, data, out, "save_steps=2", "optim.accumulate=2"))
    (data / "rows.jsonl").write_text("".join(rows[1:]))
    with pytest.raises(DataError, match=r"has changed since(.|\n)*rows.jsonl"):
        loop.run(tiny_recipe(tiny_model, data, out, "save_steps=2"))


@pytest.mark.parametrize("step", [2, 4])
def test_full_disk_leaves_the_last_good_checkpoint(tiny_model, mixed, tmp_path, step):
    """No file may grow beyond a limit from a step on."""
    recipe = tiny_recipe(tiny_model, mixed, tmp_path / "run", "save_steps=2", "keep_checkpoints=1")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    real = whole_or_nothing

    def fills_up(folder):
        if folder.name == f"checkpoint-{step}":
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        return real(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.trainer.whole_or_nothing", fills_up)
        try:
            with pytest.raises(LhrsError, match=rf"checkpoint-{step} could not be written") as caught:
                loop.run(recipe)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    left = [path.name for path in sorted(recipe.out.glob("*checkpoint*"))]
    assert left == (["checkpoint-2"] if step == 4 else [])
    assert ("goes on from checkpoint-2" if step == 4 else "no checkpoint yet") in str(caught.value)
    assert loop.run(recipe) == recipe.out
    assert len(read_journal(recipe.out)) == 4


@pytest.mark.parametrize("spoiled", ["loss", "gradient"])
def test_loss_that_is_no_number_stops_the_run(tiny_model, mixed, tmp_path, monkeypatch, spoiled):
    recipe = tiny_recipe(tiny_model, mixed, tmp_path / "run", "save_steps=1", "optim.max_steps=6")
    forward = TextObjective.forward
    calls = []

    def broken(self, *args, **inputs):
        calls.append(1)
        losses = forward(self, *args, **inputs)
        if len(calls) != 4:
            return losses
        if spoiled == "gradient":
            losses.register_hook(lambda gradient: gradient * float("nan"))
            return losses
        return losses * float("inf")

    monkeypatch.setattr(TextObjective, "forward", broken)
    with pytest.raises(LhrsError, match=rf"the {spoiled} is no finite number at step 4") as caught:
        loop.run(recipe)
    assert "checkpoint-3" in str(caught.value)
    assert ("train/" in str(caught.value)) == (spoiled == "loss")
    kept = load_file(recipe.out / "checkpoint-3" / "trained.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert not (recipe.out / "bridge.safetensors").exists()
