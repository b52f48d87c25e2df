"""Time to the first token with the kept cache, and decoding speed against transformers' own `generate`."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lhrs_chat.models.backends.native import NativeBackend

from bench.row import Row
from lhrs_chat.errors import LhrsError
from lhrs_chat.models import weights
from lhrs_chat.models.backends import Done, Request
from lhrs_chat.schema import Message

QUESTIONS = (
    "Describe this scene in detail.",
    "Which kinds of land cover can be seen, and where do they lie?",
    "Is there any water in this scene?",
    "How many buildings can you count?",
    "Where is the largest road?",
)
ANSWER_TOKENS = 48
DECODED_TOKENS = 96
PAIRS = 7
CACHE_TARGET = 4.0
DECODE_TARGET = 1.0
DECODE_NOISE = 0.03
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


def conversation(backend: NativeBackend) -> list[Message]:
    """Four turns with the model's own answers, and the fifth question."""
    messages: list[Message] = []
    for turn, question in enumerate(QUESTIONS):
        messages.append(Message.of("user", question, images=(0,) if turn == 0 else ()))
        if turn < len(QUESTIONS) - 1:
            done, _, _ = ask(backend, messages, ANSWER_TOKENS)
            messages.append(Message.of("assistant", done.text))
    return messages


def measure_cache(backend: NativeBackend) -> Row:
    """Turn 5 after turn 4, against turn 5 of a backend that forgot everything, in turns."""
    backend.reset()
    messages = conversation(backend)
    kept: list[float] = []
    fresh: list[float] = []
    texts: set[str] = set()
    for turn in range(PAIRS):
        for keep in (True, False)[:: 1 if turn % 2 else -1]:
            backend.reset()
            if keep:
                ask(backend, messages[:-2], ANSWER_TOKENS)
            done, first_s, _ = ask(backend, messages, 8)
            (kept if keep else fresh).append(first_s)
            texts.add(done.text)
    with_cache, without = statistics.median(kept), statistics.median(fresh)
    ratio = without / with_cache
    same = "both ways say the same" if len(texts) == 1 else "THE TWO WAYS SAY DIFFERENT THINGS"
    return Row(
        what="time to first token, chat turn 5",
        ours=f"{with_cache * 1000:.0f} ms (cache kept)",
        against=f"{without * 1000:.0f} ms (recomputed)",
        ratio=ratio,
        target=f"at least {CACHE_TARGET:g}x faster",
        passed=ratio >= CACHE_TARGET and len(texts) == 1,
        remark=f"median of {PAIRS} pairs; {same}",
    )


def measure_decoding(backend: NativeBackend) -> Row:
    """Tokens a second after the first one: our streaming loop, and `generate` of transformers, in turns.

    Both decode greedily from one prompt and one picture; the time to the first token is measured and taken off.

    Raises:
        LhrsError: an answer is too short to be timed.
    """
    peer = _Peer(backend)
    messages = [Message.of("user", QUESTIONS[0], images=(0,))]
    backend.reset()
    whole, _, _ = ask(backend, messages, DECODED_TOKENS)
    reference = peer.generate(whole.prompt, DECODED_TOKENS)
    if min(whole.tokens, reference[0]) < DECODED_TOKENS // 4:
        raise LhrsError(
            "the answer is too short to be timed", found=whole.text, allowed=f"{DECODED_TOKENS // 4} tokens"
        )
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
    ours, theirs = statistics.median(rates["ours"]), statistics.median(rates["peer"])
    same = whole.text.strip() == reference[2].strip()
    return Row(
        what="greedy decoding",
        ours=f"{ours:.1f} tokens/s (streaming)",
        against=f"{theirs:.1f} tokens/s (transformers generate)",
        ratio=ours / theirs,
        target=f"not slower (at least {DECODE_TARGET - DECODE_NOISE:.2f})",
        passed=ours / theirs >= DECODE_TARGET - DECODE_NOISE and same,
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
    return [measure_cache(backend), measure_decoding(backend)]
