"""What a stage will take, said before it begins: parts, rows, tokens, steps, padding, memory."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sized
from typing import Any

from .order import batch_lengths, step_rows, waste
from .recipe import Recipe
from .stage import Stage

log = logging.getLogger(__name__)

ADAM_BYTES = 12  # a gradient and two moments of each trained number, in float32
LAYER_BYTES = 34  # kept of each number of a layer in 16 bits (Korthikanti et al., 2022); 2 where it is computed again
GIB = 2**30


def steps_of(recipe: Recipe, stage: Stage) -> int:
    """Return the steps of a run."""
    optim = recipe.optim
    return optim.max_steps if optim.max_steps > 0 else math.ceil(len(stage.rows) / step_rows(optim))


def memory_bytes(recipe: Recipe, stage: Stage, longest_batch: int) -> tuple[int, int, int]:
    """Return about how much the weights, the optimizer and the results of the layers take.

    Args:
        recipe: of the stage.
        stage: before its first step.
        longest_batch: tokens of the batch with the most.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in stage.module.parameters())
    trained = sum(tensor.numel() for name, tensor in stage.module.named_parameters() if name in stage.rates)
    each = 2 if recipe.optim.gradient_checkpointing else LAYER_BYTES
    wide = 2 if recipe.optim.precision == "fp32" else 1
    return weights, ADAM_BYTES * trained, wide * each * longest_batch * stage.width


def tell(recipe: Recipe, stage: Stage) -> None:
    """Say what is trained, on how much, and what it takes."""
    sizes: Counter[tuple[str, float]] = Counter()
    for name, tensor in stage.module.named_parameters():
        if name in stage.rates:
            sizes[name.removeprefix("model.").split(".")[0], stage.rates[name]] += tensor.numel()
    for (part, rate), size in sizes.items():
        log.info("trained: %s, %.2f M parameters at a learning rate of %g", part, size / 1e6, rate)
    rows: list[Any] = list(stage.rows)
    log.info("%d rows, %d steps of %d", len(rows), steps_of(recipe, stage), step_rows(recipe.optim))
    lengths = batch_lengths([row for row in rows if isinstance(row, Sized)], recipe.optim.batch_images)
    longest = max((max(batch) * len(batch) for batch in lengths), default=0)
    if lengths:
        total = sum(map(sum, lengths))
        log.info(
            "%.2f M tokens, %.0f a step, %.1f %% of the places are padding",
            total / 1e6,
            total / len(rows) * step_rows(recipe.optim),
            100 * waste(lengths),
        )
    weights, optimizer, layers = memory_bytes(recipe, stage, longest)
    log.info(
        "memory: about %.2f GiB: weights %.2f, optimizer %.2f, layers %.2f",
        *(size / GIB for size in (weights + optimizer + layers, weights, optimizer, layers)),
    )
