"""Which parameters learn, and how fast: patterns over their names, each with its learning rate."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn

from lhrs_chat.errors import ConfigError

from .recipe import OptimPart

_OBJECTIVE = "model."  # an objective may hold the model; its parameters are named as the model names them


def choose(
    objective: nn.Module, rates: Mapping[str, float], called: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Freeze whatever has no learning rate, and return the rate of each parameter that is trained, by its name.

    Args:
        objective: what is trained; parameters of its `model` are named as in the model.
        rates: regular expression -> learning rate; the last one that is found in a name decides, 0 freezes.
        called: parameters that may be trained, and in what their patterns are searched; all, in their names, if None.

    Raises:
        ConfigError: a pattern cannot be read or fits no parameter, or nothing is left to train.
    """
    named = called or {name: name.removeprefix(_OBJECTIVE) for name, _ in objective.named_parameters()}
    chosen: dict[str, float] = {}
    for pattern, rate in rates.items():
        try:
            fits = [name for name, said in named.items() if re.search(pattern, said)]
        except re.error as error:
            raise ConfigError("optim.lr names a part by a regular expression", found=f"{pattern}: {error}") from error
        if not fits:
            raise ConfigError(
                "a pattern of optim.lr fits no parameter",
                found=pattern,
                allowed=f"what is found in one of the {len(named)} names, as in {', '.join(_first_of_each(named))}",
                next_step="an adapter has parameters only where the recipe has lora" if "lora" in pattern else "",
            )
        chosen |= dict.fromkeys(fits, rate)
    trained = {name: rate for name, rate in chosen.items() if rate > 0}
    if not trained:
        raise ConfigError("nothing is trained", found=dict(rates), allowed="a learning rate above 0 in optim.lr")
    for name, tensor in objective.named_parameters():
        tensor.requires_grad_(name in trained)
    return trained


def _first_of_each(named: Mapping[str, str]) -> list[str]:
    """Return one name of each part, as an example."""
    firsts: dict[str, str] = {}
    for name in named.values():
        firsts.setdefault(name.split(".")[0], name)
    return list(firsts.values())


def adamw(objective: nn.Module, rates: Mapping[str, float], optim: OptimPart) -> torch.optim.Optimizer:
    """Make AdamW over the parameters that `choose` returned; norms, biases and scales decay only if they are to."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, tensor in objective.named_parameters():
        if name in rates:
            groups.setdefault((rates[name], optim.decay_all or tensor.dim() > 1), []).append(tensor)
    return torch.optim.AdamW(
        [
            {"params": tensors, "lr": rate, "weight_decay": optim.weight_decay if decays else 0.0}
            for (rate, decays), tensors in groups.items()
        ],
        betas=optim.betas,
        eps=optim.eps,
    )
