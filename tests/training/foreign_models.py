"""Vision-language models of transformers with random weights, and their processors, as folders."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from tests.lhrs_chat.scorers import qwen
from tests.lhrs_chat.test_backend_transformers import write_llava

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PIXELS = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 256, "max_pixels": 1024}


def write_qwen2(folder: Path) -> Path:
    """A Qwen2-VL: patches of 4 px, four of them a token."""
    torch.manual_seed(0)
    made = Qwen2VLForConditionalGeneration(qwen.config())
    words = qwen.tokenizer()
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(**PIXELS), words, Qwen2VLVideoProcessor(**PIXELS), chat_template=CHATML
    )
    return _written(folder, made, processor)


TOWER = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_heads": 2,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 32,
}


def write_qwen2_5(folder: Path) -> Path:
    """A Qwen2.5-VL whose tower attends within windows of 16 px in one layer, and everywhere in the other."""
    torch.manual_seed(0)
    words = qwen.tokenizer()
    two = qwen.config()
    config = Qwen2_5_VLConfig(
        text_config=_text_of(two),
        vision_config={
            **TOWER,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        **_signs_of(two),
    )
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**PIXELS), words, Qwen2VLVideoProcessor(**PIXELS), chat_template=CHATML
    )
    return _written(folder, Qwen2_5_VLForConditionalGeneration(config), processor)


def write_qwen3(folder: Path) -> Path:
    """A Qwen3-VL with one layer that takes what the tower sees half-way."""
    torch.manual_seed(0)
    words = qwen.tokenizer()
    two = qwen.config()
    config = Qwen3VLConfig(
        text_config={**_text_of(two), "head_dim": 8},
        vision_config={
            **TOWER,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **_signs_of(two),
    )
    made = Qwen3VLForConditionalGeneration(config)
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(**PIXELS), words, Qwen3VLVideoProcessor(**PIXELS), chat_template=CHATML
    )
    return _written(folder, made, processor)


TEXT = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "initializer_range", "pad_token_id"),
)


def _text_of(two: Qwen2VLConfig) -> dict:
    sizes = {name: value for name, value in two.text_config.to_dict().items() if name in TEXT}
    return {**sizes, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}}


def _signs_of(two: Qwen2VLConfig) -> dict:
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return {name: getattr(two, name) for name in names}


def _written(folder: Path, model: torch.nn.Module, processor: object) -> Path:
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


WRITERS = {"llava": write_llava, "qwen2_vl": write_qwen2, "qwen3_vl": write_qwen3}
