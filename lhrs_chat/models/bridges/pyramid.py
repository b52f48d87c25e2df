"""A bridge for encoders that halve their grid: one visual token a cell of the coarsest level, and a few of the whole.

Finer levels are folded into the coarsest grid (space to depth, as in Shi et al., CVPR 2016, run backwards), so a
token sees the fine structure of its own cell; the tokens of the whole are made from the means and maxima of all levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lhrs_chat.errors import ConfigError
from lhrs_chat.models.bridges import Bridge, BridgeModule, BridgeShape


class PyramidBridge(BridgeModule):
    """Grid tokens, row by row, each with a vector of where it lies, then `num_global` tokens of the whole picture.

    Args:
        shape: what the bridge stands between; every grid is a multiple of the last one.
        num_global: tokens of the whole picture.
        hidden: width between the two layers of both projections.

    Raises:
        ConfigError: a level's grid is not a multiple of the coarsest one.
    """

    def __init__(self, shape: BridgeShape, num_global: int, hidden: int) -> None:
        super().__init__()
        rows, columns = shape.grids[-1]
        for grid in shape.grids:
            if grid[0] % rows or grid[1] % columns:
                raise ConfigError("levels do not fold", found=shape.grids, allowed=f"multiples of {rows} x {columns}")
        self.grids = shape.grids
        self.num_global = num_global
        self.num_tokens = rows * columns + num_global
        folded = sum(d * (g[0] // rows) * (g[1] // columns) for d, g in zip(shape.widths, shape.grids, strict=True))
        pooled = 2 * sum(shape.widths)
        self.cell = nn.Sequential(
            nn.LayerNorm(folded), nn.Linear(folded, hidden), nn.GELU(), nn.Linear(hidden, shape.out_width)
        )
        self.whole = nn.Sequential(
            nn.LayerNorm(pooled), nn.Linear(pooled, hidden), nn.GELU(), nn.Linear(hidden, num_global * shape.out_width)
        )
        self.position = nn.Parameter(torch.zeros(rows * columns, shape.out_width))
        self.norm = nn.LayerNorm(shape.out_width)

    def fold(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Fold `levels`, one (B, N, D) each, into the coarsest grid: (B, N of the last, sum of D times cells)."""
        rows, columns = self.grids[-1]
        folded = []
        for level, grid in zip(levels, self.grids, strict=True):
            high, wide = grid[0] // rows, grid[1] // columns
            cells = level.reshape(level.shape[0], rows, high, columns, wide, level.shape[-1])
            folded.append(cells.permute(0, 1, 3, 2, 4, 5).reshape(level.shape[0], rows * columns, -1))
        return torch.cat(folded, dim=-1)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Turn `levels`, one (B, N, D) tensor each, into visual tokens (B, K, W)."""
        cells = self.cell(self.fold(levels))
        pooled = torch.cat([part for level in levels for part in (level.mean(1), level.amax(1))], dim=-1)
        whole = self.whole(pooled).reshape(pooled.shape[0], self.num_global, -1)
        tokens: torch.Tensor = self.norm(torch.cat([cells, whole], dim=1))
        return tokens + functional.pad(self.position, (0, 0, 0, self.num_global))


def build(config: dict[str, Any], shape: BridgeShape) -> PyramidBridge:
    """Make a pyramid bridge from `num_global` and `hidden`."""
    return PyramidBridge(shape, int(config["num_global"]), int(config["hidden"]))


BRIDGE = Bridge(build)
