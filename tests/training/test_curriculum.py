"""Several stages by one command: finished ones are skipped, overrides go to all or one, `extends` takes over."""

from __future__ import annotations

import pytest

from lhrs_chat.errors import ConfigError
from tests.training.systems import tiny_recipe
from training import curriculum
from training.__main__ import main
from training.journal import read_journal
from training.recipe import load_recipe

STAGE = """\
preset: lhrs-nano
objective: chat
model: {model}
{extra}
data: {{folder: {data}}}
optim: {{lr: {{bridge: 1e-2, lora: 1e-2}}, batch_images: 4, max_steps: 2}}
out: {out}
"""


@pytest.fixture
def two_stages(tiny_model, mixed, tmp_path):
    """Two stages and their curriculum; the second one extends the first."""
    first = STAGE.format(model=tiny_model, data=mixed, out=tmp_path / "one", extra="lora: {rank: 2, alpha: 4}")
    (tmp_path / "first.yaml").write_text(first)
    second = f"extends: first\nstart: {tmp_path / 'one'}\nlora: continue\nout: {tmp_path / 'two'}\n"
    (tmp_path / "second.yaml").write_text(second)
    (tmp_path / "both.yaml").write_text("stages: [first.yaml, second.yaml]\n")
    return tmp_path / "both.yaml"


def test_stages_run_in_order_and_finished_ones_are_skipped(two_stages, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    assert main([str(two_stages), "second.optim.max_steps=nine"]) == 2
    assert "optim.max_steps" in capsys.readouterr().err
    assert main([str(two_stages)]) == 0
    assert len(read_journal(tmp_path / "two")) == 1
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/bridge.safetensors")}
    assert len(weights) == 2
    assert main([str(two_stages)]) == 0
    assert caplog.text.count("is finished, skipped") == 2
    (tmp_path / "two" / "finished.json").unlink()
    assert main([str(two_stages)]) == 0
    assert caplog.text.count("is finished, skipped") == 3
    assert weights[tmp_path / "one/bridge.safetensors"] == (tmp_path / "one/bridge.safetensors").stat().st_mtime_ns
    assert weights[tmp_path / "two/bridge.safetensors"] != (tmp_path / "two/bridge.safetensors").stat().st_mtime_ns
    assert main([str(two_stages), "first.seed=5"]) == 2
    assert "finished before, but with something else" in capsys.readouterr().err


def test_overrides_go_to_all_stages_or_to_one(two_stages, tmp_path):
    overrides = ["optim.clip_norm=0.5", "second.optim.lr.bridge=0.5", f"out={tmp_path / 'moved'}"]
    one, two = curriculum.load(str(two_stages), overrides)
    assert (one.optim.clip_norm, two.optim.clip_norm) == (0.5, 0.5)
    assert (one.optim.lr["bridge"], two.optim.lr["bridge"]) == (0.01, 0.5)
    assert (one.out, two.out) == (tmp_path / "moved/one", tmp_path / "moved/two")
    assert (one.start, two.start) == (None, tmp_path / "moved/one")


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("nano", ["nano_align", "nano_instruct", "nano_place", "nano_settle"]),
        ("lhrs_bot", [f"lhrs_bot_stage{n}" for n in (1, 2, 3)]),
        ("lhrs_bot_nova", [f"lhrs_bot_nova_stage{n}" for n in (1, 2, 3)]),
        ("skyeyegpt", ["skyeyegpt_stage1", "skyeyegpt_stage2"]),
    ],
)
def test_shipped_curricula_are_their_recipes(name, stages):
    assert curriculum.load(name, []) == [load_recipe(stage, []) for stage in stages]
    assert all(recipe.seed == 7 for recipe in curriculum.load(name, ["seed=7"]))
    for before, after in zip(curriculum.load(name, ["out=x"])[:-1], curriculum.load(name, ["out=x"])[1:], strict=True):
        assert after.start == before.out


def test_curricula_that_make_no_sense_are_refused(two_stages, tmp_path, capsys):
    (tmp_path / "twice.yaml").write_text("stages: [first.yaml, first.yaml]\n")
    with pytest.raises(ConfigError, match="write to one folder"):
        curriculum.load(str(tmp_path / "twice.yaml"), [])
    (tmp_path / "none.yaml").write_text("stages: []\n")
    with pytest.raises(ConfigError, match="has stages"):
        curriculum.load(str(tmp_path / "none.yaml"), [])
    (tmp_path / "odd.yaml").write_text("stages: [first.yaml]\nepochs: 3\n")
    with pytest.raises(ConfigError, match="epochs is not a field of Curriculum"):
        curriculum.load(str(tmp_path / "odd.yaml"), [])
    assert main(["nanoo"]) == 2
    assert "did you mean nano" in capsys.readouterr().err


def test_extends_goes_one_level(two_stages, tmp_path):
    (tmp_path / "third.yaml").write_text("extends: second\n")
    with pytest.raises(ConfigError, match="one level"):
        load_recipe(str(tmp_path / "third.yaml"), [])
    (tmp_path / "self.yaml").write_text("extends: self\n")
    with pytest.raises(ConfigError):
        load_recipe(str(tmp_path / "self.yaml"), [])


def test_mask_of_a_conversation_is_shown(tiny_model, mixed, tmp_path, capsys):
    tiny_recipe(tiny_model, mixed, tmp_path / "run")
    assert main(["show-mask", str(tmp_path / "run.yaml"), f"model={tiny_model}", f"data.folder={mixed}"]) == 0
    first, *_ = capsys.readouterr().out.split("\n\n")
    lines = first.splitlines()
    assert lines[0] == "train/0"
    learned = [piece.split("⟧")[0] for piece in first.split("⟦")[1:]]
    assert len(learned) == 2
    assert all(piece.endswith("<|im_end|>") for piece in learned)
    assert "what is" not in "".join(learned)
    assert "again" not in "".join(learned)
    assert "⟦" in lines[-1]


def test_mask_of_words_is_not_there(tiny_model, mixed, tmp_path, capsys):
    assert main(["show-mask", "nano_align"]) == 2
    assert "learns no tokens" in capsys.readouterr().err
