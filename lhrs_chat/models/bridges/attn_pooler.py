"""The bridge of LHRS-Bot (Muhtar et al., ECCV 2024): learned queries look at each level by cross-attention.

Every level has its own queries. They pass through the same layers, which all look at the level's patches and at the
queries as they were before the first layer. No positions, no dropout. Tensor names are those of the published bridge.

Config: `queries`, one number per level (LHRS-Bot: 64, 48, 32); `num_layers` 6; `num_heads` 16; `width` of the queries,
the encoder's where left out; `mlp_ratio` 4.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lhrs_chat.config import from_dict
from lhrs_chat.errors import ConfigError
from lhrs_chat.models.bridges import Bridge, BridgeModule, BridgeShape
from lhrs_chat.models.bridges._start import INIT_STD, start_linear


@dataclass(frozen=True)
class AttnPoolerConfig:
    """The bridge's part of a preset."""

    queries: tuple[int, ...] = (64, 48, 32)
    num_layers: int = 6
    num_heads: int = 16
    width: int | None = None
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        counts = (*self.queries, self.num_layers, self.num_heads)
        if not self.queries or min(counts) < 1:
            raise ConfigError("queries, num_layers and num_heads are positive", found=counts, allowed="1 or more")


class CrossAttentionLayer(nn.Module):
    """Queries look at keys, then an MLP; both add to what was there."""

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        inner = int(width * mlp_ratio)
        self.ln_1 = nn.LayerNorm(width)
        self.ln_1_kv = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, inner), gelu=nn.GELU(), c_proj=nn.Linear(inner, width))
        )

    def forward(self, queries: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """Let `queries`: (B, Q, D) look at `source`: (B, Q + N, D)."""
        keys = self.ln_1_kv(source)
        queries = queries + self.attn(self.ln_1(queries), keys, keys, need_weights=False)[0]
        out: torch.Tensor = queries + self.mlp(self.ln_2(queries))
        return out


class AttnPooler(BridgeModule):
    """Queries per level, layers shared by the levels, one projection."""

    def __init__(self, config: AttnPoolerConfig, shape: BridgeShape):
        super().__init__()
        if len(config.queries) != len(shape.widths):
            raise ConfigError(
                "every level needs its number of queries", found=config.queries, allowed=f"{len(shape.widths)} numbers"
            )
        if len(set(shape.widths)) != 1:
            raise ConfigError("the levels need one width, since they share the layers", found=shape.widths)
        encoder_width = shape.widths[0]
        width = encoder_width if config.width is None else config.width
        if width % config.num_heads:
            raise ConfigError("num_heads does not divide the width", found=f"{config.num_heads} heads, width {width}")
        self.splits = config.queries
        self.num_tokens = sum(config.queries)
        self.query = nn.Parameter(torch.zeros(1, self.num_tokens, width))
        self.in_proj = nn.Linear(encoder_width, width) if encoder_width != width else None
        layers = [CrossAttentionLayer(width, config.num_heads, config.mlp_ratio) for _ in range(config.num_layers)]
        self.layers = nn.ModuleList(layers)
        self.out_proj = nn.Linear(width, shape.out_width)
        nn.init.trunc_normal_(self.query, std=INIT_STD)
        self.apply(start_linear)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Turn `levels`, one (B, N, D) tensor each, into visual tokens (B, K, W), shallow level first."""
        pooled = []
        for start, level in zip(self.query.split(self.splits, dim=1), levels, strict=True):
            tokens = level if self.in_proj is None else self.in_proj(level)
            queries = start.expand(tokens.shape[0], -1, -1)
            source = torch.cat([queries, tokens], dim=1)
            for layer in self.layers:
                queries = layer(queries, source)
            pooled.append(queries)
        out: torch.Tensor = self.out_proj(torch.cat(pooled, dim=1))
        return out


def build(config: dict[str, Any], shape: BridgeShape) -> AttnPooler:
    """Make the bridge with random weights."""
    return AttnPooler(from_dict(AttnPoolerConfig, config), shape)


BRIDGE = Bridge(build)
