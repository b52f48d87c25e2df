"""Time to the first token of the second turn at LHRS-Bot-Nova's size, on random weights.

Tower and bridge are of the published size. The language model has the published width, but few layers, so that two
cores can run it.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from transformers import AutoConfig, AutoTokenizer

from bench.generation import measure_cache, scene
from bench.row import Row
from lhrs_chat.models import LhrsConfig, LhrsForConditionalGeneration
from lhrs_chat.models.assemble import language_model_folder, make_processor
from lhrs_chat.models.backends.native import NativeBackend
from lhrs_chat.presets import load_preset

PRESET = "lhrs-bot-nova"
LAYERS = 2
PUBLISHED_LAYERS = 32
LLAMA_3_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "rope_theta": 500000.0,
    "max_position_embeddings": 8192,
}
MARKS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
PAIRS = 3
TARGET = 5.0


def random_nova() -> NativeBackend:
    """Make the model, with the words of lhrs-nano's tokenizer and the marks of Nova's template."""
    nova, nano = load_preset(PRESET), load_preset("lhrs-nano")
    tokenizer = AutoTokenizer.from_pretrained(language_model_folder(nano.parts["language_model"]))
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    sizes = {**LLAMA_3_8B, "num_hidden_layers": LAYERS, "vocab_size": len(tokenizer), "tie_word_embeddings": True}
    text = AutoConfig.for_model("llama", **sizes)
    torch.manual_seed(0)
    config = LhrsConfig(nova.encoder, nova.bridge, text.to_dict(), nova.image.size_px, len(tokenizer))
    model = LhrsForConditionalGeneration(config)
    model.requires_grad_(False).train(False)
    return NativeBackend(PRESET, model, make_processor(nova, model.bridge.num_tokens, tokenizer))


def measure() -> Row:
    """Turn 2 with the kept cache, against encoding the picture and the history again, as the published code does."""
    backend = random_nova()
    row = measure_cache(backend, "time to first token, chat turn 2, Nova's size", 2, TARGET, PAIRS)
    pixels = backend.processor.image_processor(scene()[0])["pixel_values"]
    before = time.perf_counter()
    with torch.inference_mode():
        backend.model.visual_tokens(pixels)
    picture_s = time.perf_counter() - before
    parts = {"tower": backend.model.encoder, "bridge": backend.model.bridge, "llm": backend.model.language_model}
    millions = {name: sum(each.numel() for each in part.parameters()) // 10**6 for name, part in parts.items()}
    remark = (
        f"{row.remark}; {torch.get_num_threads()} threads, float32, random weights: tower ({millions['tower']} M "
        f"parameters) and bridge ({millions['bridge']} M) of the published size, a language model of Llama-3-8B's "
        f"width with {LAYERS} of its {PUBLISHED_LAYERS} layers and {len(backend.processor.tokenizer)} words "
        f"({millions['llm']} M); {picture_s:.1f} s of what is recomputed are the picture"
    )
    return replace(row, remark=remark)
