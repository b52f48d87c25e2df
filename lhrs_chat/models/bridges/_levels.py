"""Levels of one grid, joined along their width."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lhrs_chat.errors import ConfigError
from lhrs_chat.models.bridges import BridgeShape


def joined_shape(shape: BridgeShape) -> tuple[int, tuple[int, int]]:
    """Return width and (rows, columns) of all levels joined along their width.

    Raises:
        ConfigError: the levels have different grids.
    """
    if len(set(shape.grids)) != 1:
        raise ConfigError(
            "this bridge joins levels patch by patch, so they need one grid",
            found=", ".join(f"{rows} x {columns}" for rows, columns in shape.grids),
            next_step="tap one level, or choose the bridge pyramid or attn_pooler",
        )
    return sum(shape.widths), shape.grids[0]


def join(levels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Join `levels`, (B, N, D) each with the same N, to (B, N, sum of D)."""
    return levels[0] if len(levels) == 1 else torch.cat(tuple(levels), dim=-1)
