"""Converters: a published checkpoint in its own layout -> a folder that `from_pretrained` opens. One file each.

A converter names the parts of its system and checks the checkpoint; what all share lies in the files that begin with an
underscore. Nothing is held whole in memory: tensors are read, changed and written one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lhrs_chat.plugins import Folder


@dataclass(frozen=True)
class Options:
    """What the user says about a conversion.

    Args:
        checkpoint: folder with FINAL.pt and, from stage 2 on, TextLoRA; or FINAL.pt itself; of a CLIP its .pt file.
        out: folder to write; it may be there, but must be empty.
        llm: folder or Hugging Face id of the base language model, for a system that stands on one.
        vision: folder or Hugging Face id with the configuration of the vision tower and of its image processor, for a
            system that stands on one.
        activation: of a CLIP: gelu or quick_gelu.
        dtype: how tensors are stored; everything is computed in float32.
        keep_adapter: leave the LoRA beside the base language model instead of merging it.
        image_variant: one of the preset's `image_variants`, put in place of the tower's image processor.
        stage: training stage of the checkpoint; found out where left out.
        heads: attention heads of the bridge.
        queries: queries of each tapped level.
        taps: tapped layers, as indices into transformers' `hidden_states`.
        layers: layers of the vision tower that the system keeps.
        top_k: experts that each query passes.
        shard_bytes: largest size of one weights file, unless one tensor alone is larger.
    """

    checkpoint: Path
    out: Path
    llm: str | None = None
    vision: str | None = None
    activation: str | None = None
    dtype: torch.dtype = torch.float32
    keep_adapter: bool = False
    image_variant: str | None = None
    stage: int | None = None
    heads: int | None = None
    queries: tuple[int, ...] | None = None
    taps: tuple[int, ...] | None = None
    layers: int | None = None
    top_k: int | None = None
    shard_bytes: int = 5_000_000_000


@dataclass(frozen=True)
class Report:
    """What was written: the folder, its weights files, how many parameters they hold, and which stage was read."""

    out: Path
    files: tuple[str, ...]
    parameters: int
    stage: str


@dataclass(frozen=True)
class Converter:
    """One published system. `convert` does all or nothing: `Options.out` is complete, or as it was before."""

    convert: Callable[[Options], Report]


CONVERTERS: Folder[Converter] = Folder(__name__, "CONVERTER", Converter)
