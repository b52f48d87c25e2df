"""What the loop needs of a stage, whatever it teaches: a module, rows, how they become a batch, what is left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

TOLD = "told"
"""Where a batch says what it is made of; everything else in it goes to the module."""


@dataclass(frozen=True)
class Told:
    """What a batch is made of.

    Args:
        ids: of its rows.
        sources: number of the source of each learned item, (items,).
        tokens: tokens of the rows.
        slots: places of the batch, padding included.
        samples: rows, conversations or questions in it.
    """

    ids: tuple[str, ...]
    sources: torch.Tensor
    tokens: int
    slots: int
    samples: int


@dataclass(frozen=True)
class Said:
    """An answer at an evaluation, and the one that was wanted."""

    id: str
    prompt: str
    answer: str
    wanted: str


@dataclass(frozen=True)
class Stage:
    """A stage before its first step.

    Args:
        module: called with a batch, without what is `TOLD`, it returns the loss of each learned item, (items,).
        rows: in the order of the whole run.
        held_out: rows of the split `val`; none where the recipe does not evaluate.
        batch: makes one batch of rows; a dict with `TOLD`.
        sources: names of the sources, as `Told` numbers them.
        write: leaves what was trained in a folder.
        rates: learning rate of each parameter that is trained, by its name in `module`.
        visual: the part whose results every picture must be learned through; None where there is none.
        flops_per_token: of one training step, without what the encoder computes; 0 where it is not known.
        width: numbers that a layer keeps of a token for the way back, times the layers.
        answer: asks the model for the answer of a held-out row.
        measure: what the module counted of the held-out rows since it was last asked, by name.
        data: files that were read, with their SHA-256.
    """

    module: nn.Module
    rows: Sequence[Any]
    held_out: Sequence[Any]
    batch: Callable[[Sequence[Any]], dict[str, Any]]
    sources: tuple[str, ...]
    write: Callable[[Path], None]
    rates: Mapping[str, float]
    visual: nn.Module | None = None
    flops_per_token: float = 0.0
    width: int = 0
    answer: Callable[[Any], Said] | None = None
    measure: Callable[[], Mapping[str, float]] | None = None
    data: Mapping[str, str] = field(default_factory=dict)
