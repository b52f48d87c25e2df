"""Official checkpoints become folders of ours: the ids, logits and tokens of the original code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from safetensors.torch import load_file

from lhrs_chat.cli import main
from lhrs_chat.errors import WeightsError
from lhrs_chat.models import LhrsForConditionalGeneration, LhrsProcessor, weights
from lhrs_chat.models.backends import Done, Request
from lhrs_chat.models.backends.native import NativeBackend
from lhrs_chat.models.convert import CONVERTERS, lhrs_bot, lhrs_bot_nova
from lhrs_chat.models.convert._tower import image_processor
from lhrs_chat.presets import load_preset
from lhrs_chat.schema import Message
from lhrs_chat.text.templates import render
from tests import checkpoints, tiny
from tests.checkpoints import Published

IMAGE_ID = -200  # how the recordings mark an image


def opened(out: Path) -> tuple[LhrsForConditionalGeneration, LhrsProcessor]:
    return LhrsForConditionalGeneration.from_pretrained(out).eval(), LhrsProcessor.from_pretrained(out)


@dataclass(frozen=True)
class Converted:
    """A recorded checkpoint, the folder it became, and that folder opened."""

    checkpoint: Published
    out: Path
    model: LhrsForConditionalGeneration
    processor: LhrsProcessor


@pytest.fixture(scope="module")
def all_converted(tmp_path_factory) -> dict[str, Converted]:
    made = {}
    for system in checkpoints.SYSTEMS:
        folder = tmp_path_factory.mktemp(system)
        checkpoint = checkpoints.recorded(system, folder / "published")
        assert main(checkpoint.words(folder / "out")) == 0
        made[system] = Converted(checkpoint, folder / "out", *opened(folder / "out"))
    return made


@pytest.fixture(params=checkpoints.SYSTEMS)
def converted(request, all_converted) -> Converted:
    return all_converted[request.param]


def logits_of(out: Path, text: str = "<image>\na river and a bridge") -> torch.Tensor:
    model, processor = opened(out)
    with torch.inference_mode():
        return model(**processor(text=text, images=[tiny.picture(3, (50, 40))])).logits


# --- parity -----------------------------------------------------------------------------------------------------------


def cases() -> list[Any]:
    made = []
    for system, name in checkpoints.NAMES.items():
        expected = json.loads((checkpoints.DATA / f"ckpt_{name}" / "expected.json").read_text())
        made += [pytest.param(system, case, id=f"{name}-{case}") for case in expected["cases"]]
    return made


@pytest.mark.parametrize(("system", "case"), cases())
@torch.inference_mode()
def test_recorded_case(all_converted, system, case):
    name = checkpoints.NAMES[system]
    expected = json.loads((checkpoints.DATA / f"ckpt_{name}" / "expected.json").read_text())["cases"][case]
    tensors = {
        **load_file(checkpoints.DATA / f"{name}_full_tiny.safetensors"),
        **load_file(checkpoints.DATA / f"ckpt_{name}" / "cases.safetensors"),
    }
    model, processor = all_converted[system].model, all_converted[system].processor
    begin = processor.tokenizer.bos_token  # the template's share; the recorded prompt is what the template wrapped
    inputs = processor(text=begin + expected["prompt"], images=[tensors[expected["image"]].numpy()])
    ids = inputs["input_ids"][0].tolist()
    marked = [IMAGE_ID if token == processor.image_token_id else token for token in ids]
    start = marked.index(IMAGE_ID)
    assert marked[start : start + processor.num_image_tokens] == [IMAGE_ID] * processor.num_image_tokens
    del marked[start + 1 : start + processor.num_image_tokens]
    assert marked == tensors[f"{expected['tensors']}input_ids"][0].tolist()
    pixels = tensors.get(expected["image"].replace("image", "pixel_values"))
    if pixels is not None:
        torch.testing.assert_close(inputs["pixel_values"], pixels, atol=1e-6, rtol=0)
    logits = model(**inputs).logits
    if case == "main":
        torch.testing.assert_close(logits, tensors["logits"], atol=1e-4, rtol=0)
    elif case == "case1":
        torch.testing.assert_close(logits[:, -1], tensors["case1.logits_last"], atol=1e-4, rtol=0)
    made = model.generate(**inputs, max_new_tokens=expected["max_new_tokens"], do_sample=False)[0, len(ids) :].tolist()
    assert made == expected["greedy_ids"]


@pytest.mark.parametrize("system", checkpoints.SYSTEMS)
def test_a_conversation_is_written_as_recorded(all_converted, system):
    name = checkpoints.NAMES[system]
    expected = json.loads((checkpoints.DATA / f"ckpt_{name}" / "expected.json").read_text())["cases"]["case1"]
    processor = all_converted[system].processor
    turns = [
        Message.of("user", "describe the image", (0,)),
        Message.of("assistant", "a river and a bridge"),
        Message.of("user", "is the harbor near the bridge"),
    ]
    prompt = render(
        processor.tokenizer,
        turns,
        image_token=processor.image_token,
        system="You describe images.",
        add_generation_prompt=True,
    )
    assert prompt == processor.tokenizer.bos_token + expected["prompt"]
    assert processor.system == load_preset(system).system


def test_merged_weights_are_the_recorded_ones(converted):
    checkpoint, out = converted.checkpoint, converted.out
    written = checkpoints.below(load_file(out / "model.safetensors"), "language_model.")
    merged = checkpoint.parts["merged"]
    assert written.keys() == merged.keys()
    assert all(torch.equal(written[name], merged[name]) for name in merged)


def test_folder_opens_as_a_backend_and_answers(converted):
    checkpoint, out = converted.checkpoint, converted.out
    backend = NativeBackend.open(out, checkpoint.system)
    assert set(backend.eos_ids) == {"lhrs-bot": {2}, "lhrs-bot-nova": {316, 319}}[checkpoint.system]
    picture = tiny.picture(1)
    request = Request((Message.of("user", "describe the image", (0,)),), (picture,), ("hash",), max_new_tokens=4)
    (done,) = [item for item in backend.generate([request]) if isinstance(item, Done)]
    assert 1 <= done.tokens <= 4
    assert done.prompt.count(backend.processor.tokenizer.bos_token) == (2 if "nova" in checkpoint.system else 1)


def test_folder_tells_what_it_was_made_from(converted):
    checkpoint, out = converted.checkpoint, converted.out
    record = json.loads((out / "weights.json").read_text())
    assert record["converted_from"] == checkpoint.system
    assert set(record["sources"]) == {"FINAL.pt", "TextLoRA/adapter_model.safetensors"}
    assert weights.load(out).weights_sha256 == record["files"]["model.safetensors"]
    config = json.loads((out / "config.json").read_text())
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation["eos_token_id"] == config["eos_token_id"]
    assert generation["do_sample"] == load_preset(checkpoint.system).generation["do_sample"]


# --- the forms a checkpoint comes in, and the forms it can become -----------------------------------------------------


def test_shards(converted, tmp_path):
    out = tmp_path / "out"
    assert main(converted.checkpoint.words(out, "--shard-gb", "0.0002")) == 0
    files = sorted(out.glob("model-*.safetensors"))
    assert len(files) > 3
    assert all(file.stat().st_size < 220_000 for file in files)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    whole = load_file(converted.out / "model.safetensors")
    assert index["weight_map"].keys() == whole.keys()
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in whole.values())
    for file in files:
        part = load_file(file)
        assert {name for name, where in index["weight_map"].items() if where == file.name} == part.keys()
        assert all(torch.equal(part[name], whole[name]) for name in part)
    assert torch.equal(logits_of(out), logits_of(converted.out))


def test_adapter_kept_apart_gives_the_merged_logits(converted, tmp_path):
    out = tmp_path / "out"
    assert main(converted.checkpoint.words(out, "--adapter", "keep")) == 0
    base = load_file(converted.checkpoint.folder / "base_llm" / "model.safetensors")
    written = checkpoints.below(load_file(out / "model.safetensors"), "language_model.")
    assert all(torch.equal(written[name], base[name]) for name in base if name.endswith("_proj.weight"))
    torch.testing.assert_close(logits_of(out), logits_of(converted.out), atol=1e-5, rtol=0)
    checkpoints.rewrite(
        out / "adapter_model.safetensors", lambda tensors: {name: 0 * tensors[name] for name in tensors}
    )
    assert (logits_of(out) - logits_of(converted.out)).abs().max() > 1e-2


def test_storage_types_mix_and_are_raised_before_the_merge(checkpoint, tmp_path):
    def halve(content):
        content["rgb_ckpt"] = {name: tensor.bfloat16() for name, tensor in content["rgb_ckpt"].items()}

    base_file = checkpoint.folder / "base_llm" / "model.safetensors"
    checkpoint.final(halve)
    checkpoint.adapter(lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()})
    checkpoints.rewrite(base_file, lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()})
    assert main(checkpoint.words(tmp_path / "single")) == 0
    assert main(checkpoint.words(tmp_path / "half", "--dtype", "float16")) == 0
    single, half = (load_file(tmp_path / name / "model.safetensors") for name in ("single", "half"))
    assert {tensor.dtype for tensor in single.values()} == {torch.float32}
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}
    module = "model.layers.1.mlp.up_proj"
    lora = load_file(checkpoint.folder / "TextLoRA" / "adapter_model.safetensors")
    a, b = (lora[f"base_model.model.{module}.lora_{side}.weight"].float() for side in "AB")
    merged = load_file(base_file)[f"{module}.weight"].float() + 2.0 * (b @ a)
    assert torch.equal(single[f"language_model.{module}.weight"], merged)
    assert torch.equal(half[f"language_model.{module}.weight"], merged.half())
    model = LhrsForConditionalGeneration.from_pretrained(tmp_path / "half", dtype=torch.float32)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_scale_is_that_of_the_adapter_file(bot, tmp_path):
    checkpoints.rewrite_json(bot.folder / "TextLoRA" / "adapter_config.json", lora_alpha=1)
    assert main(bot.words(tmp_path / "out")) == 0
    module = "model.layers.0.self_attn.q_proj"
    lora = load_file(bot.folder / "TextLoRA" / "adapter_model.safetensors")
    a, b = (lora[f"base_model.model.{module}.lora_{side}.weight"] for side in "AB")
    base = load_file(bot.folder / "base_llm" / "model.safetensors")[f"{module}.weight"]
    written = load_file(tmp_path / "out" / "model.safetensors")[f"language_model.{module}.weight"]
    assert torch.equal(written, base + 0.25 * (b @ a))


def test_wrapped_final_and_old_names_that_are_left_out(converted, tmp_path):
    checkpoint = checkpoints.recorded(converted.checkpoint.system, tmp_path / "published")

    def wrap(content):
        content["rgb_ckpt"]["encoder.vision_model.embeddings.position_ids"] = torch.arange(9)[None]
        return {"model": content}

    checkpoint.final(wrap)
    base = checkpoint.folder / "base_llm" / "model.safetensors"
    checkpoints.rewrite(
        base, lambda tensors: {**tensors, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)}
    )
    words = checkpoint.words(tmp_path / "out")
    words[words.index(str(checkpoint.folder))] = str(checkpoint.folder / "FINAL.pt")
    assert main(words) == 0
    found = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert found == (converted.out / "model.safetensors").read_bytes()


def test_adapter_in_a_bin_file(bot, tmp_path):
    file = bot.folder / "TextLoRA" / "adapter_model.safetensors"
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    assert main(bot.words(tmp_path / "out")) == 0
    written = checkpoints.below(load_file(tmp_path / "out" / "model.safetensors"), "language_model.")
    assert all(torch.equal(written[name], tensor) for name, tensor in bot.parts["merged"].items())


def test_stage_1_of_the_first_model_has_to_be_said(bot, tmp_path):
    shutil.rmtree(bot.folder / "TextLoRA")
    assert main(bot.words(tmp_path / "out", "--stage", "1")) == 0
    base = load_file(bot.folder / "base_llm" / "model.safetensors")
    written = checkpoints.below(load_file(tmp_path / "out" / "model.safetensors"), "language_model.")
    assert all(torch.equal(written[name], base[name]) for name in base)
    assert json.loads((tmp_path / "out" / "weights.json").read_text())["stage"] == "1"


def test_stage_1_of_nova_is_known_by_its_dense_bridge(tmp_path, capsys):
    sizes = checkpoints.SIZES["lhrs-bot-nova"]
    dense = {**sizes["bridge"], "experts": 0}
    checkpoint = checkpoints.random("lhrs-bot-nova", tmp_path / "published", **{**sizes, "bridge": dense}, lora=None)
    assert main(checkpoint.words(tmp_path / "out", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["stage"] == "1"
    model, processor = opened(tmp_path / "out")
    assert model.config.bridge["dense"]
    assert len(processor.tokenizer) == model.config.text_config.vocab_size == 320


@pytest.mark.parametrize("rows", [320, 321, 322])
def test_rows_that_the_adapter_brings(nova, tmp_path, rows):
    tables = ("base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight")
    nova.adapter(lambda tensors: {**tensors, **{name: tensors[name][:rows].clone() for name in tables}})
    assert main(nova.words(tmp_path / "out")) == 0
    model, processor = opened(tmp_path / "out")
    assert len(processor.tokenizer) == model.get_input_embeddings().weight.shape[0] == rows
    assert processor.tokenizer.pad_token_id == {320: 319, 321: 320, 322: 321}[rows]
    assert model.config.image_token_id == rows


def test_tables_may_be_missing_in_the_adapter(nova, tmp_path, capsys):
    said = "only the shapes of"
    assert main(nova.words(tmp_path / "with")) == 0
    assert said not in capsys.readouterr().err
    nova.adapter(lambda tensors: {name: tensor for name, tensor in tensors.items() if ".lora_" in name})
    assert main(nova.words(tmp_path / "out")) == 0
    assert said in capsys.readouterr().err
    model, processor = opened(tmp_path / "out")
    assert len(processor.tokenizer) == model.get_input_embeddings().weight.shape[0] == 320


def test_tower_without_its_unused_head(nova, tmp_path):
    def behead(content):
        for name in [name for name in content["rgb_ckpt"] if ".head." in name]:
            del content["rgb_ckpt"][name]

    nova.final(behead)
    assert main(nova.words(tmp_path / "out")) == 0
    assert LhrsForConditionalGeneration.from_pretrained(tmp_path / "out").encoder.tower.use_head is False


def test_image_variant_changes_the_pixels_and_nothing_else(all_converted, tmp_path):
    usual = all_converted["lhrs-bot"]
    assert main(usual.checkpoint.words(tmp_path / "out", "--image-variant", "classification")) == 0
    files = {path.name for path in usual.out.iterdir()}
    assert files == {path.name for path in (tmp_path / "out").iterdir()}
    changed = {name for name in files if (tmp_path / "out" / name).read_bytes() != (usual.out / name).read_bytes()}
    assert changed == {"processor_config.json", "weights.json"}
    assert json.loads((tmp_path / "out" / "weights.json").read_text())["image_variant"] == "classification"
    image = load_file(checkpoints.DATA / "lhrs_full_tiny.safetensors")["image"].numpy()
    found = LhrsProcessor.from_pretrained(tmp_path / "out")(text="<image>", images=[image])["pixel_values"]
    # the picture is 50 x 60: short side to 256, the middle 224 pixels, statistics of ImageNet
    resized = PilImage.fromarray(image).resize((256, 307), PilImage.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized))[42 : 42 + 224, 16 : 16 + 224].permute(2, 0, 1).float() / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    torch.testing.assert_close(found[0], (pixels - mean) / std, atol=1e-6, rtol=0)


def test_old_form_of_a_pt_file(bot, tmp_path):
    content = torch.load(bot.folder / "FINAL.pt", weights_only=True)
    torch.save(content, bot.folder / "FINAL.pt", _use_new_zipfile_serialization=False)
    assert main(bot.words(tmp_path / "out")) == 0
    written = checkpoints.below(load_file(tmp_path / "out" / "model.safetensors"), "bridge.")
    assert written.keys() == content["other_ckpt"]["rgb_pooler"].keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in content["other_ckpt"]["rgb_pooler"].items())


def test_end_of_a_turn_ends_the_answer_though_the_base_model_does_not_say_so(nova, tmp_path):
    base = nova.folder / "base_llm"
    (base / "generation_config.json").unlink()
    checkpoints.rewrite_json(base / "config.json", eos_token_id=316)
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        checkpoints.rewrite_json(base / file, eos_token="<|end_of_text|>", pad_token="<never seen>")
    assert main(nova.words(tmp_path / "out")) == 0
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (generation["eos_token_id"], generation["pad_token_id"]) == ([316, 319], 321)


OLD_CLIP = {
    "size": 224,
    "crop_size": 224,
    "resample": 3,
    "do_resize": True,
    "image_mean": [0.1] * 3,
    "image_std": [0.2] * 3,
}


@pytest.mark.parametrize(
    ("resize", "given", "size_px"),
    [
        ("crop", OLD_CLIP, 224),
        ("crop", {**OLD_CLIP, "size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}, 336),
        ("stretch", {**OLD_CLIP, "size": {"height": 384, "width": 384}, "resample": 2}, 384),
    ],
)
def test_image_processor_old_form_and_new(resize, given, size_px):
    made = image_processor(given, resize)
    assert (made.size_px, made.resize_mode, made.image_mean) == (size_px, resize, [0.1] * 3)
    assert made.resample_name == {2: "bilinear", 3: "bicubic"}[given["resample"]]


@pytest.mark.parametrize(
    "change",
    [
        {"size": {"height": 384, "width": 224}},
        {"size": {}},
        {"do_center_crop": False},
        {"rescale_factor": 1.0},
        {"rescale_factor": "1/255"},
        {"resample": [3]},
        {"image_std": None},
        {"image_mean": [0.5]},
        {"image_mean": 0.5},
    ],
    ids=str,
)
def test_image_processor_that_works_in_another_way(change):
    with pytest.raises(WeightsError, match="works in another way"):
        image_processor({**OLD_CLIP, **change}, "crop")


@pytest.mark.parametrize(("system", "module"), [("lhrs-bot", lhrs_bot), ("lhrs-bot-nova", lhrs_bot_nova)])
def test_rule_of_the_taps_is_the_preset_at_the_published_depth(system, module):
    encoder = load_preset(system).encoder
    assert list(module.taps(encoder["vision_config"]["num_hidden_layers"])) == encoder["taps"]


def test_every_converter_of_a_chat_system_has_its_preset():
    assert {name.replace("_", "-") for name in CONVERTERS.names()} - {"clip"} == set(checkpoints.SYSTEMS)


# --- memory -----------------------------------------------------------------------------------------------------------

MEASURE = """
import sys
from pathlib import Path
from lhrs_chat.cli import main
from lhrs_chat.errors import WeightsError

def peak():
    status = Path('/proc/self/status').read_text()
    return int(status.split('VmHWM:')[1].split()[0]) * 1024

first, *others = [words.split('|') for words in sys.argv[1:]]
assert main(first) == 0
before = peak()
for words in others:
    assert main(words) == 0
    print('GREW', peak() - before)
"""


def test_memory_stays_below_the_largest_set_of_tensors(tmp_path):
    """Peak of the process above that of a tiny conversion, with a large language model, and with a large bridge."""
    tiny_one = checkpoints.recorded("lhrs-bot-nova", tmp_path / "tiny")
    sizes = checkpoints.SIZES["lhrs-bot-nova"]
    llm = {**sizes["llm"], "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 3}
    tower = {**sizes["tower"], "hidden_size": 448}
    bridge = {**sizes["bridge"], "inner": 4 * 448, "layers": 3, "experts": 4}
    large = checkpoints.random("lhrs-bot-nova", tmp_path / "llm", **{**sizes, "llm": llm}, lora=(64, 5), shards=2)
    wide = checkpoints.random("lhrs-bot-nova", tmp_path / "bridge", **{**sizes, "tower": tower, "bridge": bridge})
    sets = [
        sum(tensor.nbytes for tensor in checkpoint.parts[part].values())
        for checkpoint, part in ((large, "llm"), (wide, "bridge"))
    ]
    assert min(sets) > 70_000_000
    words = ["|".join(each.words(each.folder / "out")) for each in (tiny_one, large, wide)]
    run = subprocess.run([sys.executable, "-c", MEASURE, *words], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    grew = [int(line.split()[1]) for line in run.stdout.splitlines() if line.startswith("GREW")]
    assert len(grew) == 2
    assert all(peak < 0.8 * size for peak, size in zip(grew, sets, strict=True)), (grew, sets)
