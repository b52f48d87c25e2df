"""LHRS-Bot-Nova (Li et al., 2024): SigLIP-so400m, the last layer cut, `moe_attn_pooler`, Llama-3-8B-Instruct.

The checkpoint does not tell the heads of the bridge, how its queries are split, how many experts each query passes, and
the tapped layers: these are options, and as published where left out. A bridge without experts is of stage 1, which has
no TextLoRA.

Training put two tokens behind the vocabulary, and TextLoRA holds the tables of tokens with their rows, or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from lhrs_chat.models.convert import Converter
from lhrs_chat.models.convert._system import System, convert, mlp_ratio

_UP = "layers.0.mlp.calculator.experts.weight_up."


def taps(depth: int) -> tuple[int, ...]:
    """Tapped `hidden_states` of a tower of `depth` layers, by the published rule; for 27 layers 9, 18 and 26."""
    return depth // 3, 2 * (depth // 3), depth - 1


def dense(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Say whether the bridge has an MLP in place of experts, as stage 1 leaves it."""
    return "layers.0.mlp.c_fc.weight" in shapes


def bridge(shapes: Mapping[str, tuple[int, ...]], top_k: int) -> dict[str, Any]:
    """What the bridge's part of the config holds for this system alone."""
    if dense(shapes):
        inner, width = shapes["layers.0.mlp.c_fc.weight"]
        return {"mlp_ratio": mlp_ratio(inner, width), "dense": True}
    inner, width = shapes.get(f"{_UP}0", (0, 1))
    experts = max(1, sum(name.startswith(_UP) for name in shapes))
    return {"mlp_ratio": mlp_ratio(inner, width), "num_experts": experts, "top_k": top_k}


CONVERTER = Converter(
    partial(
        convert,
        System(
            name="lhrs-bot-nova",
            title="LHRS-Bot-Nova",
            has_post_norm=True,
            taps=taps,
            layers=lambda depth: depth - 1,
            bridge=bridge,
            dense=dense,
            added_tokens=("<unk>", "|<pad>|"),
            ends=("<|eot_id|>",),
        ),
    )
)
