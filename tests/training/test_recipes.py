"""Every shipped recipe against the published table; schedule, groups and rates against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lhrs_chat.errors import ConfigError
from lhrs_chat.presets import preset_names
from training import curriculum
from training.optimizer import adamw, choose
from training.recipe import LoraPart, OptimPart, load_recipe, recipe_names
from training.schedule import cosine_to_min, rate
from training.systems import FOLDER as systems_folder
from training.systems import load_system

R128 = LoraPart(rank=128, alpha=256, dropout=0.05)
# objective, rates, min_lr, warm-up (steps, start), decay, clip, rows a step, steps, eps, LoRA, bridge
PUBLISHED = {
    "lhrs_bot_stage1": ("plain", {"bridge": 2e-4}, 2e-5, (300, 0.1), 0, 0.3, 64, -1, 1e-8, None, None),
    "lhrs_bot_stage2": ("chat", {"bridge": 2e-4, "lora": 2e-4}, 8e-5, (100, 0.01), 0, 1, 32, -1, 1e-8, R128, None),
    "lhrs_bot_stage3": ("chat", {"lora": 1e-4}, 8e-5, (100, 0.01), 0, 1, 32, 1200, 1e-8, "continue", None),
    "lhrs_bot_nova_stage1": (
        *("plain", {"bridge": 2e-4, "^encoder": 2e-5}, 2e-5, (300, 0.1), 0, 1, 128, -1, 1e-6, None, "dense"),
    ),
    "lhrs_bot_nova_stage2": (
        *("chat", {"bridge": 1e-4, "lora": 1e-4}, 2e-5, (100, 0.1), 0.01, 1, 64, -1, 1e-6, R128, "moe"),
    ),
    "lhrs_bot_nova_stage3": (
        *("chat", {"bridge": 1e-4, "lora": 1e-4}, 2e-5, (1, 0.1), 0.01, 1, 64, -1, 1e-6, "continue", "moe"),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name):
    recipe = load_recipe(name, [])
    optim = recipe.optim
    found = (
        recipe.objective,
        optim.lr,
        optim.min_lr,
        (optim.warmup_steps, optim.warmup_start),
        optim.weight_decay,
        optim.clip_norm,
        optim.batch_images * optim.accumulate,
        optim.max_steps,
        optim.eps,
        recipe.lora,
        recipe.bridge_form,
    )
    assert found == PUBLISHED[name]
    assert (optim.schedule, optim.betas, recipe.seed) == ("cosine_to_min", (0.9, 0.95), 322)
    assert optim.gradient_checkpointing
    assert optim.decay_all == (optim.weight_decay > 0)


def test_every_recipe_is_of_a_system_and_follows_the_stage_before():
    names = recipe_names()
    assert set(PUBLISHED) < set(names)
    recipes = {recipe.out: recipe for name in names for recipe in curriculum.load(name, [])}
    systems = {path.stem for path in systems_folder.glob("*.yaml")} | set(preset_names())
    foreign = {""}  # a CLIP, or a model of transformers
    named = {recipe.preset for recipe in recipes.values()}
    assert {"skyeyegpt", "geochat", "lhrs-nano"} <= named <= systems | foreign
    for recipe in recipes.values():
        assert recipe.start is None or recipe.start in recipes
        assert recipe.start is None or recipes[recipe.start].preset == recipe.preset
        assert recipe.preset in foreign or load_system(recipe.preset).name == recipe.preset


def test_geochat_and_skyeyegpt_are_as_published():
    geochat, one, two = (load_recipe(name, []) for name in ("geochat_lora", "skyeyegpt_stage1", "skyeyegpt_stage2"))
    assert geochat.lora == one.lora == LoraPart(rank=64, alpha=16, dropout=0.05)
    assert geochat.optim.lr == {"bridge": 2e-4, "lora": 2e-4}
    assert (geochat.optim.schedule, geochat.optim.warmup_share, geochat.optim.weight_decay) == ("cosine", 0.03, 0)
    assert geochat.optim.batch_images * geochat.optim.accumulate == 32
    assert load_system("geochat").dialect == "angles100_turned"
    assert load_system("skyeyegpt").bridge == {"name": "linear"}
    assert load_system("skyeyegpt").lora.targets == ("q_proj", "v_proj")
    assert (one.optim.lr["lora"], one.optim.min_lr, one.optim.warmup_steps) == (1e-5, 1e-6, 1000)
    assert one.data.task_tags["refer"] == "[refer]"
    assert (two.lora, two.start, two.optim) == ("continue", one.out, one.optim)


OPTIM = OptimPart({"a": 2e-4}, 1, schedule="cosine_to_min", min_lr=2e-5, warmup_steps=30, warmup_start=0.1)


def test_schedule_is_the_closed_formula():
    for step in range(100):
        cosine = 2e-5 + (2e-4 - 2e-5) * 0.5 * (1 + math.cos(math.pi * step / 100))
        warm = 0.1 + 0.9 * step / 30 if step < 30 else 1.0
        assert rate(2e-4, step, 100, OPTIM) == pytest.approx(cosine * warm, rel=1e-12)
    assert rate(2e-4, 0, 100, OPTIM) == pytest.approx(2e-5)
    assert rate(2e-4, 100, 100, OPTIM) == pytest.approx(2e-5)


def test_parts_share_where_they_end_and_one_may_stand_still():
    """Nova's tower begins at the rate where all parts end."""
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.AdamW(
        [{"params": [weights[0]], "lr": 2e-4}, {"params": [weights[1]], "lr": 2e-5}],
    )
    scheduler = cosine_to_min(optimizer, OPTIM, 100)
    seen = []
    for _ in range(100):
        seen.append(scheduler.get_last_lr())
        optimizer.step()
        scheduler.step()
    assert [pair[0] for pair in seen] == pytest.approx([rate(2e-4, step, 100, OPTIM) for step in range(100)])
    assert {round(pair[1], 12) for pair in seen[30:]} == {2e-5}
    assert seen[0][1] == pytest.approx(2e-6)


class Toy(nn.Module):
    """Two parts inside a model, one parameter beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"bridge": nn.Linear(2, 2), "encoder": nn.Linear(2, 2)})
        self.scale = nn.Parameter(torch.zeros(1))


def test_last_pattern_that_fits_decides_and_zero_freezes():
    toy = Toy()
    rates = choose(toy, {"bridge": 1.0, "bridge.bias": 0, "^(encoder|scale)": 2.0, "^encoder.weight": 3.0})
    assert rates == {"model.bridge.weight": 1, "model.encoder.bias": 2, "model.encoder.weight": 3, "scale": 2}
    assert {name for name, tensor in toy.named_parameters() if tensor.requires_grad} == set(rates)


def test_norms_and_biases_decay_only_if_they_are_to():
    toy = Toy()
    rates = choose(toy, {"bridge": 1e-3, "encoder": 1e-4})
    made = adamw(toy, rates, OptimPart({}, 1, weight_decay=0.5, betas=(0.9, 0.95), eps=1e-6))
    groups = {(group["lr"], group["weight_decay"]): group["params"] for group in made.param_groups}
    assert groups.keys() == {(1e-3, 0.5), (1e-3, 0.0), (1e-4, 0.5), (1e-4, 0.0)}
    assert groups[1e-3, 0.0] == [toy.model["bridge"].bias]
    assert made.param_groups[0]["betas"] == (0.9, 0.95)
    assert made.param_groups[0]["eps"] == 1e-6
    everything = adamw(toy, rates, OptimPart({}, 1, weight_decay=0.5, decay_all=True))
    assert {group["weight_decay"] for group in everything.param_groups} == {0.5}


def test_overrides_reach_patterns_and_a_new_adapter():
    recipe = load_recipe("lhrs_bot_stage2", ["lora.rank=8", 'optim.lr."bridge.query"=0', "optim.lr.lora=3e-4"])
    assert recipe.lora == LoraPart(rank=8, alpha=256, dropout=0.05)
    assert recipe.optim.lr == {"bridge": 2e-4, "lora": 3e-4, "bridge.query": 0}
    with pytest.raises(ConfigError, match="lora is not a section"):
        load_recipe("lhrs_bot_stage3", ["lora.rank=8"])
    with pytest.raises(ConfigError, match="bridge_form"):
        load_recipe("lhrs_bot_nova_stage1", ["bridge_form=sparse"])
