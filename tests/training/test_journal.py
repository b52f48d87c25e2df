"""What a run leaves to be read: loss.jsonl, loss.png, TensorBoard, speed; and the card of what was exported."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image as PilImage

from lhrs_chat.models import weights
from tests.training.systems import tiny_recipe
from training import export, loop, meter, start
from training.arguments import trackers
from training.journal import EVAL_COLOUR, TRAIN_COLOUR, draw, read_journal
from training.stage import Told


@pytest.fixture(scope="module")
def run(tiny_model, mixed, tmp_path_factory):
    more = ("lora.dora=true", "eval_steps=2", "eval_answers=2", "data.pack_tokens=1024", "optim.batch_images=2")
    return loop.run(tiny_recipe(tiny_model, mixed, tmp_path_factory.mktemp("journal") / "run", *more))


def test_every_line_has_speed_padding_and_the_loss_of_each_source(run):
    lines = [entry for entry in read_journal(run) if "loss" in entry]
    assert [entry["step"] for entry in lines] == [1, 2, 3, 4]
    for entry in lines:
        assert entry["tokens_per_second"] > entry["samples_per_second"] > 0
        assert 0 <= entry["padding"] < 0.2
        assert 0 < entry["mfu"] < 1
        assert entry["learning_rate"] == 0.01
    assert lines[-1]["tokens"] > lines[0]["tokens"] > 0
    held_out = [entry for entry in read_journal(run) if "eval_loss" in entry]
    assert [entry["step"] for entry in held_out] == [2, 4]
    assert held_out[1]["eval_loss"] < held_out[0]["eval_loss"]
    assert {name for name in held_out[0] if name.startswith("eval_loss/")} <= {"eval_loss/long", "eval_loss/short"}


def test_losses_are_drawn(run, tmp_path):
    assert {TRAIN_COLOUR, EVAL_COLOUR} <= colours(run / "loss.png")
    draw([{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}], tmp_path / "one.png")
    assert EVAL_COLOUR not in colours(tmp_path / "one.png")
    draw([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def colours(file):
    with PilImage.open(file) as picture:
        pixels = np.unique(np.asarray(picture).reshape(-1, 3), axis=0)
    return {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in pixels}


def test_tensorboard_is_used_where_it_is_installed(tiny_model, mixed, tmp_path, monkeypatch):
    recipe = tiny_recipe(tiny_model, mixed, tmp_path / "run", "trackers=[wandb]")
    monkeypatch.setattr("training.arguments.find_spec", lambda name: object())
    assert trackers(recipe) == ["tensorboard", "wandb"]
    monkeypatch.setattr("training.arguments.find_spec", lambda name: None if name == "tensorboard" else object())
    assert trackers(recipe) == ["wandb"]


def test_peak_of_the_machine_is_measured_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path))
    measured = []
    real = meter.measure_gemm
    monkeypatch.setattr(meter, "measure_gemm", lambda *args: measured.append(args) or real(*args))
    first = meter.gemm_peak(torch.float32)
    assert first > 1e8
    assert meter.gemm_peak(torch.float32) == first
    assert len(measured) == 1


def test_meter_counts_between_two_lines(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(meter.time, "perf_counter", lambda: now[0])
    counted = meter.Meter(("a", "b"), flops_per_token=10, peak_flops=1000)
    counted.add(Told(("1",), torch.tensor([0, 0, 1]), 80, 100, 4), torch.tensor([1.0, 3.0, 5.0]))
    now[0] = 2.0
    assert counted.read() == {
        "tokens_per_second": 40,
        "samples_per_second": 2,
        "padding": pytest.approx(0.2),
        "mfu": pytest.approx(0.4),
        "loss/a": 2,
        "loss/b": 5,
    }
    now[0] = 3.0
    assert counted.read()["tokens_per_second"] == 0


# --- export ----------------------------------------------------------------------------------------------------------

SCORES = {
    "run": {"benchmark": "nano_probe", "weights_sha256": "ab12"},
    "rows": [
        {
            **{"protocol": "strict-1", "subset": "rsscn7", "task": "scene_class", "metric": "accuracy", "main": True},
            "conditions": {"real": {"mean": 0.75, "stderr": 0.05, "questions": 40}},
        }
    ],
}


def test_exported_model_has_a_card_of_recipe_and_scores(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "scores.json").write_text(json.dumps(SCORES))
    words = [str(run), "--model", str(tmp_path / "mine"), "--scores", str(tmp_path / "scores.json")]
    sent = []

    class Hub:
        def create_repo(self, repo, **settings):
            sent.append((repo, settings["private"]))
            return f"https://hub/{repo}"

        def upload_folder(self, repo_id, folder_path):
            sent.append((repo_id, sorted(path.name for path in folder_path.iterdir())))

    monkeypatch.setattr(export, "HfApi", Hub)
    assert export.main([*words, "--push", "me/mine"]) == 0
    card = (tmp_path / "mine" / "README.md").read_text()
    for said in ("# mine", "| run | chat |", "dora: true", "rows.jsonl` SHA-256", "0.750 ± 0.050", "torch 2."):
        assert said in card
    assert sent[0] == ("me/mine", True)
    assert {"README.md", "model.safetensors", "weights.json"} <= set(sent[1][1])
    assert not isinstance(weights.load(tmp_path / "mine").model.language_model, PeftModel)
    with pytest.raises(SystemExit):
        export.main([str(run), "--push", "me/mine"])


def test_push_that_fails_keeps_the_model(run, tmp_path, monkeypatch, capsys):
    class Hub:
        def create_repo(self, repo, **settings):
            raise OSError("no network")

    monkeypatch.setattr(export, "HfApi", Hub)
    assert export.main([str(run), "--model", str(tmp_path / "mine"), "--push", "me/mine"]) == 2
    assert "could not be uploaded" in capsys.readouterr().err
    assert (tmp_path / "mine" / "model.safetensors").is_file()


def test_scores_that_are_none_are_refused(run, tmp_path, capsys):
    (tmp_path / "scores.json").write_text("[]")
    assert export.main([str(run), "--model", str(tmp_path / "mine"), "--scores", str(tmp_path / "scores.json")]) == 2
    assert "no scores of an evaluation" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_exported_model_speaks_as_the_trained_one(run, tmp_path, tiny_model, mixed):
    """DoRA is merged into the weights."""
    from training.recipe import load_recipe

    recipe = load_recipe(str(run / "recipe.yaml"), [f"start={run}", "lora=continue"])
    model, processor = start.prepare(recipe)
    folder = export.export_model(run, tmp_path / "mine")
    ids = torch.tensor([processor.encode("what is a river")])
    with torch.no_grad():
        wanted = model.eval()(input_ids=ids).logits
        found = weights.load(folder).model(input_ids=ids).logits
    assert any("magnitude" in name for name, _ in model.named_parameters())
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
