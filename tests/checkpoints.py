"""Checkpoints in the published layout of LHRS-Bot and LHRS-Bot-Nova: recorded tiny ones, and random ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
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

DATA = Path(__file__).parent / "data"
NAMES = {"lhrs-bot": "lhrs", "lhrs-bot-nova": "nova"}
SYSTEMS = tuple(NAMES)

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
        "bridge": {"queries": (7, 3), "layers": 3, "heads": 2, "width": 16, "inner": 40},
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
        "bridge": {"queries": (5, 4, 3, 2), "layers": 1, "heads": 8, "inner": 96, "experts": 3, "top_k": 1},
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
    parts: dict[str, Tensors] = field(default_factory=dict)
    """Tensors: of a random checkpoint `tower`, `bridge`, `llm` and `lora`, as stored; of a recorded one `merged`."""

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


@dataclass(frozen=True)
class Bridge:
    """Sizes of a bridge; a dense one where `experts` is 0, and always dense in LHRS-Bot."""

    queries: tuple[int, ...]
    layers: int
    heads: int
    inner: int
    width: int | None = None
    """Of the queries; the tower's where left out."""
    experts: int = 0
    top_k: int = 2


def random(
    system: str,
    folder: Path,
    *,
    tower: Mapping[str, Any],
    llm: Mapping[str, Any],
    bridge: Mapping[str, Any],
    taps: tuple[int, ...],
    kept: int | None = None,
    head: bool = True,
    lora: tuple[int, int] | None = (3, 5),
    rows: int | None = None,
    table: bool = True,
    storage: Mapping[str, torch.dtype] = MappingProxyType({}),
    wrapped: str | None = None,
    shards: int = 1,
) -> Published:
    """Write a random checkpoint of any size, from the published lists of names alone.

    Args:
        system: `lhrs-bot` or `lhrs-bot-nova`.
        folder: where to.
        tower: its configuration; the layers are all counted, the one that Nova cuts too.
        llm: configuration of the base language model.
        bridge: fields of `Bridge`.
        taps: tapped `hidden_states`.
        kept: layers of the tower that are stored; as published where left out.
        head: whether the unused head of Nova's tower is stored.
        lora: rank and alpha of TextLoRA; None leaves it out.
        rows: of the tables of tokens in TextLoRA; None leaves them out.
        table: whether FINAL.pt of LHRS-Bot holds a copy of the base model's table.
        storage: how `tower`, `bridge`, `llm` and `lora` are stored; float32 where left out.
        wrapped: put FINAL.pt's content one level down, below this key.
        shards: files of the base language model, at least.
    """
    nova, sizes = NAMES[system] == "nova", Bridge(**bridge)
    vision = (SiglipVisionConfig if nova else CLIPVisionConfig)(**tower)
    for sub in ("base_llm", "vision_tower"):
        (folder / sub).mkdir(parents=True)
    dtypes = {part: storage.get(part, torch.float32) for part in ("tower", "bridge", "llm", "lora")}
    llm_state = _write_llm(system, folder / "base_llm", llm, dtypes["llm"], shards)
    _write_tower_files(system, folder / "vision_tower", vision)
    layers = vision.num_hidden_layers - int(nova) if kept is None else kept
    parts = {
        "tower": _cast(_tower_state(vision, layers, head), dtypes["tower"]),
        "bridge": _cast(_bridge_state(nova, sizes, vision.hidden_size, llm["hidden_size"]), dtypes["bridge"]),
        "llm": llm_state,
        "lora": {} if lora is None else _write_lora(folder / "TextLoRA", llm_state, *lora, rows, dtypes["lora"]),
    }
    rgb = {f"encoder.vision_model.{key}": tensor for key, tensor in parts["tower"].items()}
    copy = {"weight": llm_state["model.embed_tokens.weight"].clone()} if table and not nova else {}
    other = {"rgb_pooler": parts["bridge"], "text_proj": {}, "embed_tokens": copy, "lm_head": {}}
    content = {"rgb_ckpt": rgb, "other_ckpt": other}
    torch.save({wrapped: content} if wrapped else content, folder / "FINAL.pt")
    options = ["--heads", str(sizes.heads), "--queries", ",".join(map(str, sizes.queries))]
    options += ["--taps", ",".join(map(str, taps))]
    options += ["--top-k", str(sizes.top_k)] if sizes.experts else []
    options += [] if kept is None else ["--layers", str(kept)]
    return Published(system, folder, tuple(options), parts)


def filled(shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """Random tensors: matrices that keep the size of what they are multiplied with, scales of norms around 1."""
    made = {}
    for name, shape in shapes.items():
        spread = 0.1 if len(shape) == 1 else torch.Size(shape[1:]).numel() ** -0.5
        norm = len(shape) == 1 and name.endswith("weight")
        made[name] = torch.randn(shape) * spread + float(norm)
    return made


def _cast(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def _write_llm(system: str, folder: Path, llm: Mapping[str, Any], dtype: torch.dtype, shards: int) -> Tensors:
    """Write a base language model with the recorded tokenizer; return its tensors."""
    for file in (DATA / f"{NAMES[system]}_tiny_tokenizer").iterdir():
        shutil.copyfile(file, folder / file.name)
    text = LlamaConfig(**llm)
    base = AutoModelForCausalLM.from_config(text).to(dtype)
    base.load_state_dict(filled({name: tuple(tensor.shape) for name, tensor in base.named_parameters()}), strict=False)
    base.save_pretrained(folder, max_shard_size=base.num_parameters() * dtype.itemsize // shards + 1)
    rewrite_json(folder / "config.json", eos_token_id=text.eos_token_id)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return {name: tensor.detach() for name, tensor in base.named_parameters()}


def _write_tower_files(system: str, folder: Path, vision: SiglipVisionConfig | CLIPVisionConfig) -> None:
    given = DATA / f"ckpt_{NAMES[system]}" / "vision_tower" / "preprocessor_config.json"
    shutil.copyfile(given, folder / given.name)
    side = {"height": vision.image_size, "width": vision.image_size}
    old = {"size": {"shortest_edge": vision.image_size}, "crop_size": side}
    rewrite_json(folder / given.name, **(old if isinstance(vision, CLIPVisionConfig) else {"size": side}))
    (folder / "config.json").write_text(json.dumps({"vision_config": vision.to_dict()}))


def _tower_state(vision: SiglipVisionConfig | CLIPVisionConfig, layers: int, head: bool) -> Tensors:
    stored = type(vision)(**{**vision.to_dict(), "num_hidden_layers": layers})
    with torch.device("meta"):
        own = (SiglipVisionModel if isinstance(vision, SiglipVisionConfig) else CLIPVisionModel)(stored).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    return filled({name: shape for name, shape in shapes.items() if head or not name.startswith("head.")})


def _bridge_state(nova: bool, sizes: Bridge, encoder_width: int, out: int) -> Tensors:
    """The published names and shapes of `rgb_pooler`."""
    width, inner = sizes.width or encoder_width, sizes.inner
    shapes: dict[str, tuple[int, ...]] = {"query": (1, sum(sizes.queries), width)}
    norms = ["layernorm_query", "layernorm_kv", "layernorm_post"] if nova else []
    for i in range(sizes.layers):
        norms += [f"layers.{i}.{name}" for name in ("ln_1", "ln_1_kv", "ln_2")]
        attention, mlp = f"layers.{i}.attn", f"layers.{i}.mlp"
        shapes |= {f"{attention}.in_proj_weight": (3 * width, width), f"{attention}.in_proj_bias": (3 * width,)}
        shapes |= {f"{attention}.out_proj.weight": (width, width), f"{attention}.out_proj.bias": (width,)}
        if not sizes.experts:
            shapes |= {f"{mlp}.c_fc.weight": (inner, width), f"{mlp}.c_fc.bias": (inner,)}
            shapes |= {f"{mlp}.c_proj.weight": (width, inner), f"{mlp}.c_proj.bias": (width,)}
            continue
        shapes |= {f"{mlp}.gate.gate_network.0.weight": (sizes.experts, width)}
        shapes |= {f"{mlp}.gate.gate_network.2.weight": (sizes.experts, sizes.experts)}
        shapes |= {f"{mlp}.gate.weight_noise.weight": (sizes.experts, width)}
        for e in range(sizes.experts):
            experts = f"{mlp}.calculator.experts"
            shapes |= {f"{experts}.weight_up.{e}": (inner, width), f"{experts}.bias_up.{e}": (inner,)}
            shapes |= {f"{experts}.weight_down.{e}": (inner, width), f"{experts}.bias_down.{e}": (width,)}
    shapes |= {f"{norm}.{side}": (width,) for norm in norms for side in ("weight", "bias")}
    shapes |= {"out_proj.weight": (out, width), "out_proj.bias": (out,)}
    shapes |= {"in_proj.weight": (width, encoder_width), "in_proj.bias": (width,)} if width != encoder_width else {}
    return filled(shapes)


def _write_lora(
    folder: Path, llm: Mapping[str, torch.Tensor], rank: int, alpha: int, rows: int | None, dtype: torch.dtype
) -> Tensors:
    """Write a random LoRA on every linear layer but the head, and tables of `rows` tokens beside it."""
    folder.mkdir()
    targets = [name.removesuffix(".weight") for name in llm if name.endswith("_proj.weight")]
    lora: Tensors = {}
    for target in targets:
        out, inner = llm[f"{target}.weight"].shape
        sides = filled({"A": (rank, inner), "B": (out, rank)})
        lora |= {f"base_model.model.{target}.lora_{side}.weight": tensor.to(dtype) for side, tensor in sides.items()}
    for name in ("model.embed_tokens.weight", "lm_head.weight") if rows is not None else ():
        old = llm.get(name, llm["model.embed_tokens.weight"])  # the head may be tied to the table
        new = filled({name: (rows - len(old), old.shape[1])})[name]
        lora[f"base_model.model.{name}"] = torch.cat([old.to(dtype), new.to(dtype)])
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none", "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "task_type": "CAUSAL_LM"}))
    save_file(lora, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return lora
