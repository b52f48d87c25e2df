"""Twenty steps of every shipped recipe on tiny random parts. Those of LHRS-Bot are in test_published.py."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import yaml

from lhrs_chat import presets, samples
from tests.training.systems import SIZE_PX, TOWER, published_parts, row
from training import curriculum, loop, systems
from training.journal import read_journal
from training.recipe import Recipe, load_recipe, recipe_names

STEPS = 20
RATES = {"nano_align": {"bridge": 1e-2, "log_scale|shift": 1e-2}}


def stages() -> list[str]:
    """Names of the recipes that are no curricula."""
    return [name for name in recipe_names() if curriculum.load(name, [])[0].out == _own_out(name)]


def _own_out(name: str):
    return load_recipe(name, []).out if "stages" not in yaml.safe_load(_text(name)) else None


def _text(name: str) -> str:
    from training.recipe import recipe_file

    return recipe_file(name).read_text()


NANO = [name for name in stages() if name.startswith("nano_")]
REWARD = ["reward_stage1", "reward_stage2", "reward_stage3", "score_nano"]
# In test_clip.py, test_clip_nano.py, test_grpo.py and test_reward.py.
ELSEWHERE = ["clip", "clip_nano", "farslip_stage1", "farslip_stage2", "grpo", *REWARD]
OTHERS = ["skyeyegpt_stage1", "skyeyegpt_stage2", "geochat_lora"]


def test_no_recipe_is_forgotten():
    published = {name for name in stages() if name.startswith("lhrs_bot")}
    assert set(stages()) == {*NANO, *OTHERS, *published, *ELSEWHERE, "own_data_lora"}
    assert len(published) == 6
    assert len(NANO) == 5


def learned(recipe: Recipe) -> list[float]:
    losses = [entry["loss"] for entry in read_journal(loop.run(recipe)) if "loss" in entry]
    assert len(losses) == STEPS
    assert all(map(math.isfinite, losses))
    assert sum(losses[-5:]) < sum(losses[:5])
    return losses


COMMON = (f"optim.max_steps={STEPS}", "log_steps=1", "save_steps=20", "optim.precision=fp32", "data.passes=20")


@pytest.mark.parametrize("name", NANO)
def test_nano(name, nano_data, tmp_path, tiny_parts):
    rates = RATES.get(name, {"bridge": 1e-3, "bridge.position": 1e-3, "lora": 1e-2})
    own = ('data.mix={"synthetic": 1}', "optim.batch_images=2", "optim.compile=false", "start=null")
    more = (f"optim.lr={json.dumps(rates)}", f"data.folder={nano_data}", f"out={tmp_path / 'run'}")
    stop = () if name == "nano_align" else ("optim.stop_step=null",)
    learned(load_recipe(name, [*COMMON, *own, *more, *stop]))


@pytest.fixture(scope="module")
def tiny_parts_of_llama(tmp_path_factory):
    return published_parts("lhrs-bot", tmp_path_factory.mktemp("parts"))


@pytest.fixture
def tiny_systems(tmp_path, monkeypatch):
    """The shipped systems with the sizes of a toy."""
    for path in systems.FOLDER.glob("*.yaml"):
        made = yaml.safe_load(path.read_text())
        made["encoder"]["vision_config"] |= {**TOWER, "num_hidden_layers": 4}
        made["image"]["size_px"] = 48 if made["image"]["size_px"] == 504 else SIZE_PX
        (tmp_path / path.name).write_text(json.dumps(made))
    monkeypatch.setattr(systems, "FOLDER", tmp_path)


@pytest.mark.parametrize("name", OTHERS)
def test_systems_that_begin_from_published_parts(name, learnable, tiny_parts_of_llama, tiny_systems, tmp_path):
    more = (
        *(f"parts.language_model={tiny_parts_of_llama / 'llm'}", f"parts.encoder={tiny_parts_of_llama / 'tower'}"),
        *(f"data.folder={learnable / 'talks'}", "data.workers=0", "optim.accumulate=1", "lora.rank=4"),
        *("optim.batch_images=2", 'optim.lr={"bridge": 1e-2, "lora": 1e-2}', f"out={tmp_path / 'one'}"),
    )
    packs = ("data.pack_tokens=512", "optim.warmup_steps=2") if "skyeyegpt" in name else ()
    if name == "skyeyegpt_stage2":
        first = load_recipe("skyeyegpt_stage1", [*COMMON, *more, *packs])
        learned(first)
        second = [text for text in (*COMMON, *more, *packs) if not text.startswith(("lora", "out"))]
        learned(load_recipe(name, [*second, f"start={first.out}", f"out={tmp_path / 'two'}"]))
        return
    learned(load_recipe(name, [*COMMON, *more, *packs]))


def test_own_data(tiny_model, mixed, tmp_path):
    more = (
        *(f"model={tiny_model}", f"data.folder={mixed}", f"out={tmp_path / 'run'}", "lora.rank=4"),
        *("eval_steps=20", "eval_answers=1", "optim.accumulate=2", "data.pack_tokens=640"),
        'optim.lr={"bridge": 1e-2, "lora": 1e-2}',
    )
    learned(load_recipe("own_data_lora", [*COMMON, *more]))
    assert (tmp_path / "run" / "answers.jsonl").is_file()
    assert (tmp_path / "run" / "loss.png").is_file()


def test_tags_stand_before_the_questions_of_their_task(learnable, tiny_parts_of_llama, tiny_systems, tmp_path, capsys):
    from training.__main__ import main

    asked = dataclasses.replace(row("one", (("describe the image", "a river"),), learnable / "0.png"), task="refer")
    plain = dataclasses.replace(row("two", (("describe the image", "a river"),), learnable / "0.png"), task="talk")
    samples.write(tmp_path / "rows.jsonl", [asked, plain])
    parts = (f"parts.language_model={tiny_parts_of_llama / 'llm'}", f"parts.encoder={tiny_parts_of_llama / 'tower'}")
    assert main(["show-mask", "skyeyegpt_stage1", *parts, f"data.folder={tmp_path}"]) == 0
    first, second = capsys.readouterr().out.strip().split("\n\n")
    assert "[refer] describe the image" in first.replace("\n", " ").replace("  ", " ")
    assert "[refer]" not in second
    assert "skyeyegpt" not in presets.preset_names()
