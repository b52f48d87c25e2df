"""The most memory that `lhrs-chat convert` takes, on a random checkpoint with Nova's bridge in its published size."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import SiglipVisionConfig, SiglipVisionModel

from bench.bridge import random_bridge
from bench.peak import peak_mb
from bench.row import Row
from lhrs_chat.models.assemble import language_model_folder
from lhrs_chat.presets import Preset, load_preset

PRESET = "lhrs-bot-nova"
TOWER_LAYERS = 3
RANK = 128
TARGET = 1.3
MB = 2**20

CONVERT = """
import sys
from lhrs_chat.cli import main
if main(sys.argv[1:]) != 0:
    raise SystemExit("the conversion failed")
"""

Tensors = dict[str, torch.Tensor]


def measure() -> Row:
    """Convert in a process of its own, and hold its peak against the largest part that is read.

    Raises:
        LhrsError: the conversion failed.
    """
    nova, nano = load_preset(PRESET), load_preset("lhrs-nano")
    base = language_model_folder(nano.parts["language_model"])
    with tempfile.TemporaryDirectory(prefix="lhrs-bench-") as name:
        folder = Path(name)
        sizes = write_checkpoint(folder, nova, base)
        words = ["convert", "--from", PRESET, name, str(folder / "out"), "--llm", str(base), "--vision", name]
        peak, _ = peak_mb(CONVERT, words)
    part, largest = max(sizes.items(), key=lambda item: item[1])
    parts = ", ".join(f"{what} {size:.0f} MB" for what, size in sizes.items())
    return Row(
        what="peak memory of converting a checkpoint",
        ours=f"{peak:.0f} MB",
        against=f"{largest:.0f} MB (the largest set of tensors, the {part})",
        ratio=peak / largest,
        target=f"at most {TARGET:g}x",
        passed=peak <= TARGET * largest,
        remark=f"Python and torch included; random float32 weights: {parts}",
    )


def write_checkpoint(folder: Path, nova: Preset, base: Path) -> dict[str, float]:
    """Write FINAL.pt, TextLoRA and the two files of the tower; return the size of every part, in MB of 2^20."""
    given = {key: value for key, value in nova.encoder["vision_config"].items() if key != "model_type"}
    config = SiglipVisionConfig(**{**given, "num_hidden_layers": TOWER_LAYERS})
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    side = {"height": nova.image.size_px, "width": nova.image.size_px}
    image = {"size": side, "resample": 3, "image_mean": nova.image.mean, "image_std": nova.image.std}
    (folder / "preprocessor_config.json").write_text(json.dumps(image))
    tower = SiglipVisionModel(SiglipVisionConfig(**{**given, "num_hidden_layers": TOWER_LAYERS - 1}))
    file = base / "model.safetensors"
    with safe_open(file, framework="pt") as opened:
        shapes = {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118  (no mapping)
    bridge = random_bridge(out_width=json.loads((base / "config.json").read_text())["hidden_size"]).state_dict()
    rgb = {f"encoder.vision_model.{name}": tensor for name, tensor in tower.state_dict().items()}
    other: dict[str, Tensors] = {"rgb_pooler": bridge, "text_proj": {}, "embed_tokens": {}, "lm_head": {}}
    torch.save({"rgb_ckpt": rgb, "other_ckpt": other}, folder / "FINAL.pt")
    lora = write_lora(folder / "TextLoRA", shapes)
    made = {"vision tower": rgb, "bridge": bridge, "LoRA": lora}
    sizes = {what: sum(tensor.nbytes for tensor in tensors.values()) / MB for what, tensors in made.items()}
    return {**sizes, "language model": file.stat().st_size / MB}


def write_lora(folder: Path, shapes: dict[str, list[int]]) -> Tensors:
    """Write a random LoRA for every linear layer of a language model of these shapes."""
    folder.mkdir()
    targets = [name.removesuffix(".weight") for name in shapes if name.endswith("_proj.weight")]
    lora: Tensors = {}
    for target in targets:
        out, inner = shapes[f"{target}.weight"]
        lora[f"base_model.model.{target}.lora_A.weight"] = torch.randn(RANK, inner) * 0.01
        lora[f"base_model.model.{target}.lora_B.weight"] = torch.randn(out, RANK) * 0.01
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "bias": "none", "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "task_type": "CAUSAL_LM"}))
    save_file(lora, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return lora
