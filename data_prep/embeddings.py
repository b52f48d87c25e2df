"""Embeddings of pictures by the vision encoder of a model, and the pairs of them that point the same way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lhrs_chat.models import weights
from lhrs_chat.models.encoders import EncoderModule
from lhrs_chat.models.processing import LhrsImageProcessor

BLOCK = 2048


@dataclass(frozen=True)
class Embedder:
    """An encoder and what prepares pictures for it."""

    encoder: EncoderModule
    processor: LhrsImageProcessor

    @torch.inference_mode()
    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Encode `pixels`: (H, W, 3) uint8, to the mean of the tokens of the last level: (D,) float16 of length 1."""
        parameter = next(self.encoder.parameters())
        sent = self.processor.one(pixels)[None].to(parameter.device, parameter.dtype)
        mean = self.encoder(sent)[-1][0].float().mean(dim=0)
        return np.asarray(torch.nn.functional.normalize(mean, dim=0).cpu().numpy().astype(np.float16))


def open_encoder(model: str) -> Embedder:
    """Open the encoder of a model: a preset, a folder or a hub id.

    Raises:
        WeightsError: it cannot be had.
    """
    loaded = weights.load(weights.locate(model))
    return Embedder(loaded.model.encoder, loaded.processor.image_processor)


def weights_of(model: str) -> str:
    """Hash of the weights of a model.

    Raises:
        WeightsError: it cannot be had.
    """
    return weights.weights_hash(weights.locate(model))


def alike(vectors: np.ndarray, least: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Find the pairs whose cosine is `least` or more, block by block: the work grows with the square of N.

    Args:
        vectors: (N, D), of length 1.
        least: from -1 to 1.

    Yields:
        First places, second places, which are larger, and cosines: (K,), (K,) and (K,) float32.
    """
    for start in range(0, len(vectors), BLOCK):
        ones = vectors[start : start + BLOCK].astype(np.float32)
        for other in range(start, len(vectors), BLOCK):
            cosines = ones @ vectors[other : other + BLOCK].astype(np.float32).T
            first, second = np.nonzero(cosines >= least)
            later = second + other > first + start
            first, second = first[later], second[later]
            yield first + start, second + other, cosines[first, second]
