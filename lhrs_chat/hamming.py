"""All pairs of 64-bit hashes that differ in few bits, exactly, without comparing every pair.

The 64 bits are cut into blocks. Two hashes that differ in at most `bits` bits leave all but `bits` of the blocks
untouched (the pigeonhole principle), so they agree in at least one choice of that many blocks. For every choice both
sides are sorted by these blocks, and only hashes that agree in them are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np

from lhrs_chat.errors import DataError

WORD = 64
MOST_BITS = 16
"""Hashes that differ in more bits than this are not alike in any useful sense."""
_SORT_COST = 30.0  # of one hash in one pass, in comparisons of two hashes
_MOST_PASSES = 500


def within(ones: np.ndarray, others: np.ndarray, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Find all pairs of `ones` and `others` that differ in at most `bits` bits, each pair once.

    Args:
        ones: (N,) uint64.
        others: (M,) uint64.
        bits: 0 to 16.

    Yields:
        Places in `ones`, places in `others`, and the numbers of bits: (K,) int64, (K,) int64 and (K,) uint8.

    Raises:
        DataError: `bits` is out of range.
    """
    if not 0 <= bits <= MOST_BITS:
        raise DataError("hashes are near within so many bits", found=bits, allowed=f"0 to {MOST_BITS}")
    if not (len(ones) and len(others)):
        return
    masks = _blocks(_number_of_blocks(len(ones), len(others), bits))
    for chosen in combinations(range(len(masks)), len(masks) - bits):
        # A pair is told by the first choice of blocks that it agrees in: none of the skipped ones agrees.
        skipped = [masks[block] for block in range(chosen[-1]) if block not in chosen]
        mask = np.bitwise_or.reduce([masks[block] for block in chosen])
        for one, other in _agreeing(ones, others, mask):
            apart = ones[one] ^ others[other]
            count = np.bitwise_count(apart)
            near = count <= bits
            one, other, apart, count = one[near], other[near], apart[near], count[near]
            first = np.ones(len(apart), bool)
            for block in skipped:
                first &= (apart & block) != 0
            if first.any():
                yield one[first], other[first], count[first]


def _number_of_blocks(ones: int, others: int, bits: int) -> int:
    """How many blocks to cut, so that sorting and comparing together take least, were the hashes random."""

    def cost(blocks: int) -> float:
        agreeing = ones * others / math.exp2(WORD * (blocks - bits) / blocks)
        return math.comb(blocks, bits) * (_SORT_COST * (ones + others) + agreeing)

    able = [blocks for blocks in range(bits + 1, WORD) if math.comb(blocks, bits) <= _MOST_PASSES]
    return min(able, key=cost)


def _blocks(number: int) -> list[np.uint64]:
    """Cut 64 bits into blocks of nearly one length: the mask of each."""
    edges = [WORD * place // number for place in range(number + 1)]
    return [np.uint64((1 << high) - (1 << low)) for low, high in pairwise(edges)]


def _agreeing(ones: np.ndarray, others: np.ndarray, mask: np.uint64) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs that agree in all bits of a mask: the n-th partner of every hash at once, for n = 0, 1, ..."""
    order = np.argsort(others & mask)
    sought = order if ones is others else np.argsort(ones & mask)
    keys, wanted = (others & mask)[order], (ones & mask)[sought]
    start = np.searchsorted(keys, wanted, side="left")
    stop = np.searchsorted(keys, wanted, side="right")
    found = start < stop
    while found.any():
        sought, start, stop = sought[found], start[found], stop[found]
        yield sought, order[start]
        start = start + 1
        found = start < stop
