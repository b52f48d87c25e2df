"""How several processes hold one stage: each all of it, or each a part, by a file of `configs`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import distributed, nn

from lhrs_chat.errors import ConfigError, LhrsError
from lhrs_chat.models.strict import refuse
from lhrs_chat.plugins import nearest

from .recipe import Recipe

CONFIGS = Path(__file__).parent / "configs"
OPTIMIZER = "optimizer.pt"
ZERO = "zero"  # folder of DeepSpeed's files in a checkpoint
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
_LOST = ("gloo", "nccl", "connection closed", "connection reset", "socket")


class Parallel(Protocol):
    """What a run needs to know of how its processes hold the module. All of them call each method together."""

    def wrap(self, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return what is called and what makes a step."""

    def clipped(self, norm: torch.Tensor | float) -> float:
        """Return the norm of the whole gradient, given what torch's clipping returned for this process."""

    def trained(self) -> dict[str, torch.Tensor]:
        """Return the tensors that are trained, each whole, by their names in the module, to the first process."""

    def put(self, file: Path) -> None:
        """Take what `trained` gave from a file.

        Raises:
            WeightsError: the file holds something else.
        """

    def save_optimizer(self, optimizer: torch.optim.Optimizer, folder: Path) -> None:
        """Write the state of the optimizer."""

    def load_optimizer(self, optimizer: torch.optim.Optimizer, folder: Path) -> None:
        """Read what `save_optimizer` wrote."""

    def asking(self) -> AbstractContextManager[bool]:
        """Let the model be asked behind an evaluation, and tell whether this process has to do so."""

    def plain(self) -> AbstractContextManager[None]:
        """Let the first process write the model, as if it were alone."""


class Replicas:
    """Every process holds the whole module: one process, or several whose gradients accelerate averages.

    Args:
        module: of the stage.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def wrap(self, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return both as they are: accelerate wraps them."""
        return self.module, optimizer

    def clipped(self, norm: torch.Tensor | float) -> float:
        """Return it as it is."""
        return float(norm)

    def trained(self) -> dict[str, torch.Tensor]:
        """Return the tensors that are trained."""
        return {name: tensor.detach().contiguous() for name, tensor in trained_parameters(self.module).items()}

    def put(self, file: Path) -> None:
        """Take what `trained` gave from a file."""
        stored, own = fitting(file, self.module)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(stored[name])

    def save_optimizer(self, optimizer: torch.optim.Optimizer, folder: Path) -> None:
        """Write the state of the optimizer, by the first process."""
        if is_first():
            torch.save(optimizer.state_dict(), folder / OPTIMIZER)

    def load_optimizer(self, optimizer: torch.optim.Optimizer, folder: Path) -> None:
        """Read what `save_optimizer` wrote."""
        optimizer.load_state_dict(torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True))

    def asking(self) -> AbstractContextManager[bool]:
        """Let the first process ask."""
        return nullcontext(is_first())

    def plain(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()


class Cast(nn.Module):
    """A module that computes in the precision of a recipe: what accelerate does for modules that it wraps itself.

    Args:
        module: of the stage; called with a batch it returns the loss of each item, (items,).
        precision: of the recipe.
    """

    def __init__(self, module: nn.Module, precision: str) -> None:
        super().__init__()
        self.module = module
        self.dtype = HALF.get(precision)

    def forward(self, **inputs: Any) -> torch.Tensor:
        """Return the losses, (items,), in float32."""
        device = next(self.module.parameters()).device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype is not None):
            losses: torch.Tensor = self.module(**inputs)
        return losses.float()


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained."""
    return {name: tensor for name, tensor in module.named_parameters() if tensor.requires_grad}


def fitting(file: Path, module: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, nn.Parameter]]:
    """Read a file of trained tensors, and return it with the parameters that it is for.

    Raises:
        WeightsError: names or shapes differ.
    """
    own, stored = trained_parameters(module), load_file(file)
    misshaped = [name for name in own.keys() & stored.keys() if own[name].shape != stored[name].shape]
    refuse(str(file), own.keys() - stored.keys(), stored.keys() - own.keys(), misshaped)
    return stored, own


def config_file(name: str) -> Path:
    """Return the file that `sharding` names: one of `configs`, or the user's own.

    Raises:
        ConfigError: there is none.
    """
    is_path = name.endswith((".yaml", ".yml", ".json"))
    path = Path(name) if is_path else next(CONFIGS.glob(f"{name}.*"), CONFIGS / name)
    names = sorted(each.stem for pattern in ("fsdp*.yaml", "zero*.json") for each in CONFIGS.glob(pattern))
    if not path.is_file() or (path.parent == CONFIGS and path.stem not in names):
        raise ConfigError("no such sharding", found=name, allowed=", ".join(names), next_step=nearest(name, names))
    return path


def parallel(recipe: Recipe, module: nn.Module) -> Parallel:
    """Return how the processes of this run hold the module of a stage, as the recipe says.

    Raises:
        ConfigError: there is no such sharding, or there is only one process.
        MissingExtraError: DeepSpeed is asked for, but not installed.
    """
    if recipe.sharding is None:
        return Replicas(module)
    file = config_file(recipe.sharding)
    if world() == 1:
        raise ConfigError(
            "one process has nothing to share its model with",
            found=f"sharding={recipe.sharding}",
            next_step="start it with torchrun --nproc-per-node N -m training ..., or leave sharding out",
        )
    if recipe.optim.precision == "fp16":
        raise ConfigError("a sharded model is trained without loss scaling", found="fp16", allowed="bf16, fp32")
    if file.suffix == ".json":
        from .zero import Zero

        return Zero(module, recipe, file)
    from .fsdp import Fsdp

    return Fsdp(module, recipe, file)


def world() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Tell whether this is the first process of all."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def summed(counts: torch.Tensor) -> torch.Tensor:
    """Return the sum of a vector over all processes, on the CPU."""
    if world() == 1:
        return counts
    device = "cuda" if torch.cuda.is_available() else "cpu"
    total = counts.to(device)
    distributed.all_reduce(total)
    return total.cpu()


def wait() -> None:
    """Wait until all processes are here.

    Raises:
        LhrsError: one of them has ended.
    """
    if distributed.is_initialized():
        with losing_nobody():
            distributed.barrier()


@contextmanager
def first_goes_first() -> Iterator[None]:
    """Let the first process of all do something before the others, which then find what it kept on the disk."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


@contextmanager
def losing_nobody() -> Iterator[None]:
    """Say that another process is gone, in place of what its connection said.

    Raises:
        LhrsError: a message to another process failed.
    """
    try:
        yield
    except RuntimeError as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        if world() == 1 or not any(word in str(error).lower() for word in _LOST):
            raise
        raise LhrsError(
            "another process of this run has ended, so this one stops",
            found=first,
            next_step="what ended it is in its own messages; start the command again to go on from the last checkpoint",
        ) from error
