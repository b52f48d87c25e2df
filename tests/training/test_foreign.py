"""Models of transformers that are not ours, taught through an adapter with their own processors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from safetensors.torch import load_file
from torch.nn import functional

from lhrs_chat import cli, samples
from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.models.backends import Done, Request, open_backend
from lhrs_chat.schema import Box, Image, Message, Part, Targets
from tests import tiny
from tests.training.foreign_models import WRITERS
from tests.training.systems import row
from training import loop
from training.__main__ import main
from training.export import export_model
from training.foreign import open_foreign
from training.journal import read_journal
from training.objectives import OBJECTIVES
from training.recipe import Recipe, load_recipe
from training.turns import Writer

STEPS = 20
QUICK = (
    *("optim.precision=fp32", "log_steps=1", "save_steps=20", "data.passes=20", "lora.rank=4", "eval_steps=0"),
    *("write=last", "optim.batch_images=2", "optim.accumulate=2", 'optim.lr={"bridge": 1e-2, "lora": 1e-2}'),
)


@pytest.fixture(scope="session", params=sorted(WRITERS))
def foreign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WRITERS[request.param](tmp_path_factory.mktemp("foreign") / request.param)


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WRITERS["llava"](tmp_path_factory.mktemp("llava") / "model")


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WRITERS["qwen2_vl"](tmp_path_factory.mktemp("qwen") / "model")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """A folder for rows, whose picture lies above it."""
    PilImage.fromarray(tiny.picture(0, (40, 30))).save(tmp_path / "0.png")
    (tmp_path / "talk").mkdir()
    return tmp_path / "talk"


def recipe(model: Path, data: Path, out: Path, *more: str) -> Recipe:
    own = (f"model={model}", f"data.folder={data}", f"out={out}")
    return load_recipe("own_data_lora", [*QUICK, f"optim.max_steps={STEPS}", *own, *more])


def test_twenty_steps_and_the_folder_answers(foreign, learnable, tmp_path, capsys):
    made = recipe(foreign, learnable / "talks", tmp_path / "run")
    losses = [entry["loss"] for entry in read_journal(loop.run(made))]
    assert len(losses) == STEPS and sum(losses[-5:]) < 0.8 * sum(losses[:5])
    picture = learnable / "0.png"
    assert cli.main(["ask", str(picture), "describe the image", "--model", str(made.out)]) == 0
    said = capsys.readouterr().out
    assert cli.main(["ask", str(picture), "describe the image", "--model", str(foreign)]) == 0
    assert said != capsys.readouterr().out


def test_adapter_and_merged_export_say_the_same(foreign, learnable, tmp_path):
    made = recipe(foreign, learnable / "talks", tmp_path / "run")
    stage = OBJECTIVES.get("chat").begin(made)
    loop.fit(made, stage)
    request = Request(
        (Message.of("user", "describe the image", images=(0,)),), (tiny.picture(0, (40, 30)),), max_new_tokens=16
    )
    merged = export_model(made.out, tmp_path / "merged")
    assert not (merged / "adapter_config.json").exists()
    texts = []
    for folder in (made.out, merged):
        (done,) = [event for event in open_backend(str(folder)).generate([request]) if isinstance(event, Done)]
        texts.append((done.text, round(done.confidence, 4)))
    assert texts[0] == texts[1]
    card = (merged / "README.md").read_text()
    assert str(foreign) in card and "base_model" not in card


def test_show_mask_prints_what_is_learned(llava, qwen, talk, capsys):
    turns = (("what is this?", "a river"), ("and here?", "a bridge, a boat"))
    samples.write(talk / "rows.jsonl", [row("one", turns, talk.parent / "0.png")])
    shown = {}
    for model in (llava, qwen):
        assert main(["show-mask", "own_data_lora", f"model={model}", f"data.folder={talk}"]) == 0
        shown[model] = capsys.readouterr().out
    assert shown[llava] == (
        "one\n[user]<image>what is this?;[assistant]⟦a river</s>⟧;[user]and here?;[assistant]⟦a bridge, a boat</s>⟧;\n"
    )
    assert shown[qwen] == (
        "one\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>what is this?<|im_end|>\n"
        "<|im_start|>assistant\n⟦a river<|im_end|>⟧\n<|im_start|>user\nand here?<|im_end|>\n"
        "<|im_start|>assistant\n⟦a bridge, a boat<|im_end|>⟧\n\n"
    )


def test_tokens_are_those_of_the_processor(foreign, learnable, tmp_path):
    """Pictures of several sizes, and several in one row: known without reading them."""
    opened = open_foreign(recipe(foreign, learnable / "talks", tmp_path))
    writer = Writer(opened, {})
    files = []
    for number, size in enumerate([(40, 30), (64, 16), (23, 57)]):
        files.append(tmp_path / f"{number}.png")
        PilImage.fromarray(tiny.picture(number, size)).save(files[-1])
    turns = (
        Message.of("user", "look: ", images=(0, 1)),
        Message.of("assistant", "two of them, é and 中"),
        Message.of("user", "and this?", images=(2,)),
        Message.of("assistant", "one more"),
    )
    base = row("one", (("a", "b"),), files[0])
    sample = dataclasses.replace(
        base,
        images=tuple(dataclasses.replace(base.images[0], path=str(file), size_px=None) for file in files),
        messages=turns,
    )
    made = writer.label(sample)
    pictures = [[PilImage.open(file).convert("RGB") for file in files]]
    ids = opened.processor(text=[made.text], images=pictures, return_tensors="pt")["input_ids"][0]
    assert made.ids.tolist() == ids.tolist()
    end = opened.processor.tokenizer.eos_token
    assert writer.decode(made.ids[made.learned].tolist()) == f"two of them, é and 中{end}one more{end}"


def test_loss_is_that_of_each_row_alone(foreign, learnable, tmp_path):
    """Padding and neighbours change nothing: a batch gives the losses of its rows, with pictures and without."""
    stage = OBJECTIVES.get("chat").begin(recipe(foreign, learnable / "talks", tmp_path))
    rows = list({pack.rows[0].id: pack for pack in stage.rows}.values())
    assert len(rows) == 4 and not all(pack.rows[0].files for pack in rows)
    stage.module.eval()

    def losses(batch: dict) -> torch.Tensor:
        return stage.module(batch["inputs"], batch["labels"])

    with torch.no_grad():
        alone = torch.cat([losses(stage.batch([pack])) for pack in rows])
        together = losses(stage.batch(rows))
        one = stage.batch(rows[:1])
        logits = stage.module.model(**one["inputs"]).logits[0, :-1]
        wanted = functional.cross_entropy(logits, one["inputs"]["input_ids"][0, 1:], reduction="none")
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alone[: int(one["labels"].ne(-100).sum())], wanted[one["labels"][0, 1:] != -100])


def test_one_by_four_is_four_by_one(llava, learnable, tmp_path):
    weights = []
    for batch, accumulate in ((1, 4), (4, 1)):
        out = tmp_path / f"{batch}"
        sizes = (
            f"optim.batch_images={batch}",
            f"optim.accumulate={accumulate}",
            "optim.max_steps=3",
            "lora.dropout=0",
        )
        loop.run(recipe(llava, learnable / "talks", out, *sizes))
        weights.append(load_file(out / "adapter_model.safetensors"))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], atol=1e-5, rtol=1e-4)


def test_a_run_that_was_stopped_goes_on_exactly(llava, learnable, tmp_path):
    whole = recipe(llava, learnable / "talks", tmp_path / "whole", "optim.max_steps=6", "lora.dropout=0.1")
    loop.run(whole)
    parts = dataclasses.replace(whole, out=tmp_path / "parts")
    loop.run(dataclasses.replace(parts, optim=dataclasses.replace(parts.optim, stop_step=3)))
    loop.run(parts)
    one, other = (load_file(folder.out / "adapter_model.safetensors") for folder in (whole, parts))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert len(read_journal(parts.out)) == 6


def test_an_adapter_is_trained_on(llava, learnable, tmp_path):
    first = recipe(llava, learnable / "talks", tmp_path / "one", "optim.max_steps=10")
    loop.run(first)
    second = dataclasses.replace(first, start=first.out, lora="continue", out=tmp_path / "two")
    losses = [[entry["loss"] for entry in read_journal(run)] for run in (first.out, loop.run(second))]
    assert losses[1][0] < losses[0][0]
    with pytest.raises(ConfigError, match="begins from a whole model"):
        loop.run(dataclasses.replace(first, model=str(first.out), out=tmp_path / "three"))


def test_only_the_adapter_learns_and_patterns_name_parts(foreign, learnable, tmp_path):
    made = recipe(foreign, learnable / "talks", tmp_path, 'optim.lr={"lora": 1e-3, "bridge": 1e-2}')
    stage = OBJECTIVES.get("chat").begin(made)
    assert all("lora_" in name for name in stage.rates)
    fast = {name for name, rate in stage.rates.items() if rate == 1e-2}
    assert fast and all("merger" in name or "projector" in name for name in fast)
    assert not any("vision_tower" in name or ".blocks." in name for name in stage.rates)
    with pytest.raises(ConfigError, match="taught through an adapter"):
        OBJECTIVES.get("chat").begin(dataclasses.replace(made, lora=None))


def test_boxes_are_written_in_the_dialect_of_the_model(qwen, learnable, tmp_path):
    opened = open_foreign(recipe(qwen, learnable / "talks", tmp_path))
    base = row("one", (("where?", "x"),), learnable / "0.png")
    base = dataclasses.replace(base, images=(Image(path=str(learnable / "0.png")),))
    box = Box((4.0, 3.0, 20.0, 15.0), "pixel", "river")
    answer = Message("assistant", (Part("text", text="here: "), Part("region", region=box, image=0)))
    sample = dataclasses.replace(base, messages=(base.messages[0], answer), targets=Targets(boxes=(box,)))
    made = Writer(opened, {"": ""}).label(sample)
    assert "<|box_start|>(100,100),(500,500)<|box_end|>" in made.text


def test_bad_rows_are_named(llava, talk):
    samples.write(talk / "rows.jsonl", [row("bad/1", (("what is <image> this?", "a river"),), talk.parent / "0.png")])
    with pytest.raises(DataError, match=r"bad/1.*sign of a picture"):
        loop.run(recipe(llava, talk, talk / "run"))


def test_a_picture_that_changed_is_named(qwen, talk):
    samples.write(talk / "rows.jsonl", [row("one", (("what?", "a river"),), talk.parent / "0.png")])
    stage = OBJECTIVES.get("chat").begin(recipe(qwen, talk, talk / "run"))
    PilImage.fromarray(tiny.picture(0, (16, 16))).save(talk.parent / "0.png")
    with pytest.raises(DataError, match="other tokens"):
        stage.batch(stage.rows[:1])


def test_answers_of_an_evaluation_are_written(llava, mixed, tmp_path):
    more = ("eval_steps=10", "write=best", "eval_answers=2", "data.passes=2")
    made = recipe(llava, mixed, tmp_path / "run", *more)
    loop.run(made)
    said = [json.loads(line) for line in (made.out / "answers.jsonl").read_text().splitlines()]
    assert len(said) == 4 and all(line["wanted"] and line["prompt"].endswith("[assistant]") for line in said)
    assert np.isfinite([entry["eval_loss"] for entry in read_journal(made.out) if "eval_loss" in entry]).all()
