"""A model of ours in tiny, with random weights: a CLIP tower of two layers, a bridge, a llama of two layers."""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from lhrs_chat.models import LhrsConfig, LhrsForConditionalGeneration, LhrsImageProcessor, LhrsProcessor

SIZE_PX = 32
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with a ChatML template: 256 bytes and three special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    vocabulary |= {letter: number for number, letter in enumerate(letters, 3)}
    raw = Tokenizer(models.BPE(vocabulary, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>"
    )
    made.chat_template = TEMPLATE
    return made


def model_and_processor(
    bridge: dict | None = None, seed: int = 0
) -> tuple[LhrsForConditionalGeneration, LhrsProcessor]:
    torch.manual_seed(seed)
    words = tokenizer()
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    tower = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIZE_PX,
        "patch_size": 8,
    }
    config = LhrsConfig(
        encoder={"name": "clip", "vision_config": tower, "taps": [1, 2]},
        bridge=bridge or {"name": "pyramid", "num_global": 2, "hidden": 24},
        text_config=text.to_dict(),
        image_size_px=SIZE_PX,
        image_token_id=len(words),
    )
    model = LhrsForConditionalGeneration(config).eval()
    processor = LhrsProcessor(
        LhrsImageProcessor(SIZE_PX),
        words,
        num_image_tokens=model.bridge.num_tokens,
        image_token_id=len(words),
        system="Be short.",
    )
    return model, processor


def picture(seed: int = 0, size_px: tuple[int, int] = (40, 30)) -> np.ndarray:
    """A random picture (H, W, 3), uint8, of `size_px` (width, height)."""
    return np.random.default_rng(seed).integers(0, 256, (size_px[1], size_px[0], 3), dtype=np.uint8)
