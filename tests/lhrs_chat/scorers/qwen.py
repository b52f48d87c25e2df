"""A Qwen2-VL with random weights, as small as its parts allow, and rows as its processor makes them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration

SIGNS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]


def tokenizer() -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    signs = [*SIGNS, "<|video_pad|>"]
    core = Tokenizer(models.BPE({token: number for number, token in enumerate([*signs, *letters])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=signs[1:],
        model_input_names=["input_ids", "attention_mask"],
    )


def config() -> Qwen2VLConfig:
    words = tokenizer()
    return Qwen2VLConfig(
        text_config={
            "vocab_size": len(words),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "initializer_range": 0.3,
            "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
        },
        vision_config={
            "depth": 2,
            "embed_dim": 16,
            "hidden_size": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=words.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=words.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=words.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=words.convert_tokens_to_ids("<|vision_end|>"),
    )


def write(folder: Path) -> Path:
    """Write the model into `folder`, without a processor: that of Qwen2-VL needs torchvision."""
    torch.manual_seed(0)
    Qwen2VLForConditionalGeneration(config()).save_pretrained(folder)
    return folder


def row(answer: str, *, image: int | None = 0) -> dict[str, torch.Tensor]:
    """One conversation as the processor would make it, with a picture of 16 x 16 px: 4 x 4 patches, 2 x 2 tokens."""
    words = tokenizer()
    shown = "" if image is None else "<|vision_start|>" + "<|image_pad|>" * 4 + "<|vision_end|>"
    prompt = f"<|im_start|>user\n{shown}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
    ids = words(prompt, return_tensors="pt")["input_ids"]
    made = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if image is not None:
        made["mm_token_type_ids"] = (ids == words.convert_tokens_to_ids("<|image_pad|>")).long()
        made["image_grid_thw"] = torch.tensor([[1, 4, 4]])
        made["pixel_values"] = torch.randn(16, 96, generator=torch.Generator().manual_seed(image))
    return made


def batch(rows: list[dict[str, torch.Tensor]], side: str) -> dict[str, torch.Tensor]:
    """Pad rows to one length, on the `left` or the `right`."""
    longest = max(row["input_ids"].shape[1] for row in rows)
    made: dict[str, list[torch.Tensor]] = {}
    for row in rows:
        for name, value in row.items():
            if name in ("input_ids", "attention_mask", "mm_token_type_ids"):
                more = longest - value.shape[1]
                value = torch.nn.functional.pad(value, (more, 0) if side == "left" else (0, more))
            made.setdefault(name, []).append(value)
    return {name: torch.cat(values) for name, values in made.items()}
