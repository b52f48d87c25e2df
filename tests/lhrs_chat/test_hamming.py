from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lhrs_chat import hamming
from lhrs_chat.errors import DataError


def found(ones: np.ndarray, others: np.ndarray, bits: int) -> list[tuple[int, int, int]]:
    rows = [
        row for block in hamming.within(ones, others, bits) for row in zip(*map(np.ndarray.tolist, block), strict=True)
    ]
    return sorted(rows)


def by_force(ones: np.ndarray, others: np.ndarray, bits: int) -> list[tuple[int, int, int]]:
    apart = np.bitwise_count(ones[:, None] ^ others[None, :])
    return [(int(i), int(j), int(apart[i, j])) for i, j in zip(*np.nonzero(apart <= bits), strict=True)]


@st.composite
def near_hashes(draw: st.DrawFn) -> np.ndarray:
    """Random hashes, and others made of them by turning a few bits over."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    first = rng.integers(0, 2**64, draw(st.integers(0, 12)), dtype=np.uint64)
    copies = [
        one ^ np.bitwise_or.reduce(np.uint64(1) << rng.choice(64, size=n, replace=False).astype(np.uint64))
        for one in first
        for n in rng.integers(1, 12, draw(st.integers(0, 6)))
    ]
    return np.array([*first, *copies, *first[:2]], np.uint64)


@given(near_hashes(), near_hashes(), st.integers(0, 10))
def test_the_same_pairs_as_comparing_all(ones: np.ndarray, more: np.ndarray, bits: int) -> None:
    others = np.concatenate([more, ones[: len(ones) // 2]])
    assert found(ones, others, bits) == by_force(ones, others, bits)


@pytest.mark.parametrize("bits", [0, 3, 6, 12, 16])
def test_many_hashes_of_few_values(bits: int) -> None:
    hashes = np.random.default_rng(bits).integers(0, 2**9, 300, dtype=np.uint64)
    assert found(hashes, hashes, bits) == by_force(hashes, hashes, bits)


def test_planted_pairs_among_many() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 20_000, dtype=np.uint64)
    planted = {7: 6, 100: 0, 19_000: 3}
    copies = [hashes[place] ^ np.uint64((1 << bits) - 1 << 20) for place, bits in planted.items()]
    rows = found(np.array(copies), hashes, 6)
    assert rows == [(n, place, bits) for n, (place, bits) in enumerate(planted.items())]


def test_bits_out_of_range() -> None:
    one = np.zeros(1, np.uint64)
    for bits in (-1, 17):
        with pytest.raises(DataError, match="near within"):
            list(hamming.within(one, one, bits))
