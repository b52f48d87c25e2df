"""Hold a language model that is not trained in 8 or 4 bits, whatever its weights came from."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.models.weights import NEVER_QUANTISED, Precision


def quantise(model: LhrsForConditionalGeneration, kind: str) -> None:
    """Replace the linear layers of the language model, but for its head, by layers of `kind`: `8bit` or `4bit`.

    The 4 bits are NormalFloat with bfloat16 between the layers (Dettmers et al., 2023). The layers take their final
    form when the model is moved to where it is trained.

    Raises:
        WeightsError: this machine cannot quantise.
    """
    Precision(quantise=kind).settings()
    layers: Any = importlib.import_module("bitsandbytes.nn")
    text: Any = model.language_model
    for name, module in list(text.named_modules()):
        if isinstance(module, nn.Linear) and name.split(".")[-1] not in NEVER_QUANTISED:
            text.set_submodule(name, _smaller(module, kind, layers))
    flag = "is_loaded_in_4bit" if kind == "4bit" else "is_loaded_in_8bit"
    setattr(text, flag, True)  # peft asks for it


def _smaller(layer: nn.Linear, kind: str, layers: Any) -> nn.Module:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes, bias = (layer.in_features, layer.out_features), layer.bias is not None
    made: nn.Module
    if kind == "4bit":
        made = layers.Linear4bit(*sizes, bias=bias, compute_dtype=torch.bfloat16, quant_type="nf4")
        made.weight = layers.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
    else:
        made = layers.Linear8bitLt(*sizes, bias=bias, has_fp16_weights=False, threshold=6.0)
        made.weight = layers.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.data, requires_grad=False)
    return made.to(device)
