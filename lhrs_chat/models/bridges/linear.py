"""One linear layer per patch, as in the first LLaVA (Liu et al., 2023). No config; levels of one grid are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lhrs_chat.config import from_dict
from lhrs_chat.models.bridges import Bridge, BridgeModule, BridgeShape
from lhrs_chat.models.bridges._levels import join, joined_shape


@dataclass(frozen=True)
class LinearConfig:
    """The bridge `linear` has nothing to set."""


class LinearBridge(BridgeModule):
    """Patch by patch, one linear layer."""

    def __init__(self, shape: BridgeShape):
        super().__init__()
        width, (rows, columns) = joined_shape(shape)
        self.num_tokens = rows * columns
        self.proj = nn.Linear(width, shape.out_width)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Turn `levels`, one (B, N, D) tensor each, into visual tokens (B, N, W)."""
        tokens: torch.Tensor = self.proj(join(levels))
        return tokens


def build(config: dict[str, Any], shape: BridgeShape) -> LinearBridge:
    """Make the bridge with random weights."""
    from_dict(LinearConfig, config)
    return LinearBridge(shape)


BRIDGE = Bridge(build)
