"""What is refused before the first step: lost pictures, boxes out of their frame, held-out scenes, bad combinations."""

from __future__ import annotations

import dataclasses
import re
import shutil

import pytest
import torch

from lhrs_chat import samples
from lhrs_chat.errors import ConfigError, DataError, LhrsError, MissingExtraError, WeightsError
from lhrs_chat.schema import Box, Georef, Image, Message, Part, Targets
from tests import tiny
from tests.training.systems import row, tiny_recipe
from training import attention, loop, start
from training.guards import no_overlap
from training.objectives import OBJECTIVES
from training.objectives._next_token import TextObjective
from training.objectives.chat import chat
from training.recipe import DataPart, load_recipe
from training.rows import tokenised


def rows_of(folder, *rows):
    folder.mkdir(exist_ok=True)
    samples.write(folder / "rows.jsonl", rows)
    return folder


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_picture_that_does_not_reach_the_loss_stops_the_first_step(tiny_model, mixed, tmp_path, monkeypatch):
    forward = TextObjective.forward

    def deaf(self, input_ids, labels, **inputs):
        """Learn from the first token only, before any picture."""
        wrong = torch.full_like(labels, -100)
        wrong[:, 1] = labels.amax(1)
        losses = forward(self, input_ids, wrong, **inputs)
        return losses.mean().expand(int((labels[:, 1:] != -100).sum()))

    recipe = tiny_recipe(tiny_model, mixed, tmp_path / "run", "save_steps=1")
    monkeypatch.setattr(TextObjective, "forward", deaf)
    with pytest.raises(DataError, match=r"does not reach the loss(.|\n)*train/"):
        loop.run(recipe)
    assert not list(recipe.out.glob("checkpoint-*"))


def test_pictures_are_looked_at_where_only_an_adapter_learns(tiny_model, mixed, tmp_path):
    """The visual tokens need no gradient then; they get one for the first batch with pictures."""
    recipe = tiny_recipe(tiny_model, mixed, tmp_path / "run", 'optim.lr={"lora": 1e-2}')
    assert loop.run(recipe) == recipe.out


# --- boxes ------------------------------------------------------------------------------------------------------------


def talk_with(region: Box, picture: Image, name: str = "region"):
    turns = (
        Message("user", (Part("image", image=0), Part("text", "what is at "), Part("region", region=region))),
        Message("assistant", (Part("text", "a ship at "), Part("region", region=region))),
    )
    return dataclasses.replace(row(name, (("q", "a"),), None), images=(picture,), messages=turns)


REGIONS = {
    "pixel": Box((4.0, 3.0, 20.0, 15.0), "pixel"),
    "unit": Box((0.1, 0.1, 0.5, 0.5), "unit"),
    "per1000": Box((100.0, 100.0, 500.0, 500.0), "per1000"),
    "map": Box((104.0, 185.0, 120.0, 197.0), "map"),
}


@pytest.mark.parametrize("frame", REGIONS)
def test_regions_of_any_frame_are_written_in_the_model_s_own_way(learnable, tmp_path, frame):
    """The picture is 40 by 30 pixels, its corner at 100 east and 200 north, a metre a pixel."""
    processor = tiny.model_and_processor()[1]
    georef = Georef("EPSG:32631", (1.0, 0.0, 100.0, 0.0, -1.0, 200.0))
    picture = Image(path=str(learnable / "0.png"), georef=georef)
    folder = rows_of(tmp_path / frame, talk_with(REGIONS[frame], picture))
    (made,) = tokenised(DataPart(folder), "train", chat(processor, {2}, DataPart(folder)), "x", {})
    text = processor.tokenizer.decode([i for i in made.tokens.ids.tolist() if i != processor.image_token_id])
    assert text.count("[10, 10, 50, 50]") == 2
    assert processor.tokenizer.decode(made.tokens.ids[made.tokens.learned]) == "a ship at [10, 10, 50, 50]<|im_end|>"


def test_boxes_outside_their_picture_name_their_rows(learnable, tmp_path):
    processor = tiny.model_and_processor()[1]
    picture = Image(path=str(learnable / "0.png"))
    wrong = [talk_with(Box((4.0, 3.0, 200.0, 150.0), "pixel"), picture, f"row {number}") for number in range(3)]
    right = talk_with(REGIONS["pixel"], picture, "row 9")
    folder = rows_of(tmp_path / "rows", right, *wrong)
    with pytest.raises(
        DataError, match=r"row 0: a box lies outside its picture \(and row 1, row 2\)(.|\n)*x from 0 to 40"
    ):
        tokenised(DataPart(folder), "train", chat(processor, {2}, DataPart(folder)), "x", {})
    facts = dataclasses.replace(right, targets=Targets(boxes=(Box((0.0, 0.0, 300.0, 20.0), "per100"),)))
    with pytest.raises(DataError, match="row 9: a box lies outside"):
        tokenised(
            DataPart(rows_of(tmp_path / "facts", facts)), "train", chat(processor, {2}, DataPart(folder)), "x", {}
        )
    assert not (folder / "tokens").exists()


def test_answers_with_boxes_of_another_frame_are_refused(learnable, tmp_path):
    processor = tiny.model_and_processor()[1]
    spelled = row("spelled", (("where", "at [100, 100, 500, 500]"),), learnable / "0.png")
    with pytest.raises(DataError, match=r"spelled: an answer holds a box(.|\n)*per100"):
        part = DataPart(rows_of(tmp_path, spelled))
        tokenised(part, "train", chat(processor, {2}, part), "x", {})


# --- held-out data ----------------------------------------------------------------------------------------------------


def test_scenes_and_pictures_that_are_held_out_are_not_learned_from(tiny_model, mixed, learnable, tmp_path):
    good = row("one", (("q", "a"),), learnable / "0.png")
    same_scene = dataclasses.replace(row("one", (("q", "a"),), learnable / "1.png"), split="test")
    folder = rows_of(tmp_path / "scene", good, same_scene)
    with pytest.raises(DataError, match=r"1 scenes are learned from and held out(.|\n)*one"):
        no_overlap(tiny_recipe(tiny_model, folder, tmp_path / "out"))
    shutil.copy(learnable / "0.png", tmp_path / "copy.png")
    copied = dataclasses.replace(row("two", (("q", "a"),), tmp_path / "copy.png"), images=(Image(path="../copy.png"),))
    bench = rows_of(tmp_path / "bench", copied)
    own = rows_of(tmp_path / "own", dataclasses.replace(good, images=(Image(path=str(learnable / "0.png")),)))
    recipe = tiny_recipe(tiny_model, own, tmp_path / "out", f'data.held_out=["{bench}"]')
    with pytest.raises(DataError, match=r"1 pictures are learned from and held out(.|\n)*copy.png"):
        no_overlap(recipe)


def test_rows_that_were_compared_are_not_compared_again(tiny_model, mixed, tmp_path, caplog):
    folder = tmp_path / "data"
    shutil.copytree(mixed, folder, ignore=shutil.ignore_patterns("tokens"))
    caplog.set_level("INFO")
    recipe = tiny_recipe(tiny_model, folder, tmp_path / "out")
    no_overlap(recipe)
    assert "48 scenes to learn from, none of them among 6 held out" in caplog.text
    no_overlap(recipe)
    assert "compared before" in caplog.text


# --- combinations -----------------------------------------------------------------------------------------------------

CLASHES = {
    "optim.compile=true": "only packed questions are compiled",
    "optim.attention=flash_attention_2": "16 bits",
    "write=best": "known by evaluations",
    "save_steps=0": "at least 1",
    "objective=caht": "did you mean chat",
}


@pytest.mark.parametrize("setting", CLASHES)
def test_combinations_that_do_not_work_are_refused(tiny_model, mixed, tmp_path, setting):
    with pytest.raises(ConfigError, match=CLASHES[setting]):
        tiny_recipe(tiny_model, mixed, tmp_path / "run", setting)


def test_quantised_models_need_an_adapter_and_a_machine_that_can(tiny_model, mixed, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="through an adapter only"):
        tiny_recipe(tiny_model, mixed, tmp_path / "run", "quantise=4bit", "lora=null")

    def lacks(self, *args, **kwargs):
        raise ImportError("no bitsandbytes here")

    from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer

    monkeypatch.setattr(Bnb4BitHfQuantizer, "validate_environment", lacks)
    with pytest.raises(WeightsError, match="cannot load a model in 4bit"):
        start.prepare(tiny_recipe(tiny_model, mixed, tmp_path / "run", "quantise=4bit"))


def test_attention_that_is_not_there_is_refused(tiny_model, mixed, tmp_path, monkeypatch):
    more = ("optim.attention=flash_attention_2", "optim.precision=bf16")
    recipe = tiny_recipe(tiny_model, mixed, tmp_path / "run", *more)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="needs a GPU"):
        attention.attention_of(recipe)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(attention, "is_flash_attn_2_available", lambda: False)
    with pytest.raises(MissingExtraError, match="flash-attn"):
        attention.attention_of(recipe)
    auto = dataclasses.replace(recipe, optim=dataclasses.replace(recipe.optim, attention="auto"))
    assert attention.attention_of(auto) == "sdpa"
    monkeypatch.setattr(attention, "is_flash_attn_2_available", lambda: True)
    assert attention.attention_of(auto) == "flash_attention_2"
    assert attention.attention_of(load_recipe("nano_instruct", [])) == "sdpa"


def test_evaluation_without_held_out_rows_is_refused(tiny_model, learnable, tmp_path):
    with pytest.raises(LhrsError, match="nothing to evaluate on"):
        loop.run(tiny_recipe(tiny_model, learnable / "talks", tmp_path / "run", "eval_steps=1"))


def test_trackers_that_are_not_installed_are_refused(tiny_model, mixed, tmp_path, monkeypatch):
    monkeypatch.setattr("training.arguments.find_spec", lambda name: None)
    with pytest.raises(LhrsError, match="pip install trackio"):
        loop.run(tiny_recipe(tiny_model, mixed, tmp_path / "run", "trackers=[trackio]"))


def test_what_a_run_takes_is_said_before_it_begins(tiny_model, mixed, tmp_path, caplog):
    caplog.set_level("INFO")
    loop.run(tiny_recipe(tiny_model, mixed, tmp_path / "run", "optim.max_steps=1", "data.pack_tokens=1024"))
    assert re.search(r"trained: bridge, \d\.\d\d M parameters at a learning rate of 0.01", caplog.text)
    assert re.search(r"\d+ rows, 1 steps of 4", caplog.text)
    assert re.search(r"M tokens, \d+ a step, \d+\.\d % of the places are padding", caplog.text)
    assert re.search(r"memory: about \d\.\d\d GiB", caplog.text)
    assert "step 1 of 1: loss" in caplog.text


def test_memory_that_is_not_enough_says_what_to_do(tiny_model, mixed, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    recipe = tiny_recipe(tiny_model, mixed, tmp_path / "run")
    monkeypatch.setattr(TextObjective, "forward", full)
    with pytest.raises(LhrsError, match=r"not enough(.|\n)*halve optim.batch_images"):
        loop.run(recipe)


def test_objectives_are_found_by_their_files():
    assert OBJECTIVES.names() == ["chat", "clip", "grpo", "plain", "reward", "text", "words"]
