"""What the encoders that come from transformers share: one vision transformer, tapped after some of its layers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from lhrs_chat.errors import ConfigError
from lhrs_chat.models.encoders import EncoderModule

C = TypeVar("C", bound=PretrainedConfig)


@dataclass(frozen=True)
class TowerConfig:
    """The part of a preset that an encoder from transformers reads.

    Args:
        vision_config: the vision configuration as its `config.json` holds it, or one with `vision_config` inside.
        taps: indices into transformers' `hidden_states`: 0 is the embeddings, n what layer n puts out, before any
            final norm; negative ones count from the last layer that is kept.
        layers: how many layers to keep, counted from the first; all of them where left out.
    """

    vision_config: dict[str, Any]
    taps: tuple[int, ...]
    layers: int | None = None


@dataclass(frozen=True)
class ClsTowerConfig(TowerConfig):
    """The same for towers that put a class token before the patches: `drop_cls` leaves it out of every level.

    Where it is kept, a level is one row of tokens instead of a grid.
    """

    drop_cls: bool = True


def vision_config(config: TowerConfig, cls: type[C]) -> C:
    """Read the vision configuration and cut its number of layers.

    Raises:
        ConfigError: it is of another model type, or has too few layers.
    """
    given = config.vision_config.get("vision_config", config.vision_config)
    found = given.get("model_type", cls.model_type)
    if found != cls.model_type:
        raise ConfigError("this vision configuration is of another model", found=found, allowed=cls.model_type)
    made = cls.from_dict(given)
    if config.layers is not None:
        if not 1 <= config.layers <= made.num_hidden_layers:
            raise ConfigError(
                "the tower has fewer layers", found=config.layers, allowed=f"1 to {made.num_hidden_layers}"
            )
        made.num_hidden_layers = config.layers
    return made


class Tower(EncoderModule):
    """A vision transformer of transformers under the name `tower`, its tensor names unchanged.

    All kept layers are there, so that published weights load strictly; `forward` runs them as far as the last tap.
    """

    def __init__(self, tower: PreTrainedModel, taps: Sequence[int], extra_tokens: int = 0, *, drop: bool = True):
        super().__init__()
        self.tower = tower
        self.extra_tokens = extra_tokens
        self.drop = drop
        depth = tower.config.num_hidden_layers
        wrong = [tap for tap in taps if not -depth - 1 <= tap <= depth]
        if wrong or not taps:
            raise ConfigError("a tap is an index into hidden_states", found=wrong or "none", allowed=f"0 to {depth}")
        self.taps = tuple(tap + depth + 1 if tap < 0 else tap for tap in taps)
        self.widths = (tower.config.hidden_size,) * len(self.taps)

    @abstractmethod
    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn `pixels`: (B, C, H, W) into what the first layer takes: (B, tokens, D)."""

    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """The layers of the tower, first to last."""

    def grids(self, size_px: int) -> tuple[tuple[int, int], ...]:
        """Return (rows, columns) of each level for a square input of `size_px`."""
        side = size_px // self.tower.config.patch_size
        grid = (side, side) if self.drop else (1, self.extra_tokens + side * side)
        return (grid,) * len(self.taps)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Encode `pixels`: (B, C, H, W), normalised, to one (B, N, D) tensor per tap, row-major."""
        hidden = self.embed(pixels)
        states = [hidden]
        for layer in self.layers()[: max(self.taps)]:
            hidden = layer(hidden, attention_mask=None)
            states.append(hidden)
        first = self.extra_tokens if self.drop else 0
        return tuple(states[tap][:, first:] for tap in self.taps)
