"""Sharding by DeepSpeed: ZeRO 2 splits gradients and optimizer over all processes, ZeRO 3 the weights too."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lhrs_chat.errors import ConfigError, LhrsError, MissingExtraError

from .parallel import ZERO, Cast, Replicas, is_first, trained_parameters
from .recipe import Recipe


class Zero(Replicas):
    """DeepSpeed holds what is trained and makes the steps.

    Its engine is used without accelerate's plugin, which does not start on several CPU processes, so that what runs on
    GPUs is what is tested without one.

    Args:
        module: of the stage; it is whole until `wrap`.
        recipe: of the stage.
        file: configuration of DeepSpeed. Sizes of batches and clipping come from the recipe.

    Raises:
        MissingExtraError: DeepSpeed is not installed.
        ConfigError: the file is no configuration of ZeRO.
    """

    def __init__(self, module: nn.Module, recipe: Recipe, file: Path) -> None:
        super().__init__(module)
        if find_spec("deepspeed") is None:
            raise MissingExtraError("deepspeed", "deepspeed", f"sharding={recipe.sharding}")
        try:
            self.config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            self.stage = int(self.config["zero_optimization"]["stage"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                "this is no configuration of ZeRO", found=f"{file}: {error}", allowed="zero_optimization.stage"
            ) from error
        self.config |= {
            "train_micro_batch_size_per_gpu": recipe.optim.batch_images,
            "gradient_accumulation_steps": 1,
            "managed_gradient_accumulation": False,  # a step ends where the Trainer says so
            "gradient_clipping": recipe.optim.clip_norm,
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 10**9,
        }
        self.precision = recipe.optim.precision
        self.engine: Any = None

    def wrap(self, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Start DeepSpeed's engine."""
        import deepspeed

        self.engine, *_ = deepspeed.initialize(
            model=Cast(self.module, self.precision),
            optimizer=optimizer,
            config=self.config,
            dist_init_required=False,
        )
        return self.engine, _Steps(self.engine, optimizer)

    def clipped(self, norm: torch.Tensor | float) -> float:
        """Return the norm of the step before: DeepSpeed knows that of a step when it is made."""
        told = self.engine.get_global_grad_norm()
        return 0.0 if told is None else float(told)

    def trained(self) -> dict[str, torch.Tensor]:
        """Return the tensors that are trained."""
        with self._gathered(list(trained_parameters(self.module).values())):
            return {name: tensor.detach().clone() for name, tensor in trained_parameters(self.module).items()}

    def save_optimizer(self, optimizer: torch.optim.Optimizer, folder: Path) -> None:
        """Write the state of the optimizer: every process its part."""
        self.engine.save_checkpoint(str(folder), tag=ZERO, save_latest=False, exclude_frozen_parameters=True)

    def load_optimizer(self, optimizer: torch.optim.Optimizer, folder: Path) -> None:
        """Read what `save_optimizer` wrote, and the weights beside it.

        Raises:
            LhrsError: the checkpoint was written without DeepSpeed.
        """
        # What is frozen is not in it, so DeepSpeed may not be strict; `put` has read what is trained, and is.
        found, _ = self.engine.load_checkpoint(
            str(folder), tag=ZERO, load_module_strict=False, load_lr_scheduler_states=False
        )
        if found is None:
            raise LhrsError("this checkpoint holds no state of ZeRO", found=folder, next_step="name another out")

    def asking(self) -> AbstractContextManager[bool]:
        """Let all processes ask the same where they share the weights, else the first."""
        return nullcontext(self.stage == 3 or is_first())

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Gather all weights on every process."""
        with self._gathered(list(self.module.parameters())):
            yield

    @contextmanager
    def _gathered(self, tensors: list[nn.Parameter]) -> Iterator[None]:
        if self.stage < 3 or self.engine is None:
            yield
            return
        from deepspeed.runtime.zero.partition_parameters import GatheredParameters

        with GatheredParameters(tensors):
            yield


class _Steps(torch.optim.Optimizer):
    """The engine as the optimizer that Trainer and schedule ask for: they share its groups, the engine steps."""

    def __init__(self, engine: Any, optimizer: torch.optim.Optimizer) -> None:
        super().__init__([{"params": [torch.zeros(1, requires_grad=True)]}], {})
        self.engine = engine
        self.param_groups = optimizer.param_groups

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make a step.

        Raises:
            LhrsError: the gradient is no number.
        """
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        if norm is not None and not math.isfinite(float(norm)):
            raise LhrsError("the gradient is no finite number, the run has stopped", found=float(norm))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Do nothing: the engine has done it."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the engine writes its state."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do nothing: the engine reads its state."""
