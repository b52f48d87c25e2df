"""BLEU, ROUGE-L and CIDEr-D of captions against several references, in the definitions of the usual COCO caption tool.

Every function takes plain sentences and splits them with `tokenize`. That tool splits with the Java tokenizer of the
Penn Treebank; on ordinary captions the words are the same, on odd characters they may differ.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lhrs_chat.errors import DataError

MAX_N = 4
ROUGE_BETA = 1.2
CIDER_SIGMA = 6.0
_TINY, _SMALL = 1e-15, 1e-9  # of the usual tool: keep an order without matches from making log or division fail

_CLITIC = re.compile(r"(?<=[a-z])(n't|'(?:s|re|ve|ll|d|m))\b")
_TOKEN = re.compile(r"n't|'(?:s|re|ve|ll|d|m)\b|[^\W_]+(?:(?:[-_'&/](?=[^\W_])|(?<=\d)[.,:](?=\d))[^\W_]+)*|[^\w\s]")
_PUNCTUATION = frozenset(".?!,:;'\"`()[]{}-_\u2018\u2019\u201c\u201d\u2013\u2014\u2026")


def tokenize(text: str) -> list[str]:
    """Split a caption into lower-case words, as the Penn Treebank does, without punctuation.

    `don't` gives `do`, `n't`; `ship's` gives `ship`, `'s`; words with a hyphen and numbers such as 1,234.5 stay whole;
    signs such as % are words of their own.
    """
    parted = _CLITIC.sub(r" \1", text.lower().replace("\u2019", "'"))
    return [token for token in _TOKEN.findall(parted) if token not in _PUNCTUATION]


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
    _check(candidates, references)
    matched, guessed = np.zeros(MAX_N), np.zeros(MAX_N)
    length, wanted = 0, 0
    for candidate, truths in zip(candidates, references, strict=True):
        words = tokenize(candidate)
        split = [tokenize(truth) for truth in truths]
        length += len(words)
        wanted += min((abs(len(truth) - len(words)), len(truth)) for truth in split)[1]
        for n in range(1, MAX_N + 1):
            most: Counter[tuple[str, ...]] = Counter()
            for truth in split:
                most |= _grams(truth, n)
            matched[n - 1] += sum((_grams(words, n) & most).values())
            guessed[n - 1] += max(0, len(words) - n + 1)
    precision = (matched + _TINY) / (guessed + _SMALL)
    scores: np.ndarray = np.cumprod(precision) ** (1.0 / np.arange(1, MAX_N + 1))
    ratio = (length + _TINY) / (wanted + _SMALL)
    return scores * math.exp(1.0 - 1.0 / ratio) if ratio < 1.0 else scores


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Return ROUGE-L of each caption, shape (N,), between 0 and 1; the corpus score is their mean.

    The F-measure, beta 1.2, of the best precision and the best recall of the longest common subsequence over the
    references (Lin, 2004). Arguments and errors as in `bleu`.
    """
    _check(candidates, references)
    scores = np.zeros(len(candidates))
    for i, (candidate, truths) in enumerate(zip(candidates, references, strict=True)):
        words = tokenize(candidate)
        split = [tokenize(truth) for truth in truths]
        common = [(_common(words, truth), len(truth)) for truth in split if words and truth]
        precision = max((n / len(words) for n, _ in common), default=0.0)
        recall = max((n / size for n, size in common), default=0.0)
        if precision > 0.0 and recall > 0.0:
            scores[i] = (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)
    return scores


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Return CIDEr-D of each caption, shape (N,), between 0 and 10; the corpus score is their mean.

    Cosine of TF-IDF vectors of 1- to 4-grams, counts clipped to the reference, with a Gaussian penalty (sigma 6) on the
    difference of length, times ten (Vedantam et al., 2015). Document frequencies come from these references, so a
    score depends on the whole set; of a single image every score is 0. Arguments and errors as in `bleu`.
    """
    _check(candidates, references)
    split = [[_all_grams(tokenize(truth)) for truth in truths] for truths in references]
    seen: Counter[tuple[str, ...]] = Counter()
    for truths in split:
        seen.update({gram for truth in truths for gram in truth})
    images = math.log(max(len(split), 1))
    scores = np.zeros(len(candidates))
    for i, candidate in enumerate(candidates):
        said = _weigh(_all_grams(tokenize(candidate)), seen, images)
        similar = [_similarity(said, _weigh(truth, seen, images)) for truth in split[i]]
        scores[i] = 10.0 * float(np.mean(similar))
    return scores


_Vectors = tuple[list[dict[tuple[str, ...], float]], np.ndarray, int]


def _check(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(candidates) != len(references):
        raise DataError("each caption has its references", found=f"{len(candidates)} and {len(references)}")
    for i, truths in enumerate(references):
        if isinstance(truths, str) or not truths:
            raise DataError(f"caption {i} needs a list of references", found=repr(truths), allowed="at least one")


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _all_grams(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    grams: Counter[tuple[str, ...]] = Counter()
    for n in range(1, MAX_N + 1):
        grams.update(_grams(words, n))
    return grams


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for j, against in enumerate(other, start=1):
            before, row[j] = row[j], before + 1 if word == against else max(row[j], row[j - 1])
    return row[-1]


def _weigh(grams: Counter[tuple[str, ...]], seen: Counter[tuple[str, ...]], images: float) -> _Vectors:
    """TF-IDF vectors by n, their norms, and the length; the usual tool counts the length in pairs of words."""
    vectors: list[dict[tuple[str, ...], float]] = [{} for _ in range(MAX_N)]
    for gram, count in grams.items():
        vectors[len(gram) - 1][gram] = count * (images - math.log(max(1, seen[gram])))
    norms = np.array([math.sqrt(sum(value * value for value in vector.values())) for vector in vectors])
    return vectors, norms, sum(count for gram, count in grams.items() if len(gram) == 2)


def _similarity(said: _Vectors, truth: _Vectors) -> float:
    penalty = math.exp(-((said[2] - truth[2]) ** 2) / (2 * CIDER_SIGMA**2))
    values = []
    for n in range(MAX_N):
        norm = said[1][n] * truth[1][n]
        dot = sum(min(v, truth[0][n].get(gram, 0.0)) * truth[0][n].get(gram, 0.0) for gram, v in said[0][n].items())
        values.append(dot / norm if norm > 0 else dot)
    return penalty * float(np.mean(values))
