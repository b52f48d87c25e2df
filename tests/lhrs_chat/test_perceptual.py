from __future__ import annotations

import numpy as np
import pytest

from lhrs_chat import perceptual
from tests.soft_scenes import scene, variant


@pytest.mark.parametrize(
    ("turn", "share", "x", "y"),
    [
        (0, 1.0, 0, 0),
        (1, 0.9, 0.5, 1),
        (2, 0.8, 1, 1),
        (3, 0.7, 0.5, 0),
        (4, 0.6, 0, 1),
        (5, 0.5, 1, 0),
        (7, 1.0, 0, 0),
    ],
)
def test_a_turned_part_is_found(turn: int, share: float, x: float, y: float) -> None:
    pixels = scene(turn)
    part = variant(pixels, share, x, y, turn)
    whole = perceptual.hashes(part, [perceptual.WHOLE], turned=False)
    own = perceptual.hashes(pixels, perceptual.PARTS, turned=True)
    assert perceptual.nearest_bits(whole, own).min() <= perceptual.MAX_BITS
    assert perceptual.correlation(part, pixels) >= perceptual.SAME


def test_parts_at_any_place_are_mostly_found() -> None:
    draw = np.random.default_rng(0)
    found = 0
    for seed in range(12):
        pixels = scene(seed)
        part = variant(pixels, draw.uniform(0.5, 1), draw.uniform(), draw.uniform(), int(draw.integers(8)))
        whole = perceptual.hashes(part, [perceptual.WHOLE], turned=False)
        near = perceptual.nearest_bits(whole, perceptual.hashes(pixels, perceptual.PARTS, turned=True)).min()
        found += bool(near <= perceptual.MAX_BITS and perceptual.correlation(part, pixels) >= perceptual.SAME)
    assert found >= 8


def test_other_scenes_are_not_alike() -> None:
    for seed in range(12):
        assert perceptual.correlation(scene(seed), scene(seed + 100)) < perceptual.SAME


def test_hash_of_a_picture() -> None:
    pixels = scene(1)
    (one,) = perceptual.hashes(pixels, [perceptual.WHOLE], turned=False)
    (dark,) = perceptual.hashes((pixels * 0.6).astype(np.uint8), [perceptual.WHOLE], turned=False)
    (noisy,) = perceptual.hashes(
        np.clip(pixels + np.random.default_rng(0).normal(0, 8, pixels.shape), 0, 255).astype(np.uint8),
        [perceptual.WHOLE],
        turned=False,
    )
    assert int(np.bitwise_count(one ^ dark)) <= 2 and int(np.bitwise_count(one ^ noisy)) <= 4
    assert len(set(perceptual.hashes(pixels, [perceptual.WHOLE], turned=True).tolist())) == 8
    flat = np.full((40, 40, 3), 90, np.uint8)
    assert perceptual.hashes(flat, perceptual.PARTS, turned=True).size == 0
