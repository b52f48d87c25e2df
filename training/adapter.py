"""The LoRA on the language model: a new one, or one that is trained on."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file

from lhrs_chat.errors import WeightsError
from lhrs_chat.models.strict import refuse
from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.presets import Preset

from .recipe import LoraPart

FILES = ("adapter_config.json", "adapter_model.safetensors")
_WHOLE = "language_model."  # an adapter of a whole model names its language model


def has_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter."""
    return (folder / FILES[0]).is_file()


def without_adapter(model: LhrsForConditionalGeneration) -> Any:
    """Return the language model itself, below its adapter where it has one."""
    inner: Any = model.language_model
    return inner.get_base_model() if isinstance(inner, PeftModel) else inner


def merge_adapter(model: LhrsForConditionalGeneration) -> None:
    """Put what an adapter has learned into the weights below it, where there is one."""
    inner: Any = model.language_model
    if isinstance(inner, PeftModel):
        model.language_model = inner.merge_and_unload()


def new_adapter(model: LhrsForConditionalGeneration, lora: LoraPart, preset: Preset) -> None:
    """Put a fresh adapter on the language model; it changes nothing before it is trained."""
    shape = preset.lora
    config = LoraConfig(
        r=lora.rank or shape.rank,
        lora_alpha=lora.alpha or shape.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets_of(lora.targets or shape.targets),
        use_dora=lora.dora,
    )
    _put_on(model, config)


def targets_of(names: tuple[str, ...]) -> list[str] | str:
    """Return names of layers as peft wants them; one that is no plain name is a regular expression."""
    return names[0] if len(names) == 1 and not names[0].isidentifier() else list(names)


def continue_adapter(model: LhrsForConditionalGeneration, folder: Path) -> None:
    """Put the adapter of `folder` on the language model, of the rank, scale and dropout that it was made with.

    Raises:
        WeightsError: there is none, or its tensors do not fit.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            "the recipe continues an adapter that is not there",
            found=f"no {', '.join(missing)} in {folder}",
            next_step="begin from the stage that trained it, or say lora: {rank: ..., alpha: ...} for a new one",
        )
    given: dict[str, Any] = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
    targets = given["target_modules"]
    config = LoraConfig(
        r=given["r"],
        lora_alpha=given["lora_alpha"],
        lora_dropout=given.get("lora_dropout", 0.0),
        use_rslora=given.get("use_rslora", False),
        use_dora=given.get("use_dora", False),
        target_modules=targets if isinstance(targets, str) else [name.removeprefix(_WHOLE) for name in targets],
    )
    stored = {name.replace(_WHOLE, "", 1): tensor for name, tensor in load_file(folder / FILES[1]).items()}
    made = _put_on(model, config)
    own = get_peft_model_state_dict(made)
    misshaped = [name for name in own.keys() & stored.keys() if own[name].shape != stored[name].shape]
    refuse(f"the adapter in {folder}", own.keys() - stored.keys(), stored.keys() - own.keys(), misshaped)
    set_peft_model_state_dict(made, stored)


def _put_on(model: LhrsForConditionalGeneration, config: LoraConfig) -> PeftModel:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # peft asks transformers for it
        made: PeftModel = get_peft_model(model.language_model, config)
    model.language_model = made
    return made
