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
    """One prompt. `images`: each (H, W, 3), uint8; `Part.image` of the messages counts into them.

    `temperature`: 0 takes the likeliest words, above it they are drawn; None does what the model was published with.
    """

    messages: tuple[Message, ...]
    images: tuple[np.ndarray, ...] = ()
    image_hashes: tuple[str, ...] = ()
    max_new_tokens: int = 128
    temperature: float | None = 0.0
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
        """Answer the requests, in batches where the model can; greedy where temperature is 0.

        A request is answered as it is alone, with its own seed, whatever is asked beside it.
        """
        ...


def open_backend(model: str, *, dtype: str = "auto", quantise: str = "none") -> Backend:
    """Open the backend that runs `model`: a preset name, a local folder, a hub id or `openai:URL#MODEL`.

    Args:
        model: which one.
        dtype: number format of the weights; see `Precision`.
        quantise: fewer bits for the language model; see `Precision`.

    Raises:
        ConfigError: an unknown number format or quantisation.
        WeightsError: there is no such model here, its weights are damaged, or this machine cannot quantise.
        LhrsError: the server is not there, or does not let us in.
    """
    from lhrs_chat.models.weights import Precision, is_ours, locate

    precision = Precision(dtype, quantise)
    if model.startswith("openai:"):
        from lhrs_chat.models.backends.openai import OpenAIBackend

        return OpenAIBackend.open(model, precision)
    folder = locate(model)
    name = f"{model}{precision}"
    if is_ours(folder):
        from lhrs_chat.models.backends.native import NativeBackend

        return NativeBackend.open(folder, name, precision)
    from lhrs_chat.models.backends.transformers import TransformersBackend

    return TransformersBackend.open(folder, name, precision)
