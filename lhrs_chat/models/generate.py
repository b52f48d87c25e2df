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
    """How the next token is chosen: the likeliest at temperature 0, else drawn.

    Drawn is from the likeliest tokens that have the share `top_p` together (Holtzman et al., 2020), or from all at 1.
    """

    max_new_tokens: int
    temperature: float = 0.0
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
    """One new token of each row that has not ended, with the probability the model gave it; as many as `rows` each."""

    rows: torch.Tensor
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


def _choose(logits: torch.Tensor, sampling: Sampling, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """Choose from `logits`: (B, V), each row with its own generator, so that it does not matter what others draw."""
    if sampling.temperature <= 0:
        return logits.argmax(dim=-1)
    drawn = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        drawn = _likeliest(drawn, sampling.top_p)
    rows = zip(drawn, generators, strict=True)
    return torch.cat([torch.multinomial(row, 1, generator=generator) for row, generator in rows])


def _likeliest(probabilities: torch.Tensor, share: float) -> torch.Tensor:
    """Return `probabilities`: (B, V) with 0 for all tokens but the likeliest ones that have the share together."""
    ranked, order = probabilities.sort(dim=-1, descending=True)
    before = ranked.cumsum(dim=-1) - ranked
    unlikely = (before >= share) & (before > 0)
    return probabilities.masked_fill(torch.zeros_like(unlikely).scatter(-1, order, unlikely), 0.0)


@torch.inference_mode()
def decode(
    language_model: PreTrainedModel,
    embedded: torch.Tensor,
    sampling: Sampling,
    seeds: Sequence[int],
    *,
    mask: torch.Tensor | None = None,
    cache: DynamicCache | None = None,
    eos_ids: Sequence[int] = (),
    stop: threading.Event | None = None,
) -> Iterator[Step]:
    """Yield the tokens that follow, until every row has said its end or `max_new_tokens` are made.

    A row that has said its end is left out of the steps that come.

    Args:
        language_model: a causal language model of transformers.
        embedded: (B, T, D), the part of the prompt that is not in the cache.
        sampling: how to choose.
        seeds: one for each row. A prompt of one row is run once, and answered with every one of the seeds.
        mask: (B, T), 0 for padding on the left; None where nothing is padded. Not with a filled cache.
        cache: filled with the beginning of the prompt, and extended in place.
        eos_ids: tokens that end a row.
        stop: set it to end after the current step.
    """
    values = DynamicCache() if cache is None else cache
    generators = [torch.Generator(device=embedded.device).manual_seed(seed) for seed in seeds]
    rows = torch.arange(len(seeds), device=embedded.device)
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
    logits = output.logits[:, -1]
    if len(logits) == 1 < len(seeds):
        values.batch_repeat_interleave(len(seeds))
        logits = logits.expand(len(seeds), -1)
    for made in range(sampling.max_new_tokens):
        tokens = _choose(logits, sampling, [generators[row] for row in rows.tolist()])
        yield Step(rows, tokens, torch.softmax(logits.float(), dim=-1).gather(-1, tokens[:, None]).squeeze(-1))
        going = ~torch.isin(tokens, ends)
        if not bool(going.any()) or made + 1 == sampling.max_new_tokens or (stop is not None and stop.is_set()):
            return
        if not bool(going.all()):
            rows, tokens = rows[going], tokens[going]
            values.batch_select_indices(going.nonzero()[:, 0])
        if mask is not None and positions is not None:
            mask = torch.nn.functional.pad(mask[going], (0, 1), value=1)
            positions = positions[going, -1:] + 1
        output = language_model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=values,
            use_cache=True,
        )
        logits = output.logits[:, -1]
