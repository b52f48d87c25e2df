"""What the frozen trunk of a CLIP's vision tower sees of pictures, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lhrs_chat.errors import ConfigError
from lhrs_chat.models.encoders import EncoderModule
from lhrs_chat.models.processing import LhrsImageProcessor
from lhrs_chat.models.scorers.clip import open_clip_module

from .features import FeatureStore
from .recipe import ClipPart


class Trunk(EncoderModule):
    """The trunk of a tower of timm, as an encoder of one level with one token: its pooled features."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.trunk: nn.Module = trunk
        self.widths = (int(trunk.num_features),)

    def grids(self, size_px: int) -> tuple[tuple[int, int], ...]:
        """Return that there is one place."""
        return ((1, 1),)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Encode `pixels`: (B, 3, H, W), normalised, to (B, 1, D)."""
        return (self.trunk(pixels)[:, None],)


def keep_features(
    folder: Path, model: Any, clip: ClipPart, trained: Collection[str], files: Iterable[str]
) -> FeatureStore:
    """Open the features of pictures.

    Args:
        folder: where they are kept.
        model: of open_clip.
        clip: which losses are asked for.
        trained: names of the parameters that learn.
        files: of the pictures.

    Raises:
        ConfigError: the tower is not of timm, its trunk learns, or regions of pictures are asked for.
    """
    tower = model.visual
    size, look = tower.image_size, tower.preprocess_cfg
    height, width = (size, size) if isinstance(size, int) else size
    learns = next((name for name in trained if ".visual.trunk." in name), "")
    for wrong, found in (
        (clip.patches or clip.categories, "clip.patches or clip.categories"),
        (not isinstance(tower, open_clip_module().timm_model.TimmModel), f"a tower without a trunk, {type(tower)}"),
        (height != width, f"pictures of {width} x {height} pixels"),
        (learns, learns),
    ):
        if wrong:
            raise ConfigError(
                "what a vision tower sees can be kept where nothing of its trunk learns, of whole pictures only",
                found=found,
                allowed="a tower of timm that sees squares, and no learning rate for visual.trunk",
                next_step="set data.cache_features=false",
            )
    processor = LhrsImageProcessor(width, "stretch", "bicubic", look["mean"], look["std"])
    return FeatureStore(folder / "features", Trunk(tower.trunk).eval(), processor, list(dict.fromkeys(files)), width)
