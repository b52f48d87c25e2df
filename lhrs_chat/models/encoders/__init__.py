"""Vision encoders: one file each, the file name is the name in a preset.

An encoder turns pixels into one or more levels of tokens. Shapes: B batch, C bands, H W pixels, N patches, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lhrs_chat.plugins import Folder


class EncoderModule(nn.Module):
    """What the model asks of an encoder.

    Attributes:
        widths: D of each tapped level, in the order in which `forward` returns them.
    """

    widths: tuple[int, ...]

    @abstractmethod
    def grids(self, size_px: int) -> tuple[tuple[int, int], ...]:
        """Return (rows, columns) of each level for a square input of `size_px`."""

    @abstractmethod
    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Encode `pixels`: (B, C, H, W), normalised, to one (B, N, D) tensor per level, row-major."""


@dataclass(frozen=True)
class Encoder:
    """An encoder plug-in: `build` makes the module, with random weights, from its part of the config."""

    build: Callable[[dict[str, Any]], EncoderModule]


ENCODERS: Folder[Encoder] = Folder(__name__, "ENCODER", Encoder)
