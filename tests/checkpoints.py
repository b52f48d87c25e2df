"""Checkpoints in the published layout of LHRS-Bot and LHRS-Bot-Nova: recorded tiny ones, and random ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from lhrs_chat.models.bridges import BRIDGES, BridgeShape

DATA = Path(__file__).parent / "data"
NAMES = {"lhrs-bot": "lhrs", "lhrs-bot-nova": "nova"}

Tensors = dict[str, torch.Tensor]

SIZES: dict[str, dict[str, Any]] = {
    "lhrs-bot": {
        "tower": {
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 4,
            "num_attention_heads": 3,
            "image_size": 56,
            "patch_size": 14,
        },
        "llm": {
            "vocab_size": 360,
            "hidden_size": 40,
            "intermediate_size": 56,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        "bridge": {"queries": [7, 3], "num_layers": 3, "num_heads": 2, "width": 16, "mlp_ratio": 2.5},
        "taps": (1, 3),
    },
    "lhrs-bot-nova": {
        "tower": {
            "hidden_size": 32,
            "intermediate_size": 28,
            "num_hidden_layers": 5,
            "num_attention_heads": 2,
            "image_size": 40,
            "patch_size": 8,
        },
        "llm": {
            "vocab_size": 320,
            "hidden_size": 24,
            "intermediate_size": 36,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "bos_token_id": 315,
            "eos_token_id": 319,
        },
        "bridge": {
            "queries": [5, 4, 3, 2],
            "num_layers": 1,
            "num_heads": 8,
            "mlp_ratio": 3.0,
            "num_experts": 3,
            "top_k": 1,
        },
        "taps": (1, 2, 3, 4),
    },
}


@dataclass
class Published:
    """A checkpoint folder: FINAL.pt, TextLoRA, base_llm, vision_tower; and what it was made from."""

    system: str
    folder: Path
    options: tuple[str, ...]
    """What the weights do not tell, as options of `lhrs-chat convert`."""
    parts: dict[str, Any] = field(default_factory=dict)

    def words(self, out: Path, *more: str) -> list[str]:
        """The command that converts it."""
        folders = [
            str(self.folder),
            "--llm",
            str(self.folder / "base_llm"),
            "--vision",
            str(self.folder / "vision_tower"),
        ]
        return ["convert", "--from", self.system, *folders, str(out), *self.options, *more]

    def final(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Rewrite FINAL.pt after `change`, which changes it in place or returns another one."""
        path = self.folder / "FINAL.pt"
        content = torch.load(path, weights_only=True)
        torch.save(change(content) or content, path)

    def adapter(self, change: Callable[[Tensors], Any]) -> None:
        """Rewrite the adapter's tensors."""
        rewrite(self.folder / "TextLoRA" / "adapter_model.safetensors", change)


def rewrite(file: Path, change: Callable[[Tensors], Any]) -> None:
    """Rewrite a safetensors file after `change`, which changes the tensors in place or returns others."""
    tensors = load_file(file)
    save_file(change(tensors) or tensors, file, metadata={"format": "pt"})


def rewrite_json(file: Path, **change: Any) -> None:
    """Set keys of a JSON object."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))


def below(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    """Tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def recorded(system: str, folder: Path) -> Published:
    """Write the tiny checkpoint whose behaviour was recorded with the original code."""
    name = NAMES[system]
    shutil.copytree(DATA / f"ckpt_{name}", folder, ignore=shutil.ignore_patterns("expected.json", "cases.safetensors"))
    for file in (DATA / f"{name}_tiny_tokenizer").iterdir():
        shutil.copyfile(file, folder / "base_llm" / file.name)
    tensors = load_file(DATA / f"{name}_full_tiny.safetensors")
    other: dict[str, Tensors] = {part: {} for part in ("rgb_pooler", "text_proj", "embed_tokens", "lm_head")}
    for key, tensor in below(tensors, "final.other_ckpt.").items():
        part, _, rest = key.partition(".")
        other[part][rest] = tensor
    torch.save({"rgb_ckpt": below(tensors, "final.rgb_ckpt."), "other_ckpt": other}, folder / "FINAL.pt")
    save_file(below(tensors, "textlora."), folder / "TextLoRA" / "adapter_model.safetensors", metadata={"format": "pt"})
    save_file(below(tensors, "base_llm."), folder / "base_llm" / "model.safetensors", metadata={"format": "pt"})
    return Published(system, folder, ("--heads", "4"), {"merged": below(tensors, "merged_llm.")})


def random(
    system: str,
    folder: Path,
    *,
    tower: Mapping[str, Any],
    llm: Mapping[str, Any],
    bridge: Mapping[str, Any],
    taps: tuple[int, ...],
    rank: int = 3,
    alpha: int = 5,
    shards: int = 1,
) -> Published:
    """Write a random checkpoint of any size; `parts` of the result keeps its tower, bridge and changed language model.

    `tower`, `llm` and `bridge` are the configurations of transformers and of our bridge; the tower's layers are all
    counted, the one that Nova cuts too.
    """
    name = NAMES[system]
    nova = name == "nova"
    vision = (SiglipVisionConfig if nova else CLIPVisionConfig)(**tower)
    kept = type(vision)(**{**tower, "num_hidden_layers": vision.num_hidden_layers - int(nova)})
    eyes = shake((SiglipVisionModel if nova else CLIPVisionModel)(kept))
    grid = (vision.image_size // vision.patch_size,) * 2
    text = LlamaConfig(**{"initializer_range": 0.2, **llm})
    base = AutoModelForCausalLM.from_config(text)
    shape = BridgeShape((vision.hidden_size,) * len(taps), (grid,) * len(taps), text.hidden_size)
    pooler = shake(BRIDGES.get("moe_attn_pooler" if nova else "attn_pooler").build(dict(bridge), shape))

    for sub in ("base_llm", "TextLoRA", "vision_tower"):
        (folder / sub).mkdir(parents=True)
    for file in (DATA / f"{name}_tiny_tokenizer").iterdir():
        shutil.copyfile(file, folder / "base_llm" / file.name)
    base.save_pretrained(folder / "base_llm", max_shard_size=base.num_parameters() * 4 // shards + 1)
    rewrite_json(folder / "base_llm" / "config.json", eos_token_id=text.eos_token_id)
    (folder / "base_llm" / "generation_config.json").unlink(missing_ok=True)
    shutil.copyfile(
        DATA / f"ckpt_{name}" / "vision_tower" / "preprocessor_config.json",
        folder / "vision_tower" / "preprocessor_config.json",
    )
    side = {"height": vision.image_size, "width": vision.image_size}
    sizes = {"size": side} if nova else {"size": {"shortest_edge": vision.image_size}, "crop_size": side}
    rewrite_json(folder / "vision_tower" / "preprocessor_config.json", **sizes)
    (folder / "vision_tower" / "config.json").write_text(json.dumps({"vision_config": vision.to_dict()}))

    changed = base.state_dict()
    lora = _lora(changed, rank)
    targets = sorted({key.removeprefix("base_model.model.").split(".lora_")[0] for key in lora})
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none", "target_modules": targets}
    (folder / "TextLoRA" / "adapter_config.json").write_text(json.dumps({**config, "task_type": "CAUSAL_LM"}))
    save_file(lora, folder / "TextLoRA" / "adapter_model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        for target in targets:
            a, b = (lora[f"base_model.model.{target}.lora_{side}.weight"] for side in "AB")
            changed[f"{target}.weight"] += (alpha / rank) * (b @ a)
    rgb = {f"encoder.vision_model.{key}": tensor for key, tensor in eyes.state_dict().items()}
    table = {} if nova else {"weight": changed["model.embed_tokens.weight"].clone()}
    other = {"rgb_pooler": dict(pooler.state_dict()), "text_proj": {}, "embed_tokens": table, "lm_head": {}}
    torch.save({"rgb_ckpt": rgb, "other_ckpt": other}, folder / "FINAL.pt")
    options = ["--heads", str(bridge["num_heads"]), "--queries", ",".join(map(str, bridge["queries"]))]
    options += ["--taps", ",".join(map(str, taps))]
    options += ["--top-k", str(bridge["top_k"])] if "top_k" in bridge else []
    return Published(system, folder, tuple(options), {"tower": eyes, "bridge": pooler, "llm": base})


def shake(module: torch.nn.Module) -> Any:
    """Fill every tensor with random numbers, norms and biases too, and switch to evaluation."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.2 if parameter.dim() > 1 else 0.1))
    return module.eval()


def _lora(state: Mapping[str, torch.Tensor], rank: int) -> Tensors:
    """A random LoRA on every linear layer but the head."""
    made = {}
    for name, tensor in state.items():
        if tensor.dim() == 2 and name.endswith("_proj.weight"):
            inner = f"base_model.model.{name.removesuffix('.weight')}"
            made[f"{inner}.lora_A.weight"] = torch.randn(rank, tensor.shape[1]) * 0.1
            made[f"{inner}.lora_B.weight"] = torch.randn(tensor.shape[0], rank) * 0.1
    return made
