"""Time to the first token with the kept cache, and decoding speed against transformers' own `generate`."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bench.row import Row
from lhrs_chat.errors import LhrsError
from lhrs_chat.models import weights
from lhrs_chat.models.backends import Done, Request
from lhrs_chat.models.backends.native import NativeBackend
from lhrs_chat.schema import Message

DESCRIBE = "Describe this scene in detail."
EARLIER = (
    (
        DESCRIBE,
        "The scene shows a flat landscape that is divided into many rectangular fields of different colours. Some of "
        "them are green, some are brown and bare, and a few are bright. There are no large buildings, and a narrow "
        "road runs along the edges of the fields from the left side to the right side of the picture.",
    ),
    (
        "Which kinds of land cover can be seen, and where do they lie?",
        "Most of the picture is farmland. Bare soil lies in the upper left and in the lower middle, vegetation lies on "
        "the right side and in the centre, and a small strip of grass follows the road at the bottom of the picture.",
    ),
    (
        "Is there any water in this scene?",
        "No. There is no river, lake or pond in this scene, and none of the fields looks as if it were flooded.",
    ),
    (
        "How much of the picture is green?",
        "About 35% of the picture is green. The green parts are fields with crops and the grass along the road, and "
        "the rest is bare soil, dry vegetation and the road itself.",
    ),
)
LAST = "Where is the largest green field?"
NO_TOKEN = -1
DECODED_TOKENS = 96
PAIRS = 7
CACHE_TARGET = 4.0
DECODE_TARGET = 1.0
DECODE_NOISE = 0.05
SIDE_PX = 512


def scene() -> tuple[np.ndarray, str]:
    """A picture made of fields in seeded colours, and its hash: (H, W, 3), uint8."""
    colours = np.random.default_rng(7).integers(30, 220, (8, 8, 3), dtype=np.uint8)
    pixels = np.kron(colours, np.ones((SIDE_PX // 8, SIDE_PX // 8, 1), dtype=np.uint8))
    return pixels, hashlib.sha256(pixels.tobytes()).hexdigest()


def request(messages: Sequence[Message], max_new_tokens: int) -> Request:
    """A greedy request about the picture."""
    pixels, sha256 = scene()
    return Request(tuple(messages), (pixels,), (sha256,), max_new_tokens=max_new_tokens)


def ask(backend: NativeBackend, messages: Sequence[Message], max_new_tokens: int) -> tuple[Done, float, float]:
    """Answer one request: its end, the seconds to the first piece of text, and the seconds in all.

    Raises:
        LhrsError: the model said nothing.
    """
    asked = request(messages, max_new_tokens)
    before = time.perf_counter()
    first_s: float | None = None
    done: Done | None = None
    for event in backend.generate([asked]):
        if first_s is None and (isinstance(event, Done) or event.text):
            first_s = time.perf_counter() - before
        if isinstance(event, Done):
            done = event
    if first_s is None or done is None:
        raise LhrsError("the model gave no answer in the benchmark")
    return done, first_s, time.perf_counter() - before


def conversation(turn: int) -> list[Message]:
    """What was said before a turn, written here so that no measurement depends on how much a model says."""
    messages: list[Message] = []
    for number, (question, answer) in enumerate(EARLIER[: turn - 1]):
        messages.append(Message.of("user", question, images=(0,) if number == 0 else ()))
        messages.append(Message.of("assistant", answer))
    return messages


def measure_cache(backend: NativeBackend, what: str, turn: int, target: float, pairs: int) -> Row:
    """A turn with what the turn before left in the cache, against a backend that forgot everything, one by one."""
    earlier = conversation(turn)
    question = [*(question for question, _ in EARLIER), LAST][turn - 1]
    messages = [*earlier, Message.of("user", question)]
    ask(backend, messages, 8)
    kept: list[float] = []
    fresh: list[float] = []
    texts: set[str] = set()
    prompt = ""
    for pair in range(pairs):
        for keep in (True, False)[:: 1 if pair % 2 else -1]:
            backend.reset()
            if keep:
                ask(backend, earlier, 1)
            done, first_s, _ = ask(backend, messages, 8)
            (kept if keep else fresh).append(first_s)
            texts.add(done.text)
            prompt = done.prompt
    ratio = statistics.median(slow / fast for slow, fast in zip(fresh, kept, strict=True))
    same = "both ways say the same" if len(texts) == 1 else "THE TWO WAYS SAY DIFFERENT THINGS"
    return Row(
        what=what,
        ours=f"{statistics.median(kept) * 1000:.0f} ms (cache kept)",
        against=f"{statistics.median(fresh) * 1000:.0f} ms (recomputed)",
        ratio=ratio,
        target=f"at least {target:g}x faster",
        passed=ratio >= target and len(texts) == 1,
        remark=f"median of {pairs} pairs, prompt of {len(backend.processor.encode(prompt))} tokens; {same}",
    )


def measure_decoding(backend: NativeBackend) -> Row:
    """Tokens a second after the first one: our streaming loop, and `generate` of transformers, in turns.

    Both decode greedily from one prompt and one picture; the time to the first token is measured and taken off. The
    end of the answer is ignored by both, since lhrs-nano answers in a few words, too few to be timed.
    """
    ends, own_end = backend.eos_ids, backend.model.generation_config.eos_token_id
    backend.eos_ids, backend.model.generation_config.eos_token_id = [NO_TOKEN], None
    try:
        return _measure_decoding(backend, _Peer(backend))
    finally:
        backend.eos_ids, backend.model.generation_config.eos_token_id = ends, own_end


def _measure_decoding(backend: NativeBackend, peer: _Peer) -> Row:
    messages = [Message.of("user", DESCRIBE, images=(0,))]
    backend.reset()
    whole, _, _ = ask(backend, messages, DECODED_TOKENS)
    reference = peer.generate(whole.prompt, DECODED_TOKENS)
    rates: dict[str, list[float]] = {"ours": [], "peer": []}
    for turn in range(PAIRS):
        for name in ("ours", "peer")[:: 1 if turn % 2 else -1]:
            if name == "ours":
                backend.reset()
                _, _, least = ask(backend, messages, 1)
                backend.reset()
                done, _, took = ask(backend, messages, DECODED_TOKENS)
                tokens = done.tokens
            else:
                _, least, _ = peer.generate(whole.prompt, 1)
                tokens, took, _ = peer.generate(whole.prompt, DECODED_TOKENS)
            rates[name].append((tokens - 1) / max(took - least, 1e-9))
    ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["peer"], strict=True))
    same = whole.text.strip() == reference[2].strip()
    return Row(
        what="greedy decoding",
        ours=f"{statistics.median(rates['ours']):.1f} tokens/s (streaming)",
        against=f"{statistics.median(rates['peer']):.1f} tokens/s (transformers generate)",
        ratio=ratio,
        target=f"not slower (at least {DECODE_TARGET - DECODE_NOISE:.2f})",
        passed=ratio >= DECODE_TARGET - DECODE_NOISE and same,
        remark=f"median of {PAIRS} pairs, {whole.tokens} tokens; both say the same: {'yes' if same else 'NO'}",
    )


class _Peer:
    """The same weights behind transformers' own `generate`."""

    def __init__(self, backend: NativeBackend) -> None:
        self.model: Any = backend.model
        self.processor = backend.processor

    def generate(self, prompt: str, max_new_tokens: int) -> tuple[int, float, str]:
        """Tokens made, seconds in all, and the text."""
        pixels, _ = scene()
        before = time.perf_counter()
        inputs = self.processor(text=prompt, images=[pixels]).to(self.model.device)
        with torch.inference_mode():
            ids = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        took = time.perf_counter() - before
        made = ids[0, inputs["input_ids"].shape[1] :]
        return len(made), took, self.processor.tokenizer.decode(made, skip_special_tokens=True)


def measure(model: str) -> list[Row]:
    """Both measurements on one loaded backend."""
    backend = NativeBackend.open(weights.locate(model), name=model)
    cache = measure_cache(backend, "time to first token, chat turn 5", 5, CACHE_TARGET, PAIRS)
    return [cache, measure_decoding(backend)]
