"""Squares of neighbouring patches become one token, then an MLP, as in InternVL (Chen et al., 2024).

Config: `factor`, the side of a square in patches; it divides rows and columns. K = N / factor^2. Patches of a square
are joined along their width row by row. Levels of one grid are joined along their width first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lhrs_chat.config import from_dict
from lhrs_chat.errors import ConfigError
from lhrs_chat.models.bridges import Bridge, BridgeModule, BridgeShape
from lhrs_chat.models.bridges._levels import join, joined_shape


@dataclass(frozen=True)
class PixelShuffleConfig:
    """The bridge's part of a preset."""

    factor: int = 2

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ConfigError("a square has at least one patch", found=self.factor, allowed="1 or more")


class PixelShuffleBridge(BridgeModule):
    """Space to depth, layer norm, two linear layers with GELU between them."""

    def __init__(self, config: PixelShuffleConfig, shape: BridgeShape):
        super().__init__()
        width, (rows, columns) = joined_shape(shape)
        if rows % config.factor or columns % config.factor:
            factors = [n for n in range(1, min(rows, columns) + 1) if rows % n == 0 and columns % n == 0]
            raise ConfigError(
                f"factor does not divide the grid of {rows} x {columns} patches", found=config.factor, allowed=factors
            )
        self.factor = config.factor
        self.grid = (rows // config.factor, columns // config.factor)
        self.num_tokens = self.grid[0] * self.grid[1]
        deep = width * config.factor**2
        self.layers = nn.Sequential(
            nn.LayerNorm(deep), nn.Linear(deep, shape.out_width), nn.GELU(), nn.Linear(shape.out_width, shape.out_width)
        )

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Turn `levels`, one (B, N, D) tensor each, into visual tokens (B, K, W)."""
        patches = join(levels)
        squares = patches.unflatten(1, (self.grid[0], self.factor, self.grid[1], self.factor))
        squares = squares.transpose(2, 3).reshape(patches.shape[0], self.num_tokens, -1)
        tokens: torch.Tensor = self.layers(squares)
        return tokens


def build(config: dict[str, Any], shape: BridgeShape) -> PixelShuffleBridge:
    """Make the bridge with random weights."""
    return PixelShuffleBridge(from_dict(PixelShuffleConfig, config), shape)


BRIDGE = Bridge(build)
