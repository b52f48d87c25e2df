"""What the objectives that predict the next token share: the module, what it may train, and asking it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from lhrs_chat.errors import ConfigError
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.vlm import LhrsForConditionalGeneration

from ..optimizer import choose
from ..recipe import Recipe
from ..rows import Row, fingerprint
from ..stage import Said
from ._next_token import TextObjective

LONGEST_ANSWER = 64


def set_up(recipe: Recipe, objective: TextObjective, *, cached: bool) -> dict[str, float]:
    """Choose what an objective trains, and how fast, before rows are read and features computed.

    Raises:
        ConfigError: a pattern fits nothing, or the encoder is to be trained on what it gave before.
    """
    objective.requires_grad_(False)
    rates = choose(objective, recipe.optim.lr)
    if cached and any(tensor.requires_grad for tensor in objective.model.encoder.parameters()):
        raise ConfigError(
            "features are kept of a frozen encoder only",
            found=f"a learning rate for the encoder, objective {recipe.objective}",
            allowed="data.cache_features: false, where the objective is not text",
        )
    return rates


def maker(recipe: Recipe, processor: LhrsProcessor, ends: frozenset[int]) -> str:
    """Name what decides the tokens of a row beside the row."""
    return f"{recipe.objective} {fingerprint(processor)} {sorted(ends)}"


def step_flops(model: PreTrainedModel) -> float:
    """Return what one training step computes for each token: 2 for each weight on the way there, 2 on the way back.

    And 2 for each weight that is trained (Chowdhery et al., 2022, appendix B, without its term for attention). The head
    counts as passed by every token, though only learned ones pass it; the encoder does not count.
    """
    text, head = model.get_decoder(), model.get_output_embeddings()  # a score model has none of words
    weights = [tensor for name, tensor in text.named_parameters() if tensor.dim() == 2 and "embed" not in name]
    everything = sum(tensor.numel() for tensor in weights if head is None or tensor is not head.weight)
    trained = sum(tensor.numel() for tensor in weights if tensor.requires_grad)
    return float(4 * everything + 2 * trained)


def layer_width(model: PreTrainedModel) -> int:
    """Return the numbers of a token that all layers of the language model pass on: layers times width."""
    text = model.config.get_text_config()
    return int(text.hidden_size) * int(text.num_hidden_layers)


def asking(
    model: LhrsForConditionalGeneration,
    processor: LhrsProcessor,
    ends: frozenset[int],
    visual: Callable[[Row], torch.Tensor | None],
) -> Callable[[Row], Said]:
    """Return what asks the first question of a row, as far as its first answer.

    Args:
        model: of the stage.
        processor: of the model.
        ends: ids that end an answer.
        visual: visual tokens of the pictures of a row, (N, K, D), or None where it has none.
    """

    def ask(row: Row) -> Said:
        start = row.tokens.answer.start
        ids = torch.from_numpy(row.tokens.ids[None, :start].astype("int64")).to(model.device)
        speaker: Any = model
        written: torch.Tensor = speaker.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            visual=visual(row),
            max_new_tokens=LONGEST_ANSWER,
            do_sample=False,
            eos_token_id=sorted(ends),
            pad_token_id=processor.tokenizer.pad_token_id,
        )
        words = [i for i in row.tokens.ids[:start].tolist() if i != processor.image_token_id]
        decode = processor.tokenizer.decode
        return Said(
            row.id,
            decode(words),
            decode(written[0, start:], skip_special_tokens=True).strip(),
            decode(row.tokens.ids[row.tokens.answer].tolist(), skip_special_tokens=True).strip(),
        )

    return ask
