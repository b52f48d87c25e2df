"""Scoring many texts at once against one by one, on one model: texts about shared pictures, and one text a picture.

Times are those of the processor: one thread computes, and what else runs on the machine does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from bench.row import Row
from lhrs_chat.errors import LhrsError
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.scorer import new_score_model
from lhrs_chat.models.scorers import Judged, Score
from lhrs_chat.models.scorers.vlm import VlmScorer
from lhrs_chat.models.weights import locate

MODEL = "lhrs-nano"
TARGET = 3.0
SAME = 1e-4
WARM = 5
WORDS = ("river", "forest", "ship", "field", "airport", "runway", "harbor", "bridge", "road", "green", "many", "next")


@dataclass(frozen=True)
class Case:
    """A set of texts: how many pictures, how many texts about each, and the fewest and most words of a text."""

    pictures: int
    texts: int
    words: tuple[int, int]
    target: float | None

    def __str__(self) -> str:
        low, high = self.words
        return f"scoring {self.pictures * self.texts} texts of {low} to {high} words, {self.texts} a picture"


CASES = (
    Case(20, 5, (6, 20), TARGET),  # as in RSICD
    Case(20, 5, (6, 40), TARGET),
    Case(50, 1, (6, 40), None),  # nothing to share: what is left are full batches instead of single rows
)


def rows(case: Case) -> list[Judged]:
    """Make pictures of noise with texts."""
    rng = np.random.default_rng(0)
    low, high = case.words
    made = []
    for _ in range(case.pictures):
        picture = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
        for _ in range(case.texts):
            words = rng.choice(WORDS, int(rng.integers(low, high + 1)))
            made.append(Judged(f"{' '.join(words)}.", images=(picture,)))
    return made


def measure() -> list[Row]:
    """Score the texts of every case in one call and in one call a text, with one thread."""
    folder = locate(MODEL)
    model = new_score_model(folder)
    torch.nn.init.normal_(model.score.weight, std=0.01, generator=torch.Generator().manual_seed(0))
    scorer = VlmScorer(model, LhrsProcessor.from_pretrained(folder), name=MODEL, weights_sha256="")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [_measure(scorer, case) for case in CASES]
    finally:
        torch.set_num_threads(threads)


def _measure(scorer: VlmScorer, case: Case) -> Row:
    """Measure one case.

    Raises:
        LhrsError: the scores differ.
    """
    given = rows(case)
    scorer.score(given[:WARM])
    together, took = _timed(lambda: scorer.score(given))
    alone, took_alone = _timed(lambda: [scorer.score([row])[0] for row in given])
    apart = max(abs(_value(one) - _value(other)) for one, other in zip(together, alone, strict=True))
    if apart > SAME:
        raise LhrsError("scores depend on what runs beside", found=apart, allowed=SAME)
    return Row(
        what=str(case),
        ours=f"{len(given) / took:.1f} texts a second",
        against=f"{len(given) / took_alone:.1f} (one by one)",
        ratio=took_alone / took,
        target="-" if case.target is None else f"{case.target:.0f} times",
        passed=None if case.target is None else took_alone >= case.target * took,
        remark=f"{MODEL} with a head, one thread; scores differ by at most {apart:.0e}",
    )


def _timed(score: Callable[[], list[Score]]) -> tuple[list[Score], float]:
    before = time.process_time()
    return score(), time.process_time() - before


def _value(score: Score) -> float:
    """Return a score.

    Raises:
        LhrsError: there is none.
    """
    if score.value is None:
        raise LhrsError("a text has no score", found=score.reason)
    return score.value
