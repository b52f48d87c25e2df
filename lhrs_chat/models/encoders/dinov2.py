"""DINOv2 (Oquab et al., 2023), with or without register tokens (Darcet et al., 2024), through transformers.

Config: see `TowerConfig` and `ClsTowerConfig`; `model_type` of the vision configuration tells whether there are
registers. `drop_cls` leaves out the registers together with the class token. A tap is what a layer puts
out: the final norm is not applied. Tensor names: `tower.` and the names of `Dinov2Model`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from lhrs_chat.config import from_dict
from lhrs_chat.models.encoders import Encoder
from lhrs_chat.models.encoders._tower import ClsTowerConfig, Tower, vision_config


class Dinov2Encoder(Tower):
    """DINOv2, tapped."""

    tower: Dinov2Model | Dinov2WithRegistersModel

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn `pixels`: (B, C, H, W) into class token, registers and patches with positions."""
        embedded: torch.Tensor = self.tower.embeddings(pixels)
        return embedded

    def layers(self) -> nn.ModuleList:
        """The layers of the tower, first to last."""
        return self.tower.encoder.layer


def build(config: dict[str, Any]) -> Dinov2Encoder:
    """Make the encoder with random weights."""
    wanted = from_dict(ClsTowerConfig, config)
    given = wanted.vision_config.get("vision_config", wanted.vision_config)
    if given.get("model_type") == Dinov2WithRegistersConfig.model_type:
        registers = vision_config(wanted, Dinov2WithRegistersConfig)
        tower = Dinov2WithRegistersModel(registers)
        return Dinov2Encoder(tower, wanted.taps, 1 + registers.num_register_tokens, drop=wanted.drop_cls)
    return Dinov2Encoder(Dinov2Model(vision_config(wanted, Dinov2Config)), wanted.taps, 1, drop=wanted.drop_cls)


ENCODER = Encoder(build)
