"""A vision-language model of transformers in training: opened with its own processor, and taught through an adapter."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from lhrs_chat.errors import ConfigError
from lhrs_chat.models.backends.transformers import ADAPTER, TransformersBackend, open_processor, with_adapter
from lhrs_chat.models.scorer import is_score_model, load_score_model
from lhrs_chat.models.weights import Precision, is_ours, locate
from lhrs_chat.presets import preset_names

from .adapter import targets_of
from .attention import attention_of
from .recipe import LoraPart, Recipe

log = logging.getLogger(__name__)

ENCODER, BRIDGE, TEXT = "encoder", "bridge", "language_model"
# How models of transformers call their parts; the first that is found in a name decides, all else is the text's.
PARTS = (
    (BRIDGE, re.compile(r"multi_modal_projector|merger|connector|aligner|resampler")),
    (ENCODER, re.compile(r"visual|vision|image_encoder")),
)
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
RANK, ALPHA = 16, 32


def is_foreign(recipe: Recipe) -> bool:
    """Whether a recipe begins from a whole model of transformers that is not of our own kind."""
    model = recipe.model
    return model is not None and model not in preset_names() and not is_ours(locate(model))


def part_of(name: str) -> str:
    """Say to which part of a model a parameter or layer belongs: `encoder`, `bridge` or `language_model`."""
    return next((part for part, pattern in PARTS if pattern.search(name)), TEXT)


def open_foreign(recipe: Recipe) -> TransformersBackend:
    """Open the model of a recipe with an adapter on it: a new one, or that of an earlier stage.

    Raises:
        ConfigError: the recipe asks for what such a model does not have.
        LhrsError: model or adapter do not fit.
    """
    if recipe.model is None:
        raise ConfigError("a model of transformers is named by model", found="none", allowed="a folder or a hub id")
    folder = locate(recipe.model)
    if (folder / ADAPTER).is_file():
        raise ConfigError(
            "training begins from a whole model",
            found=f"{recipe.model} has an adapter",
            next_step=f"set model= to the model below it, start={recipe.model} and lora=continue",
        )
    if recipe.lora is None:
        raise ConfigError("a model of transformers is taught through an adapter", found="lora: null", allowed="lora")
    torch.manual_seed(recipe.seed)
    precision = Precision(DTYPES[recipe.optim.precision], recipe.quantise)
    opened = TransformersBackend.open(folder, recipe.model, precision)
    base: Any = opened.model
    base.set_attn_implementation(attention_of(recipe))
    if recipe.lora == "continue":
        if recipe.start is None:
            raise ConfigError("there is no adapter to continue", found="no start", allowed="start")
        made = with_adapter(base, recipe.start, learns=True)
    else:
        targets = targets_of(recipe.lora.targets) if recipe.lora.targets else sorted(_layers(base))
        made = get_peft_model(base, lora_shape(recipe.lora, targets, "CAUSAL_LM"))
    where = Path(recipe.model).expanduser()
    made.peft_config["default"].base_model_name_or_path = str(where.resolve()) if where.is_dir() else recipe.model
    if recipe.optim.gradient_checkpointing:
        base.gradient_checkpointing_enable()
        base.enable_input_require_grads()
    opened.model = made  # it speaks as the model below it does
    opened.processor.tokenizer.padding_side = "right"
    return opened


def lora_shape(lora: LoraPart, targets: list[str] | str, task: str | None = None) -> LoraConfig:
    """Return a new adapter as peft wants it.

    Args:
        lora: of the recipe.
        targets: layers that it lies on.
        task: how peft calls what the model does.
    """
    return LoraConfig(
        r=lora.rank or RANK,
        lora_alpha=lora.alpha or ALPHA,
        lora_dropout=lora.dropout,
        target_modules=targets,
        use_dora=lora.dora,
        task_type=task,
    )


def merged(run: Path) -> tuple[Any, Any]:
    """Return the model that a run taught, its adapter merged, and its processor; also that of a score model."""
    if is_score_model(run):
        return load_score_model(run), open_processor(run, str(run))
    opened = TransformersBackend.open(run, str(run))
    opened.processor.tokenizer.padding_side = "right"
    return opened.model, opened.processor


def _layers(base: nn.Module) -> Iterator[str]:
    """Name the linear layers of language model and bridge, but for the head."""
    head = base.get_output_embeddings()  # type: ignore[operator]
    for name, module in base.named_modules():
        if isinstance(module, nn.Linear) and module is not head and part_of(name) != ENCODER:
            yield name


def adapter_names(objective: nn.Module) -> dict[str, str]:
    """Return the parameters of the adapter, each with its part before its name: that is where patterns are searched."""
    return {name: f"{part_of(name)}.{name}" for name, _ in objective.named_parameters() if "lora_" in name}


def write_adapter(opened: TransformersBackend, out: Path) -> None:
    """Write the adapter with processor and config, so that every verb opens the folder; it names the model below."""
    model: Any = opened.model
    if not isinstance(model, PeftModel):
        raise ConfigError("there is no adapter to write", found=type(model).__name__)
    model.save_pretrained(str(out))
    (out / "README.md").unlink()  # peft's empty model card
    model.config.save_pretrained(out)
    opened.processor.save_pretrained(out)
