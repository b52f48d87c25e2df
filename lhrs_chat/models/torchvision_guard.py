"""A torchvision whose compiled part cannot be loaded is made usable, before transformers looks for it.

pip may put a torchvision built for CUDA beside a torch built for the CPU. Importing it then fails on its operators
`nms` and `qnms`, and transformers, which finds the package installed, fails with it in places that need no torchvision.
Declaring the two operators is enough for everything that needs only torchvision's transforms; `torchvision.ops.nms`
itself still raises. `install` must run before the first import of transformers, peft or open_clip.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from typing import Literal

import torch

log = logging.getLogger(__name__)

_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []  # torch forgets the operators when their library object goes


def install() -> Literal["absent", "native", "declared"]:
    """Make torchvision importable; return whether it is absent, works natively or has its operators only declared."""
    if _declared:
        return "declared"
    if "torchvision" in sys.modules:
        return "native"
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return "absent"
    try:
        for library in sorted(Path(spec.origin).parent.glob("_C*.so")):
            torch.ops.load_library(str(library))
    except OSError as error:
        log.debug("torchvision's compiled part does not fit this torch, so its operators are missing: %s", error)
    missing = [
        schema
        for name, schema in _OPERATORS.items()
        if not torch._C._jit_get_schemas_for_operator(f"torchvision::{name}")
    ]
    if not missing:
        return "native"
    names = torch.library.Library("torchvision", "FRAGMENT")
    for schema in missing:
        names.define(schema)
    _declared.append(names)
    return "declared"
