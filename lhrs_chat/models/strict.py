"""Loading that refuses whatever does not fit, and names it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

from lhrs_chat.errors import WeightsError

SENSELESS = (  # what transformers and torch raise at a configuration whose values make no model
    *(StrictDataclassError, ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(ArithmeticError, RuntimeError, OSError),
)


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def reason(error: BaseException) -> str:
    """Return the first line of what another package says is wrong, or the kind of its error where it says nothing."""
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def refuse(what: str, missing: Iterable[str], unexpected: Iterable[str], misshaped: Iterable[str]) -> None:
    """Raise if any list holds a name.

    Raises:
        WeightsError: says which tensors are missing, unexpected or wrongly shaped.
    """
    faults = {"missing": set(missing), "unexpected": set(unexpected), "wrong shape": set(misshaped)}
    found = "; ".join(f"{kind}: {_some(names)}" for kind, names in faults.items() if names)
    if found:
        raise WeightsError(
            f"the weights of {what} do not fit",
            found=found,
            allowed="exactly the tensors of the model",
            next_step="check that these weights belong to this model",
        )


def load_strictly(module: nn.Module, state: Mapping[str, torch.Tensor], what: str) -> None:
    """Copy `state` into `module`, all of it or nothing.

    Raises:
        WeightsError: a tensor is missing, unexpected or wrongly shaped.
    """
    own = module.state_dict()
    refuse(
        what,
        own.keys() - state.keys(),
        state.keys() - own.keys(),
        (name for name in own.keys() & state.keys() if own[name].shape != state[name].shape),
    )
    module.load_state_dict(dict(state))


def first_line(error: Exception) -> str:
    """Say an error in one line, with its kind."""
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:300]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        WeightsError: the file is missing or holds no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path.name} cannot be read", found=f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path.name} holds no object", found=f"{path}: {type(content).__name__}")
    return content
