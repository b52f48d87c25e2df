"""FINAL.pt and TextLoRA: the layout in which LHRS-Bot and LHRS-Bot-Nova were published.

FINAL.pt is a dictionary of `rgb_ckpt` (vision tower) and `other_ckpt` (`rgb_pooler`, the bridge; `embed_tokens`, a copy
of the base model's table; `text_proj` and `lm_head`, always empty). It may lie one level down, under `model` or
`module`. TextLoRA is a PEFT folder; stages 2 and 3 have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lhrs_chat.errors import WeightsError
from lhrs_chat.models.convert._tensors import SafetensorsFiles, Tensors, TorchFile
from lhrs_chat.models.strict import read_json

FINAL = "FINAL.pt"
ADAPTER = "TextLoRA"
_DEEPSPEED = ("latest", "zero_to_fp32.py", "global_step*", "*_optim_states.pt", "*_model_states.pt")
_EMPTY = ("text_proj", "lm_head")
_WRAPPERS = ("model", "module")
_PEFT = "base_model.model."


@dataclass(frozen=True)
class Part:
    """One part of a checkpoint: `prefix` + name is a tensor of `tensors`."""

    tensors: Tensors
    prefix: str

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name, without the prefix, and shape of every tensor of the part."""
        cut = len(self.prefix)
        return {name[cut:]: shape for name, shape in self.tensors.shapes().items() if name.startswith(self.prefix)}

    def read(self, name: str) -> torch.Tensor:
        """Map one tensor."""
        return self.tensors.read(self.prefix + name)

    def reader(self, name: str) -> Callable[[], torch.Tensor]:
        """Return what maps one tensor when it is called."""
        return lambda: self.read(name)


@dataclass(frozen=True)
class Adapter:
    """A LoRA: a module of the language model is changed by `scale` * B A.

    Args:
        folder: where it lies.
        config: its adapter_config.json.
        tensors: its tensors.
        modules: names of the changed modules.
        tables: tensor of the language model -> tensor that PEFT stored whole beside the LoRA.
        scale: alpha / r.
    """

    folder: Path
    config: dict[str, object]
    tensors: Tensors
    modules: tuple[str, ...]
    tables: Mapping[str, str]
    scale: float

    def pair(self, module: str) -> tuple[str, str]:
        """Names of A: (r, in) and B: (out, r) of a module."""
        return f"{_PEFT}{module}.lora_A.weight", f"{_PEFT}{module}.lora_B.weight"

    def delta(self, module: str) -> torch.Tensor:
        """Return the change of a module's weight, (out, in), in float32."""
        first, second = (self.tensors.read(name).float() for name in self.pair(module))
        return (second @ first).mul_(self.scale)


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint, opened: the tower, the bridge, the copy of the base table, the adapter."""

    folder: Path
    tower: Part
    bridge: Part
    table: Part
    adapter: Adapter | None


def find(checkpoint: Path) -> Path:
    """Return the folder that holds FINAL.pt.

    Raises:
        WeightsError: there is none; a DeepSpeed checkpoint is told apart.
    """
    folder = checkpoint.parent if checkpoint.name == FINAL and not checkpoint.is_dir() else checkpoint
    if not folder.is_dir():
        raise WeightsError("no such folder", found=str(checkpoint), allowed=f"a folder with {FINAL}")
    final = folder / FINAL
    if final.is_file():
        return folder
    for place in (folder, final):
        sign = next((path for pattern in _DEEPSPEED for path in sorted(place.glob(pattern))), None)
        if sign is not None:
            raise WeightsError(
                "this is a checkpoint of DeepSpeed, cut into the pieces of its processes",
                found=str(sign),
                allowed=f"a folder with {FINAL}",
                next_step=f"take the {FINAL} that the training wrote at its end; without one, join the pieces with the "
                "zero_to_fp32.py that lies beside them and save them in the published layout, rgb_ckpt and other_ckpt",
            )
    below = sorted(str(path.parent.relative_to(folder)) for path in folder.glob(f"*/{FINAL}"))
    raise WeightsError(
        f"this folder holds no {FINAL}",
        found=", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing",
        next_step=f"give one of the folders below it: {', '.join(below)}" if below else "check the path",
    )


def with_adapter(checkpoint: Checkpoint, stage: int | None, *, expected: bool) -> Checkpoint:
    """Open the adapter of a checkpoint too.

    Args:
        checkpoint: what `open_final` returned.
        stage: what the user says; stage 1 has no adapter, the others have one.
        expected: whether it must have one where the user says nothing.

    Raises:
        WeightsError: TextLoRA is missing, damaged, or there without belonging there.
    """
    folder = checkpoint.folder
    there = (folder / ADAPTER).exists()
    if not there and (expected if stage is None else stage > 1):
        raise WeightsError(
            f"{ADAPTER} is missing beside {FINAL}",
            found=f"no {folder / ADAPTER}",
            allowed=f"{FINAL} and {ADAPTER} together; a checkpoint of stage 1 alone has no {ADAPTER}",
            next_step=f"fetch {ADAPTER} into {folder}, or say --stage 1 if that is what it is",
        )
    if there and stage == 1:
        raise WeightsError(
            f"a checkpoint of stage 1 has no {ADAPTER}",
            found=str(folder / ADAPTER),
            next_step="leave out --stage, or take the folder of stage 1",
        )
    return replace(checkpoint, adapter=open_adapter(folder / ADAPTER)) if there else checkpoint


def open_final(folder: Path) -> Checkpoint:
    """Open FINAL.pt, whose tensors stay on disk.

    Raises:
        WeightsError: it is damaged, or has another layout.
    """
    final = TorchFile(folder / FINAL)
    tree, above = final.tree, ""
    key = next(iter(tree), "")
    if len(tree) == 1 and key in _WRAPPERS and isinstance(tree[key], dict):
        tree, above = tree[key], f"{key}{final.separator}"
    other = tree.get("other_ckpt")
    known = {"rgb_pooler", "embed_tokens", *_EMPTY}
    wrong = sorted(set(tree) ^ {"rgb_ckpt", "other_ckpt"})
    if not wrong and isinstance(other, dict):
        wrong = sorted(f"other_ckpt/{key}" for key in set(other) - known)
        wrong += [f"other_ckpt/{key} (not empty)" for key in _EMPTY if other.get(key)]
        wrong += [] if other.get("rgb_pooler") else ["other_ckpt/rgb_pooler (missing)"]
        wrong += [] if isinstance(tree["rgb_ckpt"], dict) and tree["rgb_ckpt"] else ["rgb_ckpt (empty)"]
    elif not wrong:
        wrong = ["other_ckpt (a tensor)"]
    if wrong:
        raise WeightsError(
            f"{FINAL} has another layout",
            found=", ".join(wrong[:8]),
            allowed="rgb_ckpt, and other_ckpt with rgb_pooler, embed_tokens, text_proj and lm_head, the last two empty",
            next_step="check that this is a checkpoint of LHRS-Bot or LHRS-Bot-Nova",
        )

    def part(path: str) -> Part:
        return Part(final, above + path.replace("/", final.separator) + final.separator)

    return Checkpoint(folder, part("rgb_ckpt"), part("other_ckpt/rgb_pooler"), part("other_ckpt/embed_tokens"), None)


def open_adapter(folder: Path) -> Adapter:
    """Open a PEFT folder that holds a LoRA.

    Raises:
        WeightsError: a file or tensor is missing or damaged, or the adapter is of another kind.
    """
    config = read_json(folder / "adapter_config.json")
    wanted = {"peft_type": "LORA", "bias": "none", "fan_in_fan_out": False, "use_dora": False}
    odd = [f"{key}: {config[key]}" for key, value in wanted.items() if config.get(key, value) != value]
    more = ("rank_pattern", "alpha_pattern", "modules_to_save", "layer_replication")
    odd += [f"{key}: {config[key]}" for key in more if config.get(key)]
    if odd:
        raise WeightsError("this adapter is not of the plain kind", found="; ".join(odd), allowed="a LoRA without them")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise WeightsError("adapter_config.json names no rank and alpha", found=f"r {rank}, lora_alpha {alpha}")
    files = (folder / "adapter_model.safetensors", folder / "adapter_model.bin")
    there = next((file for file in files if file.is_file()), None)
    if there is None:
        raise WeightsError("the adapter has no weights", found=str(folder), allowed=" or ".join(f.name for f in files))
    tensors: Tensors = SafetensorsFiles.open(there) if there.suffix == ".safetensors" else TorchFile(there)
    modules, tables = _sort_names(tensors, rank, config.get("target_modules"))
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Adapter(folder, config, tensors, modules, tables, scale)


def _sort_names(tensors: Tensors, rank: int, targets: object) -> tuple[tuple[str, ...], dict[str, str]]:
    """Tell the pairs of a LoRA from the tables beside them, and refuse what is neither, or half a pair."""
    shapes = tensors.shapes()
    modules: dict[str, set[str]] = {}
    tables, odd = {}, []
    for name, shape in shapes.items():
        inner = name.removeprefix(_PEFT)
        module, _, side = inner.rpartition(".lora_")
        if inner == name or not name.endswith(".weight"):
            odd.append(name)
        elif module and side in ("A.weight", "B.weight"):
            if len(shape) != 2 or shape[0 if side[0] == "A" else 1] != rank:
                odd.append(f"{name} {shape}, not of rank {rank}")
            modules.setdefault(module, set()).add(side)
        elif inner in ("model.embed_tokens.weight", "lm_head.weight") and len(shape) == 2:
            tables[inner] = name
        else:
            odd.append(name)
    odd += [f"{module} has only {side}" for module, sides in modules.items() for side in sides if len(sides) == 1]
    if isinstance(targets, list):
        full = {target for target in targets if "." in str(target)}
        odd += [f"{target} is named, but has no tensors" for target in sorted(full - modules.keys())]
    if odd or not modules:
        raise WeightsError(
            "the adapter is not complete, or holds more than a LoRA", found="; ".join(odd[:8]) or "no LoRA tensors"
        )
    return tuple(sorted(modules)), tables
