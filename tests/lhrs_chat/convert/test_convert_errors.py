"""Checkpoints that do not fit: one clear error each, exit code 2, and nothing left behind."""

from __future__ import annotations

import json
import pickle
import resource
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from lhrs_chat.cli import main
from lhrs_chat.models.convert import _writing
from tests import checkpoints
from tests.checkpoints import rewrite, rewrite_json


@pytest.fixture
def refused(capsys, tmp_path):
    """Run a command that must fail with one clear error, and leave everything as it was."""

    def run(words: list[str], *says: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert main(words) == 2
        caught = capsys.readouterr()
        assert caught.out == ""
        assert [line.startswith("error: ") for line in caught.err.splitlines()].count(True) == 1
        assert "Traceback" not in caught.err
        for part in says:
            assert part in caught.err
        assert sorted(tmp_path.rglob("*")) == before
        return caught.err

    return run


def other(system: str) -> str:
    return next(name for name in checkpoints.SYSTEMS if name != system)


# --- FINAL.pt ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_final(checkpoint, refused, tmp_path, share):
    file = checkpoint.folder / "FINAL.pt"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    refused(checkpoint.words(tmp_path / "out"), "FINAL.pt", "fetch it again")


def test_one_flipped_byte_in_a_tensor(checkpoint, refused, tmp_path):
    file = checkpoint.folder / "FINAL.pt"
    with zipfile.ZipFile(file) as packed:
        record = max(packed.infolist(), key=lambda info: info.file_size)
    content = bytearray(file.read_bytes())
    content[record.header_offset + record.file_size // 2] ^= 1
    file.write_bytes(content)
    refused(checkpoint.words(tmp_path / "out"), "FINAL.pt is damaged")


def test_final_that_is_no_checkpoint_file(checkpoint, refused, tmp_path):
    (checkpoint.folder / "FINAL.pt").write_bytes(b"<html>404: not found</html>" * 100)
    refused(checkpoint.words(tmp_path / "out"), "FINAL.pt")


class Code:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_code_in_a_pickle_is_not_run(checkpoint, refused, tmp_path, form):
    proof = tmp_path / "was_run"
    content = torch.load(checkpoint.folder / "FINAL.pt", weights_only=True)
    content["rgb_ckpt"]["encoder.more"] = Code(proof)
    with (checkpoint.folder / "FINAL.pt").open("wb") as file:
        if form == "zip":
            torch.save(content, file)
        else:
            pickle.dump(content, file, protocol=2)
    refused(checkpoint.words(tmp_path / "out"), "FINAL.pt holds more than tensors", "run no code")
    assert not proof.exists()


def test_file_without_check_sums_is_taken(bot, tmp_path):
    content = torch.load(bot.folder / "FINAL.pt", weights_only=True)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(content, bot.folder / "FINAL.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert main(bot.words(tmp_path / "out")) == 0


def test_other_content_in_final(checkpoint, refused, tmp_path):
    out = tmp_path / "out"
    file = checkpoint.folder / "FINAL.pt"
    whole = torch.load(file, weights_only=True)
    torch.save({"rgb_ckpt": whole["rgb_ckpt"]}, file)
    refused(checkpoint.words(out), "another layout", "other_ckpt")
    torch.save({**whole, "optimizer": {"state": torch.zeros(1)}}, file)
    refused(checkpoint.words(out), "another layout", "optimizer")
    torch.save({**whole, "other_ckpt": {**whole["other_ckpt"], "lm_head": {"weight": torch.zeros(2, 2)}}}, file)
    refused(checkpoint.words(out), "another layout", "lm_head (not empty)")
    torch.save({**whole, "epoch": 3}, file)
    refused(checkpoint.words(out), "no weight", "epoch: int")
    torch.save([torch.zeros(1)], file)
    refused(checkpoint.words(out), "holds no dictionary")


def test_deepspeed_folder(checkpoint, refused, tmp_path):
    folder = tmp_path / "deepspeed"
    (folder / "global_step100").mkdir(parents=True)
    (folder / "latest").write_text("global_step100")
    (folder / "global_step100" / "mp_rank_00_model_states.pt").write_bytes(b"")
    words = checkpoint.words(tmp_path / "out")
    place = words.index(str(checkpoint.folder))
    for given in (folder, folder / "global_step100"):
        words[place] = str(given)
        refused(words, "checkpoint of DeepSpeed", "zero_to_fp32.py")
    (checkpoint.folder / "FINAL.pt").unlink()
    folder.rename(checkpoint.folder / "FINAL.pt")
    words[place] = str(checkpoint.folder)
    refused(words, "checkpoint of DeepSpeed")
    words[place] = str(checkpoint.folder / "FINAL.pt")
    refused(words, "checkpoint of DeepSpeed")


def test_folder_without_final(checkpoint, refused, tmp_path):
    words = checkpoint.words(tmp_path / "out")
    place = words.index(str(checkpoint.folder))
    words[place] = str(tmp_path)
    refused(words, "holds no FINAL.pt", "published")
    words[place] = str(tmp_path / "nowhere")
    refused(words, "no such folder")
    (tmp_path / "empty").mkdir()
    for option in (None, "--llm", "--vision"):
        words = checkpoint.words(tmp_path / "out")
        words[place if option is None else words.index(option) + 1] = str(tmp_path / "empty")
        refused(words, "nothing" if option is None else "config.json cannot be read")


# --- names and shapes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "name", "tensor", "says"),
    [
        (
            "rgb_ckpt",
            "encoder.vision_model.post_layernorm.bias",
            None,
            "missing encoder.vision_model.post_layernorm.bias",
        ),
        ("rgb_ckpt", "encoder.vision_model.more", torch.zeros(1), "unexpected encoder.vision_model.more"),
        (
            "rgb_ckpt",
            "encoder.vision_model.post_layernorm.bias",
            torch.zeros(3),
            "post_layernorm.bias is (3,), not (32,)",
        ),
        ("rgb_pooler", "layers.1.ln_2.bias", None, "missing layers.1.ln_2.bias"),
        ("rgb_pooler", "pos_embed", torch.zeros(1), "unexpected pos_embed"),
        ("rgb_pooler", "layers.0.attn.in_proj_bias", torch.zeros(7), "layers.0.attn.in_proj_bias is (7,), not (96,)"),
        ("rgb_pooler", "query", None, "has no queries"),
        ("rgb_ckpt", "encoder.vision_model.encoder.layers.9.mlp.fc1.bias", torch.zeros(1), "another number of layers"),
    ],
)
def test_tensor_missing_unexpected_or_misshaped(checkpoint, refused, tmp_path, part, name, tensor, says):
    def change(content):
        tensors = content["rgb_ckpt"] if part == "rgb_ckpt" else content["other_ckpt"][part]
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor

    checkpoint.final(change)
    refused(checkpoint.words(tmp_path / "out"), says)


def test_tower_without_the_published_prefix(checkpoint, refused, tmp_path):
    def rename(content):
        tower = content["rgb_ckpt"]
        content["rgb_ckpt"] = {name.replace(".vision_model", ""): tensor for name, tensor in tower.items()}

    checkpoint.final(rename)
    said = refused(checkpoint.words(tmp_path / "out", "--layers", "1", "--taps", "1,1,1"))
    assert "vision tower" in said


def test_numbers_that_are_not_finite(checkpoint, refused, tmp_path):
    def spoil(content):
        content["rgb_ckpt"]["encoder.vision_model.encoder.layers.0.mlp.fc1.weight"][0, 0] = float("nan")

    checkpoint.final(spoil)
    refused(checkpoint.words(tmp_path / "out"), "fc1.weight holds numbers that are not finite")


# --- parts that do not belong together --------------------------------------------------------------------------------


def test_the_other_system(checkpoint, refused, tmp_path):
    words = checkpoint.words(tmp_path / "out")
    words[words.index(checkpoint.system)] = other(checkpoint.system)
    refused(words, "no checkpoint of", f"--from {checkpoint.system}")


def test_unknown_system(checkpoint, refused, tmp_path):
    words = checkpoint.words(tmp_path / "out")
    words[words.index(checkpoint.system)] = "lhrs-bit"
    refused(words, "no such system", "did you mean lhrs-bot?")


def test_the_other_tower(checkpoint, refused, tmp_path):
    tower = checkpoints.recorded(other(checkpoint.system), tmp_path / "other").folder / "vision_tower"
    shutil.rmtree(checkpoint.folder / "vision_tower")
    shutil.copytree(tower, checkpoint.folder / "vision_tower")
    refused(checkpoint.words(tmp_path / "out"), "another vision tower")


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("base_llm/config.json", {"hidden_size": None}),
        ("base_llm/config.json", {"hidden_size": -1}),
        ("base_llm/config.json", {"num_attention_heads": 0}),
        ("base_llm/config.json", {"rms_norm_eps": "1e-5"}),
        ("base_llm/config.json", {"model_type": ["llama"]}),
        ("base_llm/tokenizer.json", {"model": None}),
        ("base_llm/special_tokens_map.json", {"bos_token": {"text": "<s>"}}),
        ("vision_tower/config.json", {"hidden_size": "wide"}),
        ("vision_tower/config.json", {"patch_size": [14]}),
        ("vision_tower/config.json", {"hidden_act": "swish-swash"}),
        ("vision_tower/preprocessor_config.json", {"image_mean": 0.5}),
        ("vision_tower/preprocessor_config.json", {"size": {}}),
        ("TextLoRA/adapter_config.json", {"r": "4"}),
    ],
    ids=str,
)
def test_configuration_with_values_that_make_no_model(checkpoint, refused, tmp_path, file, change):
    path = checkpoint.folder / file
    rewrite_json(path, **change)
    if path.name == "special_tokens_map.json":
        (path.parent / "tokenizer_config.json").unlink()
    refused(checkpoint.words(tmp_path / "out"))


@pytest.mark.parametrize("content", ["", "{", "[]", "<html>404: not found</html>"])
def test_damaged_configuration(checkpoint, refused, tmp_path, content):
    files = sorted(checkpoint.folder.rglob("*.json"))
    assert len(files) >= 8
    for path in files:
        before = path.read_text()
        path.write_text(content)
        refused(checkpoint.words(tmp_path / "out"), path.name)
        path.write_text(before)


def test_tower_of_another_depth_or_size(checkpoint, refused, tmp_path):
    config = checkpoint.folder / "vision_tower" / "config.json"
    rewrite_json(config, num_hidden_layers=9)
    refused(checkpoint.words(tmp_path / "out"), "another number of layers")
    rewrite_json(config, num_hidden_layers=6, image_size=112)
    refused(checkpoint.words(tmp_path / "out"), "of different sizes")
    rewrite_json(checkpoint.folder / "vision_tower" / "preprocessor_config.json", resample=0)
    refused(checkpoint.words(tmp_path / "out"), "image processor of the tower works in another way")
    (checkpoint.folder / "vision_tower" / "preprocessor_config.json").unlink()
    refused(checkpoint.words(tmp_path / "out"), "preprocessor_config.json cannot be read")


def test_missing_adapter(checkpoint, refused, tmp_path):
    shutil.rmtree(checkpoint.folder / "TextLoRA")
    refused(checkpoint.words(tmp_path / "out"), "TextLoRA is missing", "--stage 1")


def test_adapter_where_none_belongs(checkpoint, refused, tmp_path):
    refused(checkpoint.words(tmp_path / "out", "--stage", "1"), "stage 1 has no TextLoRA")


def test_damaged_adapter(checkpoint, refused, tmp_path):
    folder = checkpoint.folder / "TextLoRA"
    out = tmp_path / "out"
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    checkpoint.adapter(lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name})
    refused(checkpoint.words(out), "adapter is not complete", "up_proj has only B.weight")
    checkpoint.adapter(lambda tensors: {key: tensor for key, tensor in tensors.items() if "0.mlp.up_proj" not in key})
    refused(checkpoint.words(out), "model.layers.0.mlp.up_proj is named, but has no tensors")
    rewrite_json(folder / "adapter_config.json", use_dora=True)
    refused(checkpoint.words(out), "not of the plain kind", "use_dora")
    (folder / "adapter_config.json").write_text("{")
    refused(checkpoint.words(out), "adapter_config.json cannot be read")
    rewrite_json_file = folder / "adapter_config.json"
    rewrite_json_file.write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(checkpoint.words(out), "missing or damaged")
    file.unlink()
    refused(checkpoint.words(out), "adapter has no weights")


def test_base_model_of_other_values(checkpoint, refused, tmp_path):
    def shuffle(tensors):
        tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].flip(0).contiguous()

    rewrite(checkpoint.folder / "base_llm" / "model.safetensors", shuffle)
    refused(checkpoint.words(tmp_path / "out"), "another base language model", "--llm")


@pytest.mark.parametrize(
    "change", [{"hidden_size": 96, "intermediate_size": 64}, {"num_hidden_layers": 1}, {"vocab_size": 500}], ids=str
)
def test_base_model_of_another_size(checkpoint, refused, tmp_path, change):
    from transformers import AutoConfig, AutoModelForCausalLM

    base = checkpoint.folder / "base_llm"
    config = AutoConfig.from_pretrained(base)
    config.update(change)
    if "hidden_size" in change:
        config.head_dim = change["hidden_size"] // config.num_attention_heads
    AutoModelForCausalLM.from_config(config).save_pretrained(base)
    refused(checkpoint.words(tmp_path / "out"))


def test_base_model_that_is_not_complete(checkpoint, refused, tmp_path):
    base = checkpoint.folder / "base_llm"
    out = tmp_path / "out"
    rewrite(base / "model.safetensors", lambda tensors: {k: v for k, v in tensors.items() if k != "model.norm.weight"})
    refused(checkpoint.words(out), "missing model.norm.weight")
    (base / "tokenizer.json").unlink()
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    refused(checkpoint.words(out), "without running code", "pytorch_model.bin")
    (base / "config.json").unlink()
    refused(checkpoint.words(out), "config.json cannot be read")


def test_base_model_without_tokenizer(checkpoint, refused, tmp_path):
    (checkpoint.folder / "base_llm" / "tokenizer.json").unlink()
    refused(checkpoint.words(tmp_path / "out"), "no tokenizer.json")


def test_shard_that_is_missing(refused, tmp_path):
    sizes = checkpoints.SIZES["lhrs-bot"]
    checkpoint = checkpoints.random("lhrs-bot", tmp_path / "published", **sizes, shards=3)
    next((checkpoint.folder / "base_llm").glob("model-*.safetensors")).unlink()
    refused(checkpoint.words(tmp_path / "out"), "missing or damaged")


def test_model_that_is_neither_here_nor_on_the_hub(checkpoint, refused, tmp_path):
    words = checkpoint.words(tmp_path / "out")
    words[words.index("--llm") + 1] = "nobody/nothing"
    refused(words, "could not be had from the Hugging Face hub")
    words[words.index("--llm") + 1] = "./nowhere"
    refused(words, "--llm names no folder")


@pytest.mark.parametrize(
    ("system", "name", "says"),
    [
        ("lhrs-bot", "clasification", "did you mean classification?"),
        ("lhrs-bot-nova", "classification", "none; it was published with one way"),
    ],
)
def test_unknown_image_variant(refused, tmp_path, system, name, says):
    checkpoint = checkpoints.recorded(system, tmp_path / "published")
    refused(checkpoint.words(tmp_path / "out", "--image-variant", name), "no such image variant", says)


def test_image_variant_of_another_size(refused, tmp_path):
    checkpoint = checkpoints.random("lhrs-bot", tmp_path / "published", **checkpoints.SIZES["lhrs-bot"])
    refused(checkpoint.words(tmp_path / "out", "--image-variant", "classification"), "another tower", "56 px")


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--queries", "5,4,3"), "do not divide among the levels"),
        (("--taps", "1,2"), "do not divide among the levels"),
        (("--taps", "1,2,40"), "index into hidden_states"),
        (("--heads", "5"), "divide the width"),
        (("--layers", "3"), "another number of layers"),
    ],
)
def test_options_that_do_not_fit(checkpoint, refused, tmp_path, options, says):
    refused(checkpoint.words(tmp_path / "out", *options), says)


def test_heads_that_nobody_gave_are_told(checkpoint, capsys, tmp_path):
    words = checkpoint.words(tmp_path / "out")
    del words[words.index("--heads") : words.index("--heads") + 2]
    main(words)
    assert "see --heads" in capsys.readouterr().err
    main(checkpoint.words(tmp_path / "second"))
    assert "--heads" not in capsys.readouterr().err


# --- the output folder ------------------------------------------------------------------------------------------------


def test_output_that_is_not_empty(checkpoint, refused, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    refused(checkpoint.words(out), "not empty")
    assert (out / "thesis.txt").read_text() == "precious"
    refused(checkpoint.words(out / "thesis.txt"), "to be a folder")
    refused(checkpoint.words(out / "thesis.txt" / "below"), "cannot be made")


def test_output_may_be_an_empty_folder(bot, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert main(bot.words(out)) == 0
    assert (out / "config.json").exists()


def test_nothing_is_left_when_the_disk_is_full(checkpoint, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(_writing.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, 5))
    refused(checkpoint.words(tmp_path / "new" / "out"), "disk is too small")
    monkeypatch.undo()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # no file may be larger, so the weights cannot end
    try:
        refused(checkpoint.words(tmp_path / "out"), "writing stopped")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
