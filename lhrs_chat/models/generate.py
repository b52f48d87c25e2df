"""Decoding, one step at a time: greedy or sampled, streamed, stoppable, with a cache that outlives a turn.

Shapes: B batch, T text tokens, D width, V vocabulary.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from lhrs_chat.errors import DataError


@dataclass(frozen=True, order=True)
class Sampling:
    """How the next token is chosen: the likeliest at temperature 0, else drawn with the seed.

    Drawn is from the likeliest tokens that have the share `top_p` together (Holtzman et al., 2020), or from all at 1.
    """

    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    top_p: float = 1.0


def temperature_of(asked: float | None, published: GenerationConfig) -> float:
    """Return the temperature that is asked for, or where that is None, the one that the model was published with."""
    if asked is not None:
        return asked
    if not published.do_sample:
        return 0.0
    return 1.0 if published.temperature is None else float(published.temperature)


def room_for_answer(prompt_tokens: int, wanted: int, limit: int | None, needed: int = 1) -> int:
    """Return how many tokens the answer may have.

    Args:
        prompt_tokens: length of the prompt, visual tokens included.
        wanted: as many as were asked for.
        limit: tokens that the language model can read; None where its kind has no such limit.
        needed: the fewest that are of use.

    Raises:
        DataError: the prompt leaves less room than that.
    """
    if limit is None:
        return wanted
    if prompt_tokens + needed > limit:
        raise DataError(
            "the conversation is longer than the language model can read",
            found=f"{prompt_tokens} tokens, {needed} more for the answer",
            allowed=f"{limit} tokens in all",
            next_step="begin a new conversation, or ask a shorter question about fewer images",
        )
    return min(wanted, limit - prompt_tokens)


@dataclass(frozen=True)
class Step:
    """One new token of each row, with the probability the model gave it; (B,) each."""

    tokens: torch.Tensor
    probabilities: torch.Tensor


class PrefixCache:
    """Keys and values of the last conversation; a new prompt pays only for what comes after the common beginning.

    Tokens are compared by key: the id of a text token, and picture hash and place of a visual token.
    """

    def __init__(self) -> None:
        self.keys: list[Hashable] = []
        self.values = DynamicCache()

    def reuse(self, keys: Sequence[Hashable]) -> int:
        """Cut the cache to the longest common beginning with `keys`, short of the last one, and return its length."""
        common = 0
        limit = min(len(self.keys), len(keys) - 1)
        while common < limit and self.keys[common] == keys[common]:
            common += 1
        surplus = self.values.get_seq_length() - common
        if common == 0:
            self.values = DynamicCache()
        elif surplus > 0:
            self.values.crop(-surplus)
        self.keys = list(keys[:common])
        return common

    def clear(self) -> None:
        """Forget everything."""
        self.keys, self.values = [], DynamicCache()


def _choose(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> Step:
    """Choose from `logits`: (B, V)."""
    probabilities = torch.softmax(logits.float(), dim=-1)
    if sampling.temperature <= 0:
        tokens = logits.argmax(dim=-1)
    else:
        drawn, order = torch.softmax(logits.float() / sampling.temperature, dim=-1).sort(dim=-1, descending=True)
        before = drawn.cumsum(dim=-1) - drawn
        unlikely = (before >= sampling.top_p) & (before > 0)
        rank = torch.multinomial(drawn.masked_fill(unlikely, 0.0), 1, generator=generator)
        tokens = order.gather(-1, rank).squeeze(-1)
    return Step(tokens, probabilities.gather(-1, tokens[:, None]).squeeze(-1))


@torch.inference_mode()
def decode(
    language_model: PreTrainedModel,
    embedded: torch.Tensor,
    sampling: Sampling,
    *,
    mask: torch.Tensor | None = None,
    cache: DynamicCache | None = None,
    eos_ids: Sequence[int] = (),
    stop: threading.Event | None = None,
) -> Iterator[Step]:
    """Yield the tokens that follow, until every row has said its end or `max_new_tokens` are made.

    A row that has ended goes on with whatever comes; the caller cuts it at its end token.

    Args:
        language_model: a causal language model of transformers.
        embedded: (B, T, D), the part of the prompt that is not in the cache.
        sampling: how to choose.
        mask: (B, T), 0 for padding on the left; None where nothing is padded. Not with a filled cache.
        cache: filled with the beginning of the prompt, and extended in place.
        eos_ids: tokens that end a row.
        stop: set it to end after the current step.
    """
    values = DynamicCache() if cache is None else cache
    generator = torch.Generator(device=embedded.device).manual_seed(sampling.seed)
    ended = torch.zeros(embedded.shape[0], dtype=torch.bool, device=embedded.device)
    ends = torch.tensor(list(eos_ids), device=embedded.device)
    positions = None if mask is None else (mask.cumsum(-1) - 1).clamp(min=0)
    output = language_model(
        inputs_embeds=embedded,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=values,
        use_cache=True,
        logits_to_keep=1,
    )
    for made in range(sampling.max_new_tokens):
        step = _choose(output.logits[:, -1], sampling, generator)
        yield step
        ended |= torch.isin(step.tokens, ends)
        if bool(ended.all()) or made + 1 == sampling.max_new_tokens or (stop is not None and stop.is_set()):
            return
        if mask is not None and positions is not None:
            mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], dim=-1)
            positions = positions[:, -1:] + 1
        output = language_model(
            input_ids=step.tokens[:, None],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=values,
            use_cache=True,
        )
