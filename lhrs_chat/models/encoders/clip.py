"""CLIP's vision tower (Radford et al., 2021) through transformers; the encoder of LHRS-Bot and LLaVA.

Config: see `TowerConfig` and `ClsTowerConfig`. Tensor names: `tower.` and the names of `CLIPVisionModel`, which have no
`vision_model.` level.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from lhrs_chat.config import from_dict
from lhrs_chat.models.encoders import Encoder
from lhrs_chat.models.encoders._tower import ClsTowerConfig, Tower, vision_config


class ClipEncoder(Tower):
    """CLIP's vision tower, tapped."""

    tower: CLIPVisionModel

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn `pixels`: (B, C, H, W) into class token and patches with positions: (B, 1 + N, D)."""
        embedded: torch.Tensor = self.tower.embeddings(pixels, interpolate_pos_encoding=True)
        normed: torch.Tensor = self.tower.pre_layrnorm(embedded)
        return normed

    def layers(self) -> nn.ModuleList:
        """The layers of the tower, first to last."""
        return self.tower.encoder.layers


def build(config: dict[str, Any]) -> ClipEncoder:
    """Make the encoder with random weights."""
    wanted = from_dict(ClsTowerConfig, config)
    tower = CLIPVisionModel(vision_config(wanted, CLIPVisionConfig))
    return ClipEncoder(tower, wanted.taps, 1, drop=wanted.drop_cls)


ENCODER = Encoder(build)
