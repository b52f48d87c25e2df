"""Sharding by torch itself: weights, gradients and optimizer of a stage split over all processes (FSDP 2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from lhrs_chat.config import load_yaml

from .parallel import OPTIMIZER, Cast, fitting, is_first, trained_parameters
from .recipe import Recipe


@dataclass(frozen=True)
class FsdpConfig:
    """What a file of `configs` says."""

    reshard_after_forward: bool = True
    """Free the gathered weights of a layer until the way back comes to it."""
    cpu_offload: bool = False
    """Keep weights, gradients and optimizer in the memory of the machine."""


class Fsdp:
    """Every process holds a part of each layer, and gathers a layer when it is computed.

    The layers that are gathered one by one are those that transformers does not split; the rest is gathered together.

    Args:
        module: of the stage; it is sharded in place.
        recipe: of the stage.
        file: with a `FsdpConfig`.
    """

    def __init__(self, module: nn.Module, recipe: Recipe, file: Path) -> None:
        self.module, self.precision = module, recipe.optim.precision
        config = load_yaml(file, FsdpConfig)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        mesh = init_device_mesh(device, (distributed.get_world_size(),))
        offload = CPUOffloadPolicy() if config.cpu_offload else OffloadPolicy()
        for layer in _layers(module):
            fully_shard(layer, mesh=mesh, reshard_after_forward=config.reshard_after_forward, offload_policy=offload)
        fully_shard(module, mesh=mesh, reshard_after_forward=False, offload_policy=offload)

    def wrap(self, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return the sharded module, which knows when gradients are to be shared."""
        return _Shared(self.module, self.precision), optimizer

    def clipped(self, norm: torch.Tensor | float) -> float:
        """Return the norm over all processes."""
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def trained(self) -> dict[str, torch.Tensor]:
        """Gather the tensors that are trained, one after the other."""
        self._share()
        kept: dict[str, torch.Tensor] = {}
        for name, tensor in trained_parameters(self.module).items():
            gathered = _gathered(tensor.detach())
            if is_first():
                kept[name] = gathered.cpu().contiguous()
        return kept

    def put(self, file: Path) -> None:
        """Take what `trained` gave from a file; each process keeps its part."""
        self._share()
        stored, own = fitting(file, self.module)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(_part(stored[name], tensor))

    def save_optimizer(self, optimizer: torch.optim.Optimizer, folder: Path) -> None:
        """Write the whole state of the optimizer, as one process alone would."""
        state = optimizer.state_dict()
        state["state"] = {
            number: {name: _gathered(value) for name, value in each.items()} for number, each in state["state"].items()
        }
        if is_first():
            torch.save(state, folder / OPTIMIZER)

    def load_optimizer(self, optimizer: torch.optim.Optimizer, folder: Path) -> None:
        """Read a whole state of the optimizer; each process keeps its part."""
        state = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
        tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        state["state"] = {
            number: {name: _part(value, tensors[number]) for name, value in each.items()}
            for number, each in state["state"].items()
        }
        optimizer.load_state_dict(state)

    @contextmanager
    def asking(self) -> Iterator[bool]:
        """Let all processes ask the same: each layer is gathered for all of them at once."""
        root: Any = self.module
        root.unshard()  # generation passes the layers, but not the root that gathers what is around them
        try:
            yield True
        finally:
            self._share()

    def _share(self) -> None:
        """Give gathered weights back: layers that wait for a way back that an evaluation never goes still hold them."""
        for part in self.module.modules():
            if isinstance(part, FSDPModule):
                part.reshard()

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Put whole tensors in the place of parts on the first process."""
        self._share()
        parts = {
            (module, name): tensor
            for module in self.module.modules()
            for name, tensor in module.named_parameters(recurse=False)
        }
        wholes = {id(tensor): _gathered(tensor.detach()) for tensor in dict.fromkeys(parts.values())}
        if is_first():
            for (module, name), tensor in parts.items():
                module.register_parameter(name, nn.Parameter(wholes[id(tensor)], requires_grad=tensor.requires_grad))
        try:
            yield
        finally:
            for (module, name), tensor in parts.items():
                module.register_parameter(name, tensor)


class _Shared(Cast):
    """A sharded module of which the gradients are shared at the end of a step only."""

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Keep the gradients of a batch that does not end a step; accelerate calls it by this name."""
        module: Any = self.module
        module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            module.set_requires_gradient_sync(True)


def _layers(module: nn.Module) -> list[nn.Module]:
    """Return the layers that are gathered one by one, innermost first."""
    models = [part for part in module.modules() if isinstance(part, PreTrainedModel)]
    names = {name for model in models for name in (model._no_split_modules or ())}
    return [part for part in module.modules() if type(part).__name__ in names][::-1]


def _gathered(value: Any) -> Any:
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def _part(value: Any, like: torch.Tensor) -> Any:
    """Split a whole tensor as `like` is split; what has another shape, such as a step count, is on every process."""
    if not isinstance(like, DTensor) or not isinstance(value, torch.Tensor) or value.shape != like.shape:
        return value
    whole = value.to(device=like.device_mesh.device_type, dtype=like.dtype)
    return distribute_tensor(whole, like.device_mesh, like.placements)
