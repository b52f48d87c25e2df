"""How the pooling bridges start: queries and linear layers from a narrow normal distribution."""

from __future__ import annotations

from torch import nn

INIT_STD = 0.02


def start_linear(module: nn.Module) -> None:
    """Start every linear layer from a normal distribution cut at two standard deviations, without bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
