"""Stages 1, 2 and 3 of LHRS-Bot and LHRS-Bot-Nova on tiny parts: who learns, from what, and what is left behind."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lhrs_chat import presets
from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models import weights
from lhrs_chat.models.assemble import put_trained
from tests import checkpoints, tiny
from tests.training.systems import SYSTEMS, TRAINED, TinySystem
from training import export, loop, start
from training.journal import read_journal
from training.objectives._next_token import TextObjective
from training.recipe import Recipe, load_recipe
from training.schedule import rate
from training.start import prepare

NEVER_RUN = r"^encoder\.tower\.(post_layernorm|head)\."
MIXED = ("optim.batch_images=1", "optim.accumulate=2", "optim.max_steps=6", "save_steps=3")


@dataclass(frozen=True)
class Stage:
    """A stage that ran: its recipe, the model before and after, and what was logged."""

    recipe: Recipe
    before: dict[str, torch.Tensor]
    model: Any
    logged: list[dict[str, float]]

    @property
    def after(self) -> dict[str, torch.Tensor]:
        return self.model.state_dict()

    @property
    def losses(self) -> list[float]:
        return [float(entry["loss"]) for entry in self.logged]

    @property
    def changed(self) -> set[str]:
        return {name for name, tensor in self.after.items() if not torch.equal(tensor, self.before[name])}


def recipe_of(system: TinySystem, stage: int, data: Path, out: Path, *more: str) -> Recipe:
    return load_recipe(f"{system.recipe}_stage{stage}", system.small(stage, data, out, *more))


def run(recipe: Recipe) -> Stage:
    model, processor = prepare(recipe)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "prepare", lambda same: (model, processor))
        loop.run(recipe)
    return Stage(recipe, before, model.eval(), read_journal(recipe.out))


@pytest.fixture(scope="module")
def all_stages(shelf, learnable, tmp_path_factory) -> dict[str, tuple[Stage, ...]]:
    """Every recipe of both systems, run one after the other."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "FOLDER", shelf / "presets")
        for name in SYSTEMS:
            system, out = TinySystem(name, shelf / name), tmp_path_factory.mktemp(name)
            made[name] = tuple(run(recipe_of(system, stage, learnable, out)) for stage in (1, 2, 3))
    return made


@pytest.fixture
def stages(system, all_stages) -> tuple[Stage, ...]:
    return all_stages[system.preset]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_loss_falls_on_what_is_learned_by_heart(stages, number):
    losses = stages[number - 1].losses
    assert len(losses) == 20
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


@pytest.mark.parametrize("number", [1, 2, 3])
def test_exactly_the_named_parts_change(system, stages, number):
    parts = TRAINED[system.preset][number - 1]
    stage = stages[number - 1]
    named = {name for name in stage.after if any(re.search(part, name) for part in parts)}
    assert stage.changed == {name for name in named if not re.search(NEVER_RUN, name)} - unused(stage, named)
    trainable = {name for name, tensor in stage.model.named_parameters() if tensor.requires_grad}
    assert trainable == named


def unused(stage: Stage, named: set[str]) -> set[str]:
    """Tensors that get no gradient: CLIP's layer behind the last tap, and a bias that the softmax of keys cancels."""
    deepest = max(stage.model.encoder.taps)
    behind = {name for name in named if (m := re.search(r"^encoder.*\.layers\.(\d+)\.", name)) and int(m[1]) >= deepest}
    still = {name for name in named - behind if torch.equal(stage.before[name], stage.after[name])}
    assert all(name.endswith("k_proj.bias") for name in still if not re.search(NEVER_RUN, name)), still
    return behind | still


def test_stage_1_begins_with_the_published_parts_as_they_are(system, stages):
    tower, llm = (load_file(system.parts / part / "model.safetensors") for part in ("tower", "llm"))
    seen = {name: tensor for name, tensor in stages[0].before.items() if not name.startswith("bridge.")}
    assert {name.split(".")[0] for name in seen} == {"encoder", "language_model"}
    for name, tensor in seen.items():
        inner = name.removeprefix("language_model.")
        published = tower[name.replace("encoder.tower.", "vision_model.", 1)] if inner == name else llm[inner]
        assert torch.equal(tensor, published), name


def test_stage_1_teaches_the_bridge_that_the_recipe_names(system, stages):
    dense = any(".mlp.c_fc." in name for name in stages[0].after)
    experts = any(".experts." in name for name in stages[0].after)
    assert dense and not experts
    assert any(".experts." in name for name in stages[1].after) == (system.preset == "lhrs-bot-nova")


def test_stage_2_starts_from_stage_1(system, stages):
    one, two = stages[0].after, stages[1].before
    kept = {name for name in one if name.startswith(("encoder.", "bridge.")) and ".mlp." not in name}
    assert all(torch.equal(one[name], two[name]) for name in kept)
    if system.preset == "lhrs-bot":
        assert all(torch.equal(one[name], two[name]) for name in one if name.startswith("bridge."))
        return
    below = "bridge.layers.0.mlp."
    for expert in range(4):
        copy = {kind: two[f"{below}calculator.experts.{kind}.{expert}"] for kind in ("weight_up", "bias_up")}
        assert torch.equal(copy["weight_up"], one[f"{below}c_fc.weight"])
        assert torch.equal(copy["bias_up"], one[f"{below}c_fc.bias"])
        assert torch.equal(two[f"{below}calculator.experts.weight_down.{expert}"], one[f"{below}c_proj.weight"].mT)


def test_stage_3_starts_from_stage_2_with_its_adapter(stages):
    two, three = stages[1].after, stages[2].before
    assert two.keys() == three.keys()
    assert all(torch.equal(tensor, three[name]) for name, tensor in two.items())
    adapter = json.loads((stages[2].recipe.out / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (4, 8, 0.05)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_learning_rates_are_those_of_the_schedule(stages, number):
    stage = stages[number - 1]
    peak = next(iter(stage.recipe.optim.lr.values()))
    logged = [float(entry["learning_rate"]) for entry in stage.logged]
    assert logged == pytest.approx([rate(peak, step, 20, stage.recipe.optim) for step in range(20)], rel=1e-9)


def logits_of(model, processor, system: TinySystem) -> torch.Tensor:
    inputs = processor(text="<image>\na river", images=[tiny.picture(1)])
    with torch.inference_mode():
        return model.eval()(**inputs).logits


def test_parts_open_again_over_the_published_ones(system, stages):
    last = stages[2]
    model, processor = prepare(dataclasses.replace(stages[0].recipe, bridge_form=last.recipe.bridge_form))
    put_trained(model, last.recipe.out)
    wanted = logits_of(last.model, processor, system)
    torch.testing.assert_close(logits_of(model, processor, system), wanted, atol=1e-4, rtol=0)
    again, _ = prepare(dataclasses.replace(last.recipe, start=last.recipe.out))
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in last.after.items())


def test_published_presets_take_no_trained_parts(stages, capsys):
    assert export.main([str(stages[2].recipe.out)]) == 2
    assert "--model OUT" in capsys.readouterr().err


@pytest.mark.parametrize("number", [1, 3])
def test_whole_model_opens_like_any_other(system, stages, number, tmp_path):
    stage = stages[number - 1]
    assert export.main([str(stage.recipe.out), "--model", str(tmp_path / "model")]) == 0
    loaded = weights.load(tmp_path / "model")
    assert loaded.model.config.bridge.get("dense", False) == (number == 1 and system.preset == "lhrs-bot-nova")
    wanted = logits_of(stage.model, loaded.processor, system)
    torch.testing.assert_close(logits_of(loaded.model, loaded.processor, system), wanted, atol=1e-4, rtol=0)
    assert export.main([str(stage.recipe.out), "--model", str(tmp_path / "model")]) == 2


def test_whole_model_is_a_start_as_well(system, stages, learnable, tmp_path):
    """Stage 2 from the folder of a whole model: the same bridge, up-cycled where it was dense."""
    folder = export.export_model(stages[0].recipe.out, tmp_path / "model")
    settings = [f"model={folder}", "start=null", "parts.language_model=null", "parts.encoder=null"]
    model, _ = prepare(recipe_of(system, 2, learnable, tmp_path, *settings))
    wanted = {name: tensor for name, tensor in stages[1].before.items() if ".gate." not in name and "lora_" not in name}
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in wanted.items())


def test_resumed_run_equals_undisturbed_run(system, stages, learnable, tmp_path, monkeypatch):
    """With dropout and gate noise, in the middle of a pass, with accumulated batches."""
    batches = []
    forward = TextObjective.forward
    monkeypatch.setattr(TextObjective, "forward", lambda *args, **inputs: batches.append(1) or forward(*args, **inputs))
    start = f"start={stages[0].recipe.out}"
    whole = run(recipe_of(system, 2, learnable, tmp_path / "whole", start, *MIXED))
    shutil.copytree(whole.recipe.out / "checkpoint-3", tmp_path / "cut/stage2/checkpoint-3")
    assert len(batches) == 12
    cut = run(recipe_of(system, 2, learnable, tmp_path / "cut", start, *MIXED))
    assert len(batches) == 12 + 6
    assert cut.losses == whole.losses
    assert len(cut.losses) == 6
    assert all(torch.equal(tensor, cut.after[name]) for name, tensor in whole.after.items())
    for name in ("bridge.safetensors", "adapter_model.safetensors"):
        one, other = (load_file(stage.recipe.out / name) for stage in (whole, cut))
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("system", ["lhrs-bot-nova"], indirect=True)
def test_recomputed_layers_give_the_same_run(system, stages, learnable, tmp_path):
    off = recipe_of(system, 1, learnable, tmp_path, "optim.gradient_checkpointing=false")
    assert run(off).losses == pytest.approx(stages[0].losses, abs=1e-5)
    assert stages[0].recipe.optim.gradient_checkpointing


@pytest.mark.parametrize("system", ["lhrs-bot"], indirect=True)
def test_pictures_read_by_other_processes_are_the_same(system, stages, learnable, tmp_path, caplog):
    caplog.set_level("INFO")
    stage = run(recipe_of(system, 1, learnable, tmp_path, "data.workers=1", "optim.max_steps=20", "optim.stop_step=1"))
    assert stage.losses == stages[0].losses[:1]
    assert "trained: bridge" in caplog.text
    assert "trained: encoder" not in caplog.text


@pytest.mark.parametrize("system", ["lhrs-bot"], indirect=True)
def test_kept_features_stand_for_the_frozen_encoder(system, stages, learnable, tmp_path):
    kept = ("data.cache_features=true", "optim.max_steps=3", "lora.dropout=0", f"start={stages[0].recipe.out}")
    with_cache = run(recipe_of(system, 2, learnable, tmp_path / "kept", *kept))
    without = run(recipe_of(system, 2, learnable, tmp_path / "pixels", *kept[1:]))
    assert with_cache.losses == pytest.approx(without.losses, abs=0.02)
    assert (learnable / "talks/features").is_dir()


@pytest.mark.parametrize("system", ["lhrs-bot-nova"], indirect=True)
def test_bfloat16_holds_what_is_frozen_and_trains_in_float32(system, stages, learnable, tmp_path):
    settings = ("optim.precision=bf16", "optim.max_steps=3", f"start={stages[0].recipe.out}")
    stage = run(recipe_of(system, 2, learnable, tmp_path, *settings))
    types = {(tensor.dtype, tensor.requires_grad) for tensor in stage.model.language_model.parameters()}
    assert types == {(torch.bfloat16, False), (torch.float32, True)}
    assert stage.losses == pytest.approx(stages[1].losses[:3], rel=0.1)
    assert all(tensor.dtype == torch.float32 for tensor in load_file(stage.recipe.out / "bridge.safetensors").values())


# --- a converted checkpoint -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYSTEMS)
def test_adapter_of_a_converted_checkpoint_goes_on(name, learnable, tmp_path):
    from lhrs_chat.cli import main

    published = checkpoints.recorded(name, tmp_path / "published")
    assert main(published.words(tmp_path / "model", "--adapter", "keep")) == 0
    settings = ("start=null", "parts.language_model=null", "parts.encoder=null", f"model={tmp_path / 'model'}")
    system = TinySystem(name, tmp_path)
    with pytest.raises(ConfigError, match="has an adapter, which would be lost"):
        prepare(recipe_of(system, 2, learnable, tmp_path, *settings))
    stage = run(recipe_of(system, 3, learnable, tmp_path, *settings, "optim.max_steps=1", "optim.batch_images=1"))
    stored = load_file(tmp_path / "model" / "adapter_model.safetensors")
    began = {name: tensor for name, tensor in stage.before.items() if "lora_" in name}
    assert len(began) == len(stored)
    for key, tensor in stored.items():
        ours = key.replace("base_model.model.language_model.", "language_model.base_model.model.")
        assert torch.equal(began[re.sub(r"(lora_[AB])\.", r"\1.default.", ours)], tensor)
    assert {"lora_A", "lora_B"} <= {part for name in stage.changed for part in name.split(".")}


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(system: TinySystem, stage: int, data: Path, out: Path, *more: str) -> str:
    with pytest.raises((ConfigError, WeightsError)) as caught:
        loop.run(recipe_of(system, stage, data, out, *more))
    assert not list(out.glob("stage*/checkpoint-*"))
    return str(caught.value)


def test_patterns_that_name_nothing_are_refused(system, learnable, tmp_path):
    said = refused(system, 1, learnable, tmp_path, "optim.lr.bridg3=1e-2")
    assert "fits no parameter" in said
    assert "bridg3" in said
    assert "bridge.query" in said
    assert "where the recipe has lora" in refused(system, 1, learnable, tmp_path, "optim.lr.lora=1e-2")
    assert "regular expression" in refused(system, 1, learnable, tmp_path, 'optim.lr={"*.query": 1e-2}')
    assert "nothing is trained" in refused(system, 1, learnable, tmp_path, 'optim.lr={"bridge": 0}')


def test_start_folders_without_what_is_needed_are_refused(system, stages, learnable, tmp_path):
    assert "has not left its bridge" in refused(system, 2, learnable, tmp_path)
    one = f"start={stages[0].recipe.out}"
    assert "continues an adapter that is not there" in refused(system, 3, learnable, tmp_path, one)
    two = f"start={stages[1].recipe.out}"
    assert "would be lost" in refused(system, 2, learnable, tmp_path, two)
    broken = tmp_path / "broken"
    shutil.copytree(stages[1].recipe.out, broken, ignore=shutil.ignore_patterns("checkpoint-*"))
    checkpoints.rewrite(broken / "adapter_model.safetensors", lambda tensors: dict(list(tensors.items())[1:]))
    assert "missing: " in refused(system, 3, learnable, tmp_path, f"start={broken}")


def test_parts_that_are_no_parts_are_refused(system, learnable, tmp_path):
    said = refused(system, 1, learnable, tmp_path, f"parts.encoder={system.parts / 'llm'}")
    assert "other sizes than the preset" in said
    said = refused(system, 1, learnable, tmp_path, f"model={system.parts / 'llm'}")
    assert "brings its own parts" in said
    settings = ("parts.language_model=null", "parts.encoder=null", f"model={system.parts / 'llm'}")
    assert "in the form of this project" in refused(system, 1, learnable, tmp_path, *settings)


def test_combinations_that_do_not_work_are_refused(system, stages, learnable, tmp_path):
    if system.preset == "lhrs-bot":
        assert "only the bridge moe_attn_pooler" in refused(system, 1, learnable, tmp_path, "bridge_form=moe")
    else:
        said = refused(system, 1, learnable, tmp_path, f"start={stages[1].recipe.out}", "lora=continue")
        assert "cannot become dense" in said
    said = refused(system, 1, learnable, tmp_path, 'optim.lr."^encoder"=1e-2', "data.cache_features=true")
    assert "frozen encoder only" in said
    assert "would rise to min_lr" in refused(system, 1, learnable, tmp_path, "optim.lr.bridge=1e-4")
    assert "only of the schedule cosine_to_min" in refused(system, 1, learnable, tmp_path, "optim.schedule=linear")
    if not torch.cuda.is_available():
        assert "needs a GPU" in refused(system, 1, learnable, tmp_path, "optim.precision=fp16")
