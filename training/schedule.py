"""The schedule `cosine_to_min`, by which LHRS-Bot and LHRS-Bot-Nova were trained."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from .recipe import OptimPart


def rate(peak: float, step: int, steps: int, optim: OptimPart) -> float:
    """Return the learning rate of one step, counted from 0.

    A half cosine falls from `peak` to `min_lr` over all `steps`, the warm-up included. In the first `warmup_steps` it
    is multiplied with a factor that rises linearly from `warmup_start` to 1.
    """
    value = optim.min_lr + (peak - optim.min_lr) * (1 + math.cos(math.pi * min(step, steps) / steps)) / 2
    if step < optim.warmup_steps:
        value *= optim.warmup_start + (1 - optim.warmup_start) * step / optim.warmup_steps
    return value


def cosine_to_min(optimizer: Optimizer, optim: OptimPart, steps: int) -> LambdaLR:
    """Make the scheduler of a run of `steps`; every group has its own peak, and `min_lr` is the same for all."""

    def factor(peak: float) -> Callable[[int], float]:
        return lambda step: rate(peak, step, steps, optim) / peak

    return LambdaLR(optimizer, [factor(float(group["lr"])) for group in optimizer.param_groups])
