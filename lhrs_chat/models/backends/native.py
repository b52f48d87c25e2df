"""Our own models: batches, streaming, and a cache that is kept between the turns of a conversation."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lhrs_chat.errors import DataError
from lhrs_chat.models import weights
from lhrs_chat.models.backends import Delta, Done, Request
from lhrs_chat.models.generate import PrefixCache, Sampling, decode, room_for_answer, temperature_of
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.text.templates import render

log = logging.getLogger(__name__)

BATCH = 16
KEPT_IMAGES = 32


@dataclass(frozen=True)
class _Prompt:
    """A rendered request: text, ids, the pictures in the order of their tokens, and how it is answered."""

    text: str
    ids: tuple[int, ...]
    pictures: tuple[int, ...]
    sampling: Sampling


class NativeBackend:
    """Runs an `LhrsForConditionalGeneration`.

    Args:
        name: how the model was asked for.
        model: in evaluation mode.
        processor: of the same folder.
        weights_sha256: hash of the weights file.
    """

    def __init__(
        self, name: str, model: LhrsForConditionalGeneration, processor: LhrsProcessor, weights_sha256: str = ""
    ) -> None:
        self.name = name
        self.model = model
        self.processor = processor
        self.weights_sha256 = weights_sha256
        self.dialect: str = processor.dialect
        self.prefix = PrefixCache()
        self._visual: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._lock = threading.Lock()
        self.context: int | None = getattr(model.config.text_config, "max_position_embeddings", None)
        """Tokens that the language model can read; None where its kind has no such limit."""
        eos = model.config.eos_token_id
        self.eos_ids = [processor.tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])]

    @classmethod
    def open(cls, folder: Path, name: str, precision: weights.Precision = weights.AS_STORED) -> NativeBackend:
        """Open a folder of ours.

        Raises:
            WeightsError: the weights are damaged, or do not fit the model, or this machine cannot quantise.
        """
        loaded = weights.load(folder, precision)
        return cls(name, loaded.model, loaded.processor, loaded.weights_sha256)

    def reset(self) -> None:
        """Forget the cached conversation and the encoded pictures."""
        self.prefix.clear()
        self._visual.clear()

    def generate(self, requests: Sequence[Request], stop: threading.Event | None = None) -> Iterator[Delta | Done]:
        """Answer the requests: one alone is streamed and uses the cache, several are answered in batches.

        Each is drawn with its own seed, whatever runs beside it. A prompt that all of a batch share is run once.

        Raises:
            DataError: a message points at an image that the request does not hold, or the conversation is longer than
                the language model can read.
        """
        with self._lock:
            if len(requests) == 1:
                yield from self._stream(requests[0], stop)
                return
            prompts = [self._prompt(request) for request in requests]
            order = sorted(range(len(requests)), key=lambda i: (prompts[i].sampling, len(prompts[i].ids)))
            for batch in _batches(order, prompts):
                if stop is not None and stop.is_set():
                    return
                yield from self._batch([(i, requests[i], prompts[i]) for i in batch], stop)

    def _prompt(self, request: Request) -> _Prompt:
        parts = [part for message in request.messages for part in message.content if part.type == "image"]
        wrong = [part.image for part in parts if part.image is None or not 0 <= part.image < len(request.images)]
        if wrong:
            raise DataError("a message points at an image that is not there", found=wrong[0])
        if len(request.image_hashes) != len(request.images):
            raise DataError("every image of a request has its hash", found=len(request.image_hashes))
        text = render(
            self.processor.tokenizer,
            request.messages,
            image_token=self.processor.image_token,
            system=self.processor.system,
            add_generation_prompt=True,
        )
        pictures = tuple(part.image for part in parts if part.image is not None)
        ids = tuple(self.processor.encode(text))
        needed = max((len(choice) for choice in self._choices(request)), default=1)
        published = self.model.generation_config
        sampling = Sampling(
            room_for_answer(len(ids), request.max_new_tokens, self.context, needed),
            temperature_of(request.temperature, published),
            1.0 if published.top_p is None else published.top_p,
        )
        return _Prompt(text, ids, pictures, sampling)

    def _choices(self, request: Request) -> list[list[int]]:
        """Return the ids of each choice as a whole answer, its end included."""
        words = self.processor.tokenizer
        return [[*words(choice, add_special_tokens=False).input_ids, self.eos_ids[0]] for choice in request.choices]

    def _tokens_of(self, request: Request, picture: int) -> torch.Tensor:
        """Return the visual tokens (K, D) of one picture, encoded once."""
        digest = request.image_hashes[picture]
        if digest in self._visual:
            self._visual.move_to_end(digest)
            return self._visual[digest]
        pixels = self.processor.image_processor.one(request.images[picture])[None].to(self.model.device)
        with torch.inference_mode():
            tokens: torch.Tensor = self.model.visual_tokens(pixels)[0]
        self._visual[digest] = tokens
        while len(self._visual) > KEPT_IMAGES:
            self._visual.popitem(last=False)
        return tokens

    def _keys(self, request: Request, prompt: _Prompt) -> list[Hashable]:
        """Name every token of the prompt, a visual one by its picture and place."""
        keys: list[Hashable] = []
        seen = 0
        count = self.processor.num_image_tokens
        for token in prompt.ids:
            if token == self.processor.image_token_id:
                keys.append((request.image_hashes[prompt.pictures[seen // count]], seen % count))
                seen += 1
            else:
                keys.append(token)
        return keys

    def _embed(self, request: Request, prompt: _Prompt) -> torch.Tensor:
        """Return the whole prompt as (1, T, D)."""
        visual = [self._tokens_of(request, picture) for picture in prompt.pictures]
        ids = torch.tensor([prompt.ids], device=self.model.device)
        with torch.inference_mode():
            return self.model.splice(ids, torch.stack(visual) if visual else None)

    def _stream(self, request: Request, stop: threading.Event | None) -> Iterator[Delta | Done]:
        prompt = self._prompt(request)
        keys = self._keys(request, prompt)
        embedded = self._embed(request, prompt)
        known = self.prefix.reuse(keys)
        log.debug("prompt of %d tokens, %d from the cache", len(keys), known)
        made: list[int] = []
        sure: list[float] = []
        said = ""
        steps = decode(
            self.model.language_model,
            embedded[:, known:],
            prompt.sampling,
            [request.seed],
            cache=self.prefix.values,
            eos_ids=self.eos_ids,
            stop=stop,
        )
        try:
            for step in steps:
                token = int(step.tokens[0])
                made.append(token)
                sure.append(float(step.probabilities[0]))
                text = self._text(made)
                if len(text) > len(said) and not text.endswith("\ufffd"):
                    yield Delta(0, text[len(said) :])
                    said = text
        finally:
            # What lies in the cache: the prompt and every token that was fed back.
            filled = self.prefix.values.get_seq_length()
            self.prefix.keys = [*keys, *made][:filled]
        text = self._text(made)
        if len(text) > len(said):
            yield Delta(0, text[len(said) :])
        yield self._done(0, request, prompt, made, sure, stopped=stop is not None and stop.is_set())

    def _batch(
        self, items: Sequence[tuple[int, Request, _Prompt]], stop: threading.Event | None
    ) -> Iterator[Delta | Done]:
        alike = len({tuple(self._keys(request, prompt)) for _, request, prompt in items}) == 1
        embedded, mask = self._padded(items) if not alike else (self._embed(items[0][1], items[0][2]), None)
        steps = decode(
            self.model.language_model,
            embedded,
            items[0][2].sampling,
            [request.seed for _, request, _ in items],
            mask=mask,
            eos_ids=self.eos_ids,
            stop=stop,
        )
        made: list[list[int]] = [[] for _ in items]
        sure: list[list[float]] = [[] for _ in items]
        for step in steps:
            for row, token, chance in zip(
                step.rows.tolist(), step.tokens.tolist(), step.probabilities.tolist(), strict=True
            ):
                made[row].append(token)
                sure[row].append(chance)
        stopped = stop is not None and stop.is_set()
        for row, (number, request, prompt) in enumerate(items):
            yield self._done(number, request, prompt, made[row], sure[row], stopped=stopped)

    def _padded(self, items: Sequence[tuple[int, Request, _Prompt]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return prompts as one (B, T, D), padded on the left, and their mask (B, T)."""
        rows = [self._embed(request, prompt)[0] for _, request, prompt in items]
        length = max(row.shape[0] for row in rows)
        embedded = rows[0].new_zeros(len(rows), length, rows[0].shape[1])
        mask = torch.zeros(len(rows), length, dtype=torch.long, device=embedded.device)
        for i, row in enumerate(rows):
            embedded[i, length - row.shape[0] :] = row
            mask[i, length - row.shape[0] :] = 1
        return embedded, mask

    def _text(self, made: Sequence[int]) -> str:
        text: str = self.processor.tokenizer.decode(
            [token for token in made if token not in self.eos_ids], skip_special_tokens=True
        )
        return text

    def _done(
        self, number: int, request: Request, prompt: _Prompt, made: list[int], sure: list[float], *, stopped: bool
    ) -> Done:
        placement = None
        if prompt.pictures:
            height, width = request.images[prompt.pictures[-1]].shape[:2]
            placement = self.processor.image_processor.placement((width, height))
        return Done(
            number,
            self._text(made).strip(),
            confidence=sum(sure) / len(sure) if sure else 0.0,
            tokens=len(made),
            prompt=prompt.text,
            options=self._options(request, prompt),
            placement=placement,
            stopped=stopped,
        )

    @torch.inference_mode()
    def _options(self, request: Request, prompt: _Prompt) -> dict[str, float]:
        """Return the probability of each choice as the whole answer, normalised over the choices."""
        if not request.choices:
            return {}
        embedded = self._embed(request, prompt)
        scores = []
        for ids in self._choices(request):
            answer = torch.tensor([ids], device=embedded.device)
            whole = torch.cat([embedded, self.model.get_input_embeddings()(answer)], dim=1)
            logits = self.model.language_model(inputs_embeds=whole, logits_to_keep=answer.shape[1] + 1).logits
            chances = torch.log_softmax(logits[:, :-1].float(), dim=-1)
            scores.append(chances.gather(-1, answer[..., None]).sum())
        shares = torch.softmax(torch.stack(scores), dim=0)
        return {choice: float(share) for choice, share in zip(request.choices, shares, strict=True)}


def _batches(order: Sequence[int], prompts: Sequence[_Prompt]) -> Iterator[list[int]]:
    """Cut an order into batches of one kind of sampling each."""
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) == BATCH or prompts[i].sampling != prompts[batch[0]].sampling):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
