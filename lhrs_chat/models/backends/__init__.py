"""One protocol for every model that can answer: ours, any Hugging Face model, any compatible server.

`Backend.generate` takes a batch of requests and yields text as it comes (`Delta`), then one `Done` for each.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from lhrs_chat.geo.frames import Placement
from lhrs_chat.schema import Message


@dataclass(frozen=True)
class Request:
    """One prompt. `images`: each (H, W, 3), uint8; `Part.image` of the messages counts into them."""

    messages: tuple[Message, ...]
    images: tuple[np.ndarray, ...] = ()
    image_hashes: tuple[str, ...] = ()
    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delta:
    """Text that request number `request` has just said."""

    request: int
    text: str


@dataclass(frozen=True)
class Done:
    """The end of request number `request`: its whole text and how sure the model was of it."""

    request: int
    text: str
    confidence: float
    tokens: int
    prompt: str
    options: dict[str, float] = field(default_factory=dict)
    placement: Placement | None = None
    stopped: bool = False


class Backend(Protocol):
    """What chat, scene, eval, data_prep and demo know of a model."""

    name: str
    weights_sha256: str
    dialect: str

    def generate(self, requests: Sequence[Request], stop: threading.Event | None = None) -> Iterator[Delta | Done]:
        """Answer the requests, in batches where the model can; greedy where temperature is 0."""
        ...


def open_backend(model: str) -> Backend:
    """Open the backend that runs `model`: a preset name, a local folder or a hub id.

    Raises:
        WeightsError: there is no such model here, or its weights are damaged.
    """
    from lhrs_chat.models.weights import is_ours, locate

    folder = locate(model)
    if is_ours(folder):
        from lhrs_chat.models.backends.native import NativeBackend

        return NativeBackend.open(folder, name=model)
    from lhrs_chat.models.backends.transformers import TransformersBackend

    return TransformersBackend.open(folder, name=model)
