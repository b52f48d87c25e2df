"""A small MLP per patch, as in LLaVA-1.5 (Liu et al., 2024): linear layers with GELU between them.

Config: `depth`, the number of linear layers (2 = "mlp2x_gelu"). Levels of one grid are joined along their width.
Tensor names below `layers.` are those of LLaVA's `mm_projector.`.
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
class MlpConfig:
    """The bridge's part of a preset."""

    depth: int = 2

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ConfigError("an MLP has at least one layer", found=self.depth, allowed="1 or more")


class MlpBridge(BridgeModule):
    """Patch by patch, an MLP."""

    def __init__(self, config: MlpConfig, shape: BridgeShape):
        super().__init__()
        width, (rows, columns) = joined_shape(shape)
        self.num_tokens = rows * columns
        layers: list[nn.Module] = [nn.Linear(width, shape.out_width)]
        for _ in range(config.depth - 1):
            layers += [nn.GELU(), nn.Linear(shape.out_width, shape.out_width)]
        self.layers = nn.Sequential(*layers)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Turn `levels`, one (B, N, D) tensor each, into visual tokens (B, N, W)."""
        tokens: torch.Tensor = self.layers(join(levels))
        return tokens


def build(config: dict[str, Any], shape: BridgeShape) -> MlpBridge:
    """Make the bridge with random weights."""
    return MlpBridge(from_dict(MlpConfig, config), shape)


BRIDGE = Bridge(build)
