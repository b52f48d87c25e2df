"""A stage on tiny parts and real files: it learns, resumes exactly, and writes what it trained."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from lhrs_chat import samples
from lhrs_chat.errors import ConfigError, DataError, WeightsError
from tests import tiny
from training import loop
from training import rows as rows_as_tokens
from training.bridge_start import place_words, start_like_text
from training.objectives import text
from training.recipe import DataPart, load_recipe
from training.trainer import TRAINED


@pytest.fixture
def data(nano_data):
    return nano_data


def recipe(name, data, out, *more):
    mix = 'data.mix={"synthetic": 1}'
    small = (mix, "optim.batch_images=2", "optim.compile=false", "log_steps=1")
    return load_recipe(name, [f"data.folder={data}", f"out={out}", *small, *more])


def losses(out):
    return [json.loads(line)["loss"] for line in (out / "loss.jsonl").read_text().splitlines()]


def test_words_stage_learns(data, tmp_path, tiny_parts):
    rates = ("optim.lr.bridge=1e-2", 'optim.lr."log_scale|shift"=1e-2')
    out = loop.run(recipe("nano_align", data, tmp_path, "data.passes=8", *rates))
    seen = [float(loss) for loss in losses(out)]
    assert sum(seen[-4:]) < 0.8 * sum(seen[:4])
    assert (out / "bridge.safetensors").exists()
    assert "objective: words" in (out / "recipe.yaml").read_text()


def test_resumed_run_equals_undisturbed_run(data, tmp_path, tiny_parts):
    settings = ("data.passes=2", "save_steps=2", "optim.max_steps=4", "start=null")
    whole = loop.run(recipe("nano_instruct", data, tmp_path / "whole", *settings))
    cut = tmp_path / "cut"
    loop.run(recipe("nano_instruct", data, cut, *settings))
    for path in (cut / "checkpoint-4").iterdir():
        path.unlink()
    (cut / "checkpoint-4").rmdir()
    for name in ("bridge.safetensors", "adapter_model.safetensors", "loss.jsonl"):
        (cut / name).unlink()
    loop.run(recipe("nano_instruct", data, cut, *settings))
    assert losses(cut) == losses(whole)
    for name in ("bridge.safetensors", "adapter_model.safetensors"):
        one, other = load_file(whole / name), load_file(cut / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_stops_at_its_step_with_the_schedule_of_the_whole(data, tmp_path, tiny_parts):
    settings = ("data.passes=2", "save_steps=100", "optim.max_steps=6", "start=null")
    whole = loop.run(recipe("nano_instruct", data, tmp_path / "whole", *settings, "optim.stop_step=null"))
    cut = loop.run(recipe("nano_instruct", data, tmp_path / "cut", *settings, "optim.stop_step=3"))
    assert losses(cut) == losses(whole)[:3]
    assert (cut / "checkpoint-3" / TRAINED).exists()


def test_grid_tokens_carry_the_words_of_their_place():
    model, processor = tiny.model_and_processor()
    start_like_text(model)
    before = model.bridge([torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))] * 2)
    place_words(model, processor.tokenizer, 0)
    after = model.bridge([torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))] * 2)
    moved = (after - before)[0]
    assert torch.equal(moved[16:], torch.zeros_like(moved[16:]))
    grid = moved[:16].reshape(4, 4, -1)
    assert torch.allclose(grid[0, 0] + grid[1, 1], grid[0, 1] + grid[1, 0], atol=1e-6)
    assert torch.pdist(moved[:16]).min() > 0


def test_places_are_trained(data, tmp_path, tiny_parts):
    out = loop.run(recipe("nano_instruct", data, tmp_path / "run", "optim.max_steps=3", "start=null"))
    kept = load_file(out / "bridge.safetensors")["position"]
    model, processor = tiny.model_and_processor()
    start_like_text(model)
    place_words(model, processor.tokenizer, 0)
    assert 0 < (kept - model.bridge.position).abs().max() < 0.1


@pytest.mark.slow
def test_compiled_layers_learn_the_same(data, tmp_path, tiny_parts):
    settings = ("optim.max_steps=3", "start=null", "optim.precision=fp32")
    plain = loop.run(recipe("nano_instruct", data, tmp_path / "plain", *settings))
    compiled = loop.run(recipe("nano_instruct", data, tmp_path / "compiled", *settings, "optim.compile=true"))
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-4)


def test_weights_are_of_a_task_or_of_the_task_of_a_source(data):
    part = DataPart(data, mix={"synthetic": 1}, task_weights={"count": 3, "synthetic/count": 0, "where_is": 2})
    rows = list(samples.read(data / "rows.jsonl"))
    found = {row.task: part.weight(row) for row in rows}
    assert (found["count"], found["where_is"], found["presence"]) == (0, 2, 1)
    other = next(dataclasses.replace(row, source="elsewhere") for row in rows if row.task == "count")
    assert part.weight(other) == 3


def test_a_picture_without_weighty_questions_is_left_out(data):
    _, processor = tiny.model_and_processor()
    tasks = {row.task for row in samples.read(data / "rows.jsonl")} - {"where_is"}
    part = DataPart(data, mix={"synthetic": 1}, task_weights=dict.fromkeys(tasks, 0.0))
    asked = {row.images[0].path for row in samples.read(data / "rows.jsonl") if row.task == "where_is"}
    learned = {row.images[0].path for row in samples.read(data / "rows.jsonl") if row.split == "train"}
    rows = rows_as_tokens.tokenised(part, "train", text.question(processor, {2}, part), "x", {})
    packs = text.packs(rows, part, processor.image_token_id, 2, 0)
    assert {pack.file for pack in packs} == asked & learned != learned


def test_only_packed_questions_are_compiled(data, tmp_path):
    with pytest.raises(ConfigError, match="compile"):
        recipe("nano_align", data, tmp_path, "optim.compile=true")


def test_checkpoint_of_another_model_is_refused(data, tmp_path, tiny_parts):
    settings = ("save_steps=1", "optim.max_steps=2", "start=null")
    loop.run(recipe("nano_instruct", data, tmp_path, *settings))
    with pytest.raises(WeightsError, match=r"unexpected: .*lora"):
        loop.run(
            recipe(
                "nano_instruct",
                data,
                tmp_path,
                *settings[:1],
                "optim.max_steps=3",
                "start=null",
                "lora=null",
                'optim.lr={"bridge": 1e-3}',
            )
        )


def test_features_are_reused_and_grow(data, tmp_path, caplog):
    from training.features import FeatureStore

    model, processor = tiny.model_and_processor()
    files = sorted(str(path) for path in data.glob("images/synthetic/*.png"))[:5]

    def store(chosen):
        return FeatureStore(tmp_path, model.encoder, processor.image_processor, chosen, tiny.SIZE_PX)

    caplog.set_level("INFO")
    first = store(files[:3]).get(files[:3])
    assert "3 pictures, 0 reused" in caplog.text
    grown = store(files).get(files[:3])
    assert "5 pictures, 3 reused" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(first, grown, strict=True))
    direct = model.encoder(processor.image_processor.one(loop_picture(files[4]))[None])
    assert torch.allclose(store(files).get([files[4]])[0], direct[0], atol=1e-2)


def loop_picture(file):
    from PIL import Image as PilImage

    return PilImage.open(file)


def test_unknown_recipe_and_field_are_one_clear_error(data, tmp_path):
    with pytest.raises(ConfigError, match="did you mean nano_align"):
        load_recipe("nano_aling", [])
    with pytest.raises(ConfigError, match="batch_images"):
        load_recipe("nano_align", ["optim.batch_image=3"])


def test_a_row_that_lost_its_picture_is_refused(data, tmp_path, tiny_parts):
    lines = (data / "rows.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    row.pop("images")
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "images": [], "split": "train"}) + "\n")
    with pytest.raises(DataError, match="one stored picture"):
        loop.run(recipe("nano_instruct", tmp_path, tmp_path / "out", "start=null"))
