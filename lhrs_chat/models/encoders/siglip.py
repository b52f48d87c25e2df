"""SigLIP's vision tower (Zhai et al., 2023) through transformers; the encoder of LHRS-Bot-Nova.

Config: see `TowerConfig`; Nova keeps 26 of the 27 layers and taps 9, 18 and 26. Tensor names: `tower.` and the names of
`SiglipVisionModel`, which have no `vision_model.` level. The final norm and the pooling head are there but never run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from lhrs_chat.config import from_dict
from lhrs_chat.models.encoders import Encoder
from lhrs_chat.models.encoders._tower import Tower, TowerConfig, vision_config


class SiglipEncoder(Tower):
    """SigLIP's vision tower, tapped."""

    tower: SiglipVisionModel

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn `pixels`: (B, C, H, W) into patches with positions: (B, N, D)."""
        embedded: torch.Tensor = self.tower.embeddings(pixels, interpolate_pos_encoding=True)
        return embedded

    def layers(self) -> nn.ModuleList:
        """The layers of the tower, first to last."""
        return self.tower.encoder.layers


def build(config: dict[str, Any]) -> SiglipEncoder:
    """Make the encoder with random weights."""
    wanted = from_dict(TowerConfig, config)
    return SiglipEncoder(SiglipVisionModel(vision_config(wanted, SiglipVisionConfig)), wanted.taps)


ENCODER = Encoder(build)
