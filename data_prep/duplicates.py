"""Which pictures show nearly the same: by all their values, by perceptual hash in any turn, by embedding."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lhrs_chat import hamming, perceptual
from lhrs_chat.errors import DataError

from .clusters import Clusters
from .fingerprints import Fingerprint, hashes_of


@dataclass(frozen=True)
class Alike:
    """When two pictures count as one.

    Args:
        bits: their hashes differ in at most so many of 64 bits, in one of eight turns and mirror images, and their
            thumbnails laid over each other correlate as `perceptual.SAME` asks.
        least_cosine: or their embeddings have this cosine at least; None where none are compared.
    """

    bits: int
    least_cosine: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.bits <= hamming.MOST_BITS:
            raise DataError(
                "near-duplicates differ in so many bits", found=self.bits, allowed=f"0 to {hamming.MOST_BITS}"
            )
        if self.least_cosine is not None and not -1 <= self.least_cosine <= 1:
            raise DataError("this is no cosine", found=self.least_cosine, allowed="-1 to 1")


def cluster(prints: Sequence[Fingerprint], rule: Alike) -> Clusters:
    """Join the pictures that count as one, also by way of others."""
    found = Clusters(len(prints))
    first: dict[str, int] = {}
    for number, each in enumerate(prints):
        if each.sha256:
            found.join(first.setdefault(each.sha256, number), number)
    for one, other in near_pairs(prints, rule.bits):
        found.join(one, other)
    if rule.least_cosine is not None:
        from .embeddings import alike

        able = [number for number, each in enumerate(prints) if each.vector.size]
        vectors = np.stack([prints[number].vector for number in able]) if able else np.zeros((0, 1), np.float16)
        for firsts, seconds, _ in alike(vectors, rule.least_cosine):
            for one, other in zip(firsts.tolist(), seconds.tolist(), strict=True):
                found.join(able[one], able[other])
    return found


def near_pairs(prints: Sequence[Fingerprint], bits: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs of pictures near by their hashes, in any turn, whose thumbnails agree."""
    able, hashes = hashes_of(prints)
    thumbs = np.stack([prints[number].thumb for number in able]) if len(able) else np.zeros((0, 1, 1), np.uint8)

    def in_turn(turn: int) -> list[tuple[np.ndarray, np.ndarray]]:
        found = []
        for ones, others, _ in hamming.within(hashes[:, 0], hashes[:, turn], bits):
            once = ones < others
            ones, others = ones[once], others[once]
            same = _correlation(thumbs[ones], perceptual.turned(thumbs[others], turn)) >= perceptual.SAME
            found.append((able[ones[same]], able[others[same]]))
        return found

    with ThreadPoolExecutor(min(perceptual.TURNS, len(os.sched_getaffinity(0)))) as pool:
        for found in pool.map(in_turn, range(perceptual.TURNS)):
            for ones, others in found:
                yield from zip(ones.tolist(), others.tolist(), strict=True)


def _correlation(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Correlation of pictures (K, H, W), pair by pair: (K,)."""
    first, second = (
        pictures - pictures.mean(axis=(1, 2), keepdims=True, dtype=np.float32) for pictures in (ones, others)
    )
    length = np.sqrt((first**2).sum(axis=(1, 2)) * (second**2).sum(axis=(1, 2)))
    return np.asarray((first * second).sum(axis=(1, 2)) / np.maximum(length, 1e-6))


def difference(kept: Fingerprint, dropped: Fingerprint, rule: Alike) -> str:
    """Say how near two pictures of one cluster are."""
    if kept.sha256 == dropped.sha256:
        return "the same pixels"
    told = []
    bits = None
    if kept.hashes.size and dropped.hashes.size:
        bits = int(np.bitwise_count(kept.hashes[0] ^ dropped.hashes).min())
        told.append(f"{bits} bits")
    cosine = float(kept.vector.astype(np.float32) @ dropped.vector.astype(np.float32)) if kept.vector.size else None
    if cosine is not None and rule.least_cosine is not None:
        told.append(f"cosine {cosine:.3f}")
    near = (bits is not None and bits <= rule.bits) or (
        cosine is not None and rule.least_cosine is not None and cosine >= rule.least_cosine
    )
    return ", ".join(told if near else [*told, "by way of others"])
