"""Remote sensing assistants that can see, speak and point at the map.

Importing this package loads no torch; `load` does, when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lhrs_chat.chat import Assistant

__version__ = "0.1.0"


def load(model: str = "lhrs-nano", *, dtype: str = "auto", quantise: str = "none") -> Assistant:
    """Open a model by preset name, local folder or hub id, ready to be asked.

    Args:
        model: `lhrs-nano`, a folder written by `save_pretrained`, or a Hugging Face model id.
        dtype: `float32`, `bfloat16`, `float16`, or `auto` for the format in which the weights are stored.
        quantise: `8bit` or `4bit` for a smaller language model, through bitsandbytes, or `none`.

    Raises:
        LhrsError: the model is not known, its weights are missing or damaged, or this machine cannot quantise.
    """
    from lhrs_chat.chat import Assistant

    return Assistant.open(model, dtype=dtype, quantise=quantise)
