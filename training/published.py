"""Put a published system together for its first stage: its tower and language model as they are, a random bridge."""

from __future__ import annotations

import json
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from lhrs_chat.errors import ConfigError
from lhrs_chat.models.assemble import make_processor
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.strict import refuse
from lhrs_chat.models.tokenizer_file import open_tokenizer
from lhrs_chat.models.vlm import LhrsConfig, LhrsForConditionalGeneration
from lhrs_chat.models.weights import locate
from lhrs_chat.presets import Preset

from .recipe import SourcePart


def put_together(preset: Preset, parts: SourcePart, bridge: dict[str, Any]) -> tuple[Any, LhrsProcessor]:
    """Build the model of a published preset before any training.

    Args:
        preset: one whose official checkpoint would be converted.
        parts: where its language model and its tower lie, where not at the places that the preset names.
        bridge: the bridge's part of the config.

    Raises:
        ConfigError: the preset names no such parts.
        WeightsError: a part cannot be had, or its tensors do not fit.
    """
    if preset.published is None:
        raise ConfigError("this preset has its parts from packages", found=preset.name, allowed="leave parts out")
    folder = locate(parts.language_model or preset.published.llm)
    text: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = open_tokenizer(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    ends = text.generation_config.eos_token_id if text.generation_config is not None else None
    found = [*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id]
    config = LhrsConfig(
        encoder=preset.encoder,
        bridge=bridge,
        text_config=text.config.to_dict(),
        image_size_px=preset.image.size_px,
        image_token_id=max(len(tokenizer), text.config.vocab_size),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(dict.fromkeys(end for end in found if end is not None)),
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LhrsForConditionalGeneration(config)
    model.language_model = text
    _open_tower(model, parts.encoder or preset.published.vision)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        **preset.generation,
    )
    processor = make_processor(preset, model.bridge.num_tokens, tokenizer)
    processor.image_token_id = config.image_token_id
    return model, processor


def _open_tower(model: LhrsForConditionalGeneration, where: str) -> None:
    """Load the tower as it was published. Layers that the system cuts off are left on disk."""
    folder = locate(where)
    tower: Any = model.encoder.tower
    given = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    published = given.get("vision_config", given)
    sizes = ("hidden_size", "intermediate_size", "num_attention_heads", "patch_size", "image_size")
    own = tower.config.to_dict()
    other = {name: published[name] for name in sizes if name in published and published[name] != own[name]}
    if other:
        raise ConfigError(
            "the tower has other sizes than the preset",
            found=f"{folder}: {other}",
            allowed={name: own[name] for name in other},
            next_step="give the tower that the preset names as parts.encoder",
        )
    model.encoder.tower, info = type(tower).from_pretrained(
        folder, config=tower.config, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
    )
    refuse(str(folder), info["missing_keys"], (), [str(item[0]) for item in info["mismatched_keys"]])
