"""A step is the same however it is cut into batches: every learned token weighs the same."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests.training.systems import tiny_recipe
from training import loop
from training.journal import read_journal

CUTS = {"4x1": (4, 1), "2x2": (2, 2), "1x4": (1, 4)}


@pytest.fixture(scope="module")
def runs(tiny_model, mixed, tmp_path_factory):
    out = tmp_path_factory.mktemp("cuts")
    made = {}
    for name, (batch, accumulate) in CUTS.items():
        cut = (f"optim.batch_images={batch}", f"optim.accumulate={accumulate}", "optim.weight_decay=0")
        made[name] = loop.run(tiny_recipe(tiny_model, mixed, out / name, *cut, "optim.eps=1e-3"))
    return made


@pytest.mark.parametrize("name", ["2x2", "1x4"])
def test_cut_steps_are_the_same(runs, name):
    whole, cut = (read_journal(runs[each]) for each in ("4x1", name))
    assert [entry["loss"] for entry in cut] == pytest.approx([entry["loss"] for entry in whole], rel=1e-5)
    assert [entry["grad_norm"] for entry in cut] == pytest.approx([entry["grad_norm"] for entry in whole], rel=1e-3)
    assert [entry["tokens"] for entry in cut] == [entry["tokens"] for entry in whole]
    for file in ("bridge.safetensors", "adapter_model.safetensors"):
        one, other = (load_file(runs[each] / file) for each in ("4x1", name))
        for key, tensor in one.items():
            torch.testing.assert_close(other[key], tensor, atol=1e-4, rtol=1e-3)


def test_the_mean_of_means_would_differ(runs, tiny_model, mixed, tmp_path):
    """The rows are of such different lengths that weighing batches instead of tokens shows."""
    recipe = tiny_recipe(tiny_model, mixed, tmp_path / "run", "optim.batch_images=1")
    from training.objectives import OBJECTIVES
    from training.stage import TOLD

    stage = OBJECTIVES.get("chat").begin(recipe)
    with torch.no_grad():
        losses = []
        for row in stage.rows[:4]:
            batch = stage.batch([row])
            batch.pop(TOLD)
            losses.append(stage.module.eval()(**batch))
    tokens, batches = torch.cat(losses).mean(), torch.stack([each.mean() for each in losses]).mean()
    assert abs(float(tokens - batches)) > 1e-3


def test_loss_is_told_by_source(runs):
    for entry in read_journal(runs["4x1"]):
        parts = {name: value for name, value in entry.items() if name.startswith("loss/")}
        assert parts
        assert set(parts) <= {"loss/long", "loss/short"}
        assert min(parts.values()) - 1e-4 <= entry["loss"] <= max(parts.values()) + 1e-4
    assert {name for entry in read_journal(runs["4x1"]) for name in entry if name.startswith("loss/")} == {
        "loss/long",
        "loss/short",
    }
