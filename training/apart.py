"""Attention over packs that computes only what rows see of themselves, on any device.

A mask over a whole pack costs the square of its length; rows one after the other cost the sum of their squares.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

APART = "rows_apart"


def attend_apart(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_ids: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Let every token see those before it in its row. A position of 0 begins a row.

    It is called as transformers calls an attention function, with whatever else a model passes.

    Args:
        module: the layer.
        query: (B, H, T, D).
        key: (B, G, S, D), where G divides H.
        value: (B, G, S, D).
        attention_mask: ignored: packs have none.
        dropout: share of the weights that are dropped.
        scaling: of the scores.
        position_ids: (B, T).
        kwargs: for torch's own attention, when an answer is written token by token.
    """
    if position_ids is None or query.shape[2] != key.shape[2]:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    shared = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(shared, dim=1) for tensor in (key, value))
    seen = []
    for each, positions in enumerate(position_ids.expand(len(query), -1)):
        lengths = _lengths(positions)
        parts = zip(*(tensor[each : each + 1].split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
        rows = [
            functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling)
            for q, k, v in parts
        ]
        seen.append(torch.cat(rows, dim=2))
    return torch.cat(seen).transpose(1, 2).contiguous(), None


def _lengths(positions: torch.Tensor) -> list[int]:
    """Return the lengths of the rows whose positions, (T,), are counted from 0."""
    starts = torch.nonzero(positions == 0)[:, 0].tolist()
    return [end - start for start, end in zip(starts, [*starts[1:], len(positions)], strict=True)]


AttentionInterface.register(APART, attend_apart)
