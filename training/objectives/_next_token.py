"""The objectives that predict the next token: `text`, `plain` and `chat`. They differ in their rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from lhrs_chat.models.vlm import LhrsForConditionalGeneration

from ..adapter import without_adapter
from ..labels import IGNORED


class TextObjective(nn.Module):
    """Next-token loss over what is learned; only these positions pass the language model's head.

    Encoder and bridge stay in evaluation mode where nothing in them is trained: no noise, no running statistics.
    """

    def __init__(self, model: LhrsForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> TextObjective:
        """Switch to training, but for parts that are not trained, or to evaluation."""
        super().train(mode)
        for part in (self.model.encoder, self.model.bridge):
            part.train(mode and any(tensor.requires_grad for tensor in part.parameters()))
        return self

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        levels: Sequence[torch.Tensor] | None = None,
        pixel_values: torch.Tensor | None = None,
        unseen: bool = False,
    ) -> torch.Tensor:
        """Return the loss of each token that is learned, (items,), row by row.

        Args:
            input_ids: (B, T), with K image ids for each picture.
            labels: (B, T), `IGNORED` where nothing is learned.
            attention_mask: (B, T), 1 for real tokens, padded on the right; or (B, 1, T, T), added to the scores. Left
                out, a position of 0 begins a row of its own.
            position_ids: (B, T); left out, tokens are counted from the left.
            levels: (N, P, D) each, what the encoder sees, instead of pixels.
            pixel_values: (N, C, H, W), normalised, in the order of their tokens; without either, a batch of text.
            unseen: no token shows the pictures; they pass for the sake of processes that share the model, and every
                part of it has to be passed in all of them at once.

        Raises:
            DataError: the pictures do not match their tokens.
        """
        hidden = self.states(input_ids, attention_mask, position_ids, levels, pixel_values, unseen)
        learned = labels[:, 1:] != IGNORED
        logits = without_adapter(self.model).lm_head(hidden[:, :-1][learned])
        return functional.cross_entropy(logits.float(), labels[:, 1:][learned], reduction="none")

    def states(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        levels: Sequence[torch.Tensor] | None,
        pixel_values: torch.Tensor | None,
        unseen: bool = False,
    ) -> torch.Tensor:
        """Return the last hidden states, (B, T, D); see `forward`."""
        model = self.model
        if levels is None and pixel_values is not None:
            levels = model.encoder(pixel_values)
        visual = None if levels is None else model.bridge(levels)
        if visual is not None and unseen:
            embedded = model.splice(input_ids, None) + 0 * visual.sum()
        else:
            embedded = model.splice(input_ids, visual)
        states: torch.Tensor = (
            without_adapter(model)
            .model(inputs_embeds=embedded, attention_mask=attention_mask, position_ids=position_ids, use_cache=False)
            .last_hidden_state
        )
        return states
