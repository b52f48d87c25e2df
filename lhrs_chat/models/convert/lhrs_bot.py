"""LHRS-Bot (Muhtar et al., ECCV 2024): CLIP ViT-L/14 tapped at three layers, `attn_pooler`, Llama-2-7b-chat.

The checkpoint does not tell the heads of the bridge, how its queries are split, and the tapped layers: these are
options, and as published where left out. It does not tell either whether it is of stage 1, which has no TextLoRA, so
that has to be said.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from lhrs_chat.models.convert import Converter
from lhrs_chat.models.convert._system import System, convert, mlp_ratio


def taps(depth: int) -> tuple[int, ...]:
    """Tapped `hidden_states` of a tower of `depth` layers, by the published rule; for 24 layers 7, 15 and 22."""
    return depth // 3 - 1, 2 * (depth // 3) - 1, depth - 2


def bridge(shapes: Mapping[str, tuple[int, ...]], top_k: int) -> dict[str, Any]:
    """What the bridge's part of the config holds for this system alone."""
    inner, width = shapes.get("layers.0.mlp.c_fc.weight", (0, 1))
    return {"mlp_ratio": mlp_ratio(inner, width)}


CONVERTER = Converter(
    partial(
        convert,
        System(
            name="lhrs-bot",
            title="LHRS-Bot",
            has_post_norm=False,
            taps=taps,
            layers=lambda depth: depth,
            bridge=bridge,
            dense=lambda shapes: False,
        ),
    )
)
