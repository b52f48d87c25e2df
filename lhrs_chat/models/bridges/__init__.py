"""Bridges: from the encoder's levels to visual tokens of the language model's width. One file each.

Shapes: B batch, N patches, D encoder width, K visual tokens, W width of the language model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lhrs_chat.plugins import Folder


@dataclass(frozen=True)
class BridgeShape:
    """What a bridge stands between.

    Args:
        widths: D of each encoder level.
        grids: (rows, columns) of each encoder level.
        out_width: width of the language model.
    """

    widths: tuple[int, ...]
    grids: tuple[tuple[int, int], ...]
    out_width: int


class BridgeModule(nn.Module):
    """What the model asks of a bridge.

    Attributes:
        num_tokens: K, the number of visual tokens of one image.
    """

    num_tokens: int

    @abstractmethod
    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Turn `levels`, one (B, N, D) tensor each, into visual tokens (B, K, W)."""


@dataclass(frozen=True)
class Bridge:
    """A bridge plug-in: `build` makes the module, with random weights, from its part of the config."""

    build: Callable[[dict[str, Any], BridgeShape], BridgeModule]


BRIDGES: Folder[Bridge] = Folder(__name__, "BRIDGE", Bridge)
