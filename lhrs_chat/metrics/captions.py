"""BLEU, ROUGE-L and CIDEr-D of captions against several references, in the definitions of the usual COCO caption tool.

That tool is pycocoevalcap. Every function takes plain sentences and splits them with `words.tokenize`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.metrics.words import tokenize

MAX_N = 4
ROUGE_BETA = 1.2
CIDER_SIGMA = 6.0
_TINY, _SMALL = 1e-15, 1e-9  # of the usual tool: keep an order without matches from making log or division fail
_NOTHING = ("",)


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Return corpus BLEU-1 to BLEU-4, shape (4,), between 0 and 1.

    Clipped n-gram precisions are pooled over the corpus and joined by the geometric mean; the brevity penalty compares
    the summed lengths with the summed lengths of the closest references, the shorter one on a tie (Papineni et al.,
    2002).

    Args:
        candidates: N captions.
        references: N lists of true captions.

    Raises:
        DataError: the two do not match, or a caption has no reference.
    """
    check(candidates, references)
    split = _split(candidates, references)
    matched, guessed = np.zeros(MAX_N), np.zeros(MAX_N)
    for n, (sentence, gram, count) in enumerate(_grams(split.sentences)):
        key = split.owner[sentence] * (gram.max(initial=0) + 1) + gram
        said = sentence < split.images
        known, place = np.unique(key[~said], return_inverse=True)
        most = np.zeros(known.size, dtype=np.int64)
        np.maximum.at(most, place, count[~said])
        matched[n] = np.minimum(count[said], _look_up(key[said], known, most)).sum()
        guessed[n] = count[said].sum()
    lengths = np.array([len(words) for words in split.sentences])
    length, wanted = int(lengths[: split.images].sum()), 0
    for words, start, end in zip(lengths, split.first, split.first[1:], strict=False):
        wanted += min((abs(int(size) - int(words)), int(size)) for size in lengths[start:end])[1]
    precision = (matched + _TINY) / (guessed + _SMALL)
    scores: np.ndarray = np.cumprod(precision) ** (1.0 / np.arange(1, MAX_N + 1))
    ratio = (length + _TINY) / (wanted + _SMALL)
    return scores * math.exp(1.0 - 1.0 / ratio) if ratio < 1.0 else scores


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Return ROUGE-L of each caption, shape (N,), between 0 and 1; the corpus score is their mean.

    The F-measure, beta 1.2, of the best precision and the best recall of the longest common subsequence over the
    references (Lin, 2004, section 3). An empty caption equals an empty
    reference and nothing else. Arguments and errors as in `bleu`.
    """
    check(candidates, references)
    scores = np.zeros(len(candidates))
    for i, (candidate, truths) in enumerate(zip(candidates, references, strict=True)):
        words = tokenize(candidate) or _NOTHING
        split = [tokenize(truth) or _NOTHING for truth in truths]
        common = [_common(words, truth) for truth in split]
        precision = max(common) / len(words)
        recall = max(n / len(truth) for n, truth in zip(common, split, strict=True))
        if precision > 0.0 and recall > 0.0:
            scores[i] = (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)
    return scores


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Return CIDEr-D of each caption, shape (N,), between 0 and 10; the corpus score is their mean.

    Cosine of TF-IDF vectors of 1- to 4-grams, counts clipped to the reference, with a Gaussian penalty (sigma 6) on the
    difference of length, times ten (Vedantam et al., 2015). Document frequencies come from these references, so a
    score depends on the whole set; of a single image every score is 0. Arguments and errors as in `bleu`.
    """
    check(candidates, references)
    split = _split(candidates, references)
    similar = np.zeros(len(split.sentences))
    lengths = np.zeros(len(split.sentences))
    for n, (sentence, gram, count) in enumerate(_grams(split.sentences)):
        size = gram.max(initial=0) + 1
        key = split.owner[sentence] * size + gram
        said = sentence < split.images
        seen = np.bincount(np.unique(key[~said]) % size, minlength=size)
        weight = count * (math.log(max(split.images, 1)) - np.log(np.maximum(seen, 1)))[gram]
        norm = np.sqrt(np.bincount(sentence, weight**2, len(split.sentences)))
        against = _look_up(key[~said], key[said], weight[said])
        shared = np.minimum(against, weight[~said]) * weight[~said]
        dot = np.bincount(sentence[~said], shared, len(split.sentences)).astype(float)
        norms = norm * norm[split.owner]
        similar += np.divide(dot, norms, out=dot, where=norms > 0) / MAX_N
        if n == 1:  # the usual tool counts the length in pairs of words
            lengths[:] = np.bincount(sentence, count, len(split.sentences))
    similar *= np.exp(-((lengths - lengths[split.owner]) ** 2) / (2 * CIDER_SIGMA**2))
    truths = slice(split.images, None)
    sums = np.bincount(split.owner[truths], similar[truths], split.images)
    scores: np.ndarray = 10.0 * sums / np.diff(split.first)
    return scores


class _Split(NamedTuple):
    """All sentences as words: first the candidates, then the references, those of one image together."""

    sentences: list[tuple[str, ...]]
    owner: np.ndarray  # image of each sentence
    first: np.ndarray  # index of the first reference of each image, and one past the last
    images: int


def _split(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> _Split:
    images = len(candidates)
    sizes = np.array([len(truths) for truths in references], dtype=np.int64)
    sentences = [tokenize(text) for text in chain(candidates, *references)]
    owner = np.concatenate([np.arange(images), np.repeat(np.arange(images), sizes)])
    return _Split(sentences, owner, images + np.concatenate([[0], np.cumsum(sizes)]), images)


def _grams(sentences: Sequence[Sequence[str]]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield for n = 1 to 4 the n-grams of all sentences, each once: sentence, number of the n-gram, how often.

    Ordered by sentence, then n-gram.
    """
    numbers: dict[str, int] = {}
    flat = [numbers.setdefault(word, len(numbers)) for words in sentences for word in words]
    gram = np.array(flat, dtype=np.int64)
    sentence = np.repeat(np.arange(len(sentences)), [len(words) for words in sentences])
    for n in range(MAX_N):
        if n:  # two n-grams that follow each other make the next longer one
            together = sentence[:-1] == sentence[1:]
            joined = (gram[:-1] * (gram.max(initial=0) + 1) + gram[1:])[together]
            gram = np.unique(joined, return_inverse=True)[1]
            sentence = sentence[:-1][together]
        size = gram.max(initial=0) + 1
        pairs, count = np.unique(sentence * size + gram, return_counts=True)
        yield pairs // size, pairs % size, count


def _look_up(keys: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of each key, 0 for an unknown one; `known` is in ascending order."""
    if known.size == 0:
        return np.zeros(keys.shape, dtype=values.dtype)
    place = np.minimum(np.searchsorted(known, keys), known.size - 1)
    found: np.ndarray = np.where(known[place] == keys, values[place], 0)
    return found


def check(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse what cannot be scored; arguments and errors as in `bleu`."""
    if len(candidates) != len(references):
        raise DataError("each caption has its references", found=f"{len(candidates)} and {len(references)}")
    for i, truths in enumerate(references):
        if isinstance(truths, str) or not truths:
            raise DataError(f"caption {i} needs a list of references", found=repr(truths), allowed="at least one")


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, a whole row of its table as the bits of one number (Hyyro, 2004)."""
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    everywhere = (1 << len(one)) - 1
    row = everywhere
    for word in other:
        met = row & places.get(word, 0)
        row = (row + met | row - met) & everywhere
    return len(one) - row.bit_count()
