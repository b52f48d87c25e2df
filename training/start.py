"""The model that a stage begins with: a whole one or a preset's parts, and over it what an earlier stage trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GenerationConfig

from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models.assemble import build_untrained
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.strict import load_strictly
from lhrs_chat.models.vlm import LhrsConfig, LhrsForConditionalGeneration
from lhrs_chat.models.weights import is_ours, locate

from .adapter import continue_adapter, has_adapter, new_adapter
from .bridge_start import fill_bridge, in_form, place_words, reshape, start_like_text
from .published import put_together
from .quantise import quantise
from .recipe import Recipe, SourcePart
from .systems import load_system

BRIDGE, ENCODER = "bridge.safetensors", "encoder.safetensors"


def prepare(recipe: Recipe) -> tuple[LhrsForConditionalGeneration, LhrsProcessor]:
    """Build the model of a recipe, with what earlier stages trained; nothing is frozen yet.

    Raises:
        LhrsError: a folder lacks what the recipe needs, or the recipe asks for what does not go together.
    """
    torch.manual_seed(recipe.seed)
    model, processor, folder = _base(recipe)
    if recipe.start is not None:
        _take_over(model, recipe.start)
    if recipe.quantise != "none":
        quantise(model, recipe.quantise)
    _adapt(model, recipe, [at for at in (recipe.start, folder) if at is not None])
    if recipe.place_words:
        place_words(model, processor.tokenizer, recipe.seed)
    return model, processor


def _base(recipe: Recipe) -> tuple[LhrsForConditionalGeneration, LhrsProcessor, Path | None]:
    """Build what lies below all training of this and earlier stages; a whole model comes with its folder."""
    preset = load_system(recipe.preset)
    if recipe.model is not None:
        if recipe.parts != SourcePart():
            raise ConfigError("a whole model brings its own parts", found="model and parts", allowed="one of them")
        folder = locate(recipe.model)
        model, processor = open_whole(folder)
        reshape(model, recipe.bridge_form)
        return model, processor, folder
    bridge = in_form(preset.bridge, recipe.bridge_form)
    if preset.published is not None:
        return (*put_together(preset, recipe.parts, bridge), None)
    if recipe.parts != SourcePart():
        raise ConfigError("the parts of this preset come from packages", found=preset.name, allowed="no parts")
    model, processor = build_untrained(preset)
    start_like_text(model)
    return model, processor, None


def open_whole(folder: Path) -> tuple[LhrsForConditionalGeneration, LhrsProcessor]:
    """Open a folder of ours without the adapter that may lie in it.

    Raises:
        WeightsError: it is no model of ours, or its weights do not fit.
    """
    files = sorted(folder.glob("model*.safetensors"))
    if not is_ours(folder) or not files:
        raise WeightsError(
            "training begins from a model in the form of this project",
            found=str(folder),
            allowed="a folder with config.json of the type lhrs_chat and model.safetensors",
            next_step="lhrs-chat convert makes one of an official checkpoint",
        )
    state = {name: tensor for file in files for name, tensor in load_file(file).items()}
    opened: Any = LhrsForConditionalGeneration.from_pretrained(
        pretrained_model_name_or_path=None,  # else transformers puts the adapter on by itself
        config=LhrsConfig.from_pretrained(folder),
        state_dict=state,
        dtype=torch.float32,
    )
    if (folder / "generation_config.json").is_file():
        opened.generation_config = GenerationConfig.from_pretrained(folder)
    return opened, LhrsProcessor.from_pretrained(folder)


def _take_over(model: LhrsForConditionalGeneration, start: Path) -> None:
    """Load bridge and, where it was trained, encoder of an earlier stage."""
    if not (start / BRIDGE).is_file():
        there = ", ".join(sorted(path.name for path in start.iterdir())[:8]) if start.is_dir() else "no such folder"
        raise WeightsError(
            "the stage that the recipe starts from has not left its bridge",
            found=f"{start}: {there}",
            allowed=f"a folder with {BRIDGE}, as a finished stage writes it",
            next_step="run that stage to its end, or name another folder as start; a whole model is named as model",
        )
    fill_bridge(model, load_file(start / BRIDGE), str(start / BRIDGE))
    if (start / ENCODER).is_file():
        load_strictly(model.encoder, load_file(start / ENCODER), str(start / ENCODER))


def _adapt(model: LhrsForConditionalGeneration, recipe: Recipe, folders: list[Path]) -> None:
    """Put the adapter on, from the first of `folders` that has one, or a new one."""
    at = next((folder for folder in folders if has_adapter(folder)), None)
    if recipe.lora == "continue":
        if not folders:
            raise ConfigError("lora: continue needs something to continue", found="no start", allowed="start or model")
        continue_adapter(model, at or folders[0])
    elif at is not None:
        raise ConfigError(
            "what the recipe begins from has an adapter, which would be lost",
            found=str(at),
            allowed="lora: continue",
            next_step="without a learning rate for lora it stays as it is; or begin from a model that it is merged in",
        )
    elif recipe.lora is not None:
        new_adapter(model, recipe.lora, load_system(recipe.preset))


def end_ids(model: LhrsForConditionalGeneration, processor: LhrsProcessor) -> frozenset[int]:
    """Return the ids at which the model stops to speak."""
    named = model.config.eos_token_id
    return frozenset({processor.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None})


def write_trained(model: LhrsForConditionalGeneration, out: Path, start: Path | None) -> None:
    """Write what this stage and those before it trained, in the form that presets ship.

    The bridge is always written, the encoder where a stage trained it, the adapter where there is one.
    """
    parts: dict[str, nn.Module] = {BRIDGE: model.bridge}
    learned = any(tensor.requires_grad for tensor in model.encoder.parameters())
    if learned or (start is not None and (start / ENCODER).is_file()):
        parts[ENCODER] = model.encoder
    for name, part in parts.items():
        save_file({key: tensor.detach().contiguous() for key, tensor in part.state_dict().items()}, out / name)
    if isinstance(model.language_model, PeftModel):
        model.language_model.save_pretrained(str(out))
        (out / "README.md").unlink()  # peft's empty model card
