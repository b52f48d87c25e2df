"""Losses and measures of ranked groups, in float32."""

from __future__ import annotations

import torch

from lhrs_chat.errors import DataError


def order_losses(scores: torch.Tensor, group: int = 2) -> torch.Tensor:
    """Negative log likelihood of the order of each group, (G,) (Plackett, 1975; Luce, 1959).

    L = sum over i of logsumexp(s_i, ..., s_K) - s_i; with two it is -log sigmoid(s_1 - s_2) (Bradley and Terry, 1952).

    Args:
        scores: (G * K,), the groups one after another, each from best to worst.
        group: K, how many stand in a group.

    Raises:
        DataError: the scores do not fill whole groups of two or more.
    """
    if group < 2 or scores.dim() != 1 or len(scores) == 0 or len(scores) % group:
        raise DataError(
            "scores fill whole groups", found=f"{tuple(scores.shape)} in groups of {group}", allowed="G * K"
        )
    ranked = scores.float().view(-1, group)
    rest = ranked.flip(-1).logcumsumexp(-1).flip(-1)
    return (rest - ranked).sum(-1)


def plackett_luce(scores: torch.Tensor, group: int = 2) -> torch.Tensor:
    """Mean of `order_losses` over the groups."""
    return order_losses(scores, group).mean()


def pair_accuracy(scores: torch.Tensor, group: int = 2) -> float:
    """Share of pairs within the groups, (G * K,), whose better one has the higher score; a tie counts a half."""
    ranked = scores.detach().float().view(-1, group)
    gaps = ranked[:, :, None] - ranked[:, None, :]
    better, worse = torch.triu_indices(group, group, offset=1)
    pairs = gaps[:, better, worse]
    return float(((pairs > 0).float() + 0.5 * (pairs == 0).float()).mean())
