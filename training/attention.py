"""How the language model attends and in what its frozen weights are held, before the first step."""

from __future__ import annotations

import warnings

import torch
from transformers.utils.import_utils import is_flash_attn_2_available

from lhrs_chat.errors import ConfigError, MissingExtraError
from lhrs_chat.models.vlm import LhrsForConditionalGeneration

from .adapter import without_adapter
from .apart import APART
from .recipe import OWN_MASKS, Recipe

HELD = {"bf16": torch.bfloat16, "fp16": torch.float16}


def attention_of(recipe: Recipe) -> str:
    """Return how the language model attends, in the words of transformers.

    Raises:
        ConfigError: FlashAttention is asked for, but there is no GPU.
        MissingExtraError: it is asked for, but not installed.
    """
    asked = recipe.optim.attention
    if asked == "flash_attention_2":
        if not torch.cuda.is_available():
            raise ConfigError("FlashAttention needs a GPU", found="none", next_step="leave optim.attention at auto")
        if not is_flash_attn_2_available():
            raise MissingExtraError("flash-attn", "flash", "optim.attention=flash_attention_2")
    fits = recipe.objective not in OWN_MASKS and recipe.optim.precision != "fp32"
    if asked == "auto" and fits and torch.cuda.is_available() and is_flash_attn_2_available():
        return "flash_attention_2"
    return "sdpa" if asked == "auto" else asked


def prepare_layers(model: LhrsForConditionalGeneration, recipe: Recipe) -> None:
    """Hold what is frozen of the language model in half precision, and set up its layers, as asked."""
    optim = recipe.optim
    dtype = HELD.get(optim.precision)
    if dtype is not None:
        for tensor in model.language_model.parameters():
            if not tensor.requires_grad and tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype)
    if optim.compile:
        _compile_layers(model)
    else:
        chosen = attention_of(recipe)
        packs = recipe.data.pack_tokens > 0 and optim.attention == "auto" and chosen == "sdpa"
        without_adapter(model).set_attn_implementation(APART if packs else chosen)
    if optim.gradient_checkpointing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # its newer name is not in every version that is allowed
            model.gradient_checkpointing_enable()  # type: ignore[no-untyped-call]


def _compile_layers(model: LhrsForConditionalGeneration) -> None:
    """Compile each layer of the language model for every length of batch that comes.

    Attention is written out: on a CPU the backward pass of the fused one takes longer than it does.
    """
    text = without_adapter(model)
    text.set_attn_implementation("eager")
    for layer in text.model.layers:
        layer.compile(dynamic=False)
