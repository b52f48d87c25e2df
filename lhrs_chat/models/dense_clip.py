"""What a CLIP of open_clip sees at every place of a picture, in the space of its texts.

The last block of the tower is read another way (FarSLIP, after SegEarth): its attention becomes the sum of how alike
queries are to queries, keys to keys and values to values; it has no residual and no MLP behind it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lhrs_chat.errors import ConfigError


def features(visual: nn.Module, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a tower once and return its pooled feature and the dense ones, neither normalised.

    Args:
        visual: `model.visual` of open_clip, a ViT with a class token.
        pixels: (B, C, H, W), as the model's own transform makes them.

    Returns:
        (B, D), and (B, N, D): the N places row by row.

    Raises:
        ConfigError: the tower is not of this kind.
    """
    tower: Any = visual
    if not isinstance(getattr(tower, "proj", None), torch.Tensor) or tower.pool_type != "tok":
        raise ConfigError("dense features need a ViT with a class token and a projection", found=type(visual).__name__)
    kept: list[torch.Tensor] = []
    block = tower.transformer.resblocks[-1]
    hook = block.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    try:
        pooled = tower(pixels)
    finally:
        hook.remove()
    states = kept[0] if tower.transformer.batch_first else kept[0].transpose(0, 1)
    dense = tower.ln_post(self_alike(block, states)) @ tower.proj
    return (pooled[0] if isinstance(pooled, tuple) else pooled), dense[:, 1:]


def self_alike(block: Any, states: torch.Tensor) -> torch.Tensor:
    """Run a block's attention as (softmax qq' + softmax kk' + softmax vv') v, with its own projections.

    Args:
        block: a residual block of open_clip.
        states: (B, 1 + N, D), what goes into it.
    """
    attention = block.attn
    count, length, width = states.shape
    heads = attention.num_heads
    joined = nn.functional.linear(block.ln_1(states), attention.in_proj_weight, attention.in_proj_bias)
    parts = [part.view(count, length, heads, width // heads).transpose(1, 2) for part in joined.chunk(3, dim=-1)]
    scale = (width // heads) ** -0.5
    mixed = sum(((part * scale) @ part.transpose(-1, -2)).softmax(-1) for part in parts) @ parts[2]
    read: torch.Tensor = attention.out_proj(mixed.transpose(1, 2).reshape(count, length, width))
    return read
