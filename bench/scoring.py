"""Scoring many texts at once against one by one: five texts a picture, as caption sets have them, on one model."""

from __future__ import annotations

import time
from collections.abc import Callable

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
PICTURES, TEXTS = 20, 5
TARGET = 3.0
SAME = 1e-4
WORDS = ("river", "forest", "ship", "field", "airport", "runway", "harbor", "bridge", "road", "green", "many", "next")


def rows() -> list[Judged]:
    """Make pictures of noise with texts of 6 to 20 words, as in RSICD."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(PICTURES):
        picture = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
        for _ in range(TEXTS):
            words = rng.choice(WORDS, int(rng.integers(6, 21)))
            made.append(Judged(f"{' '.join(words)}.", images=(picture,)))
    return made


def measure() -> Row:
    """Score all rows in one call and in one call a row, with one thread.

    Raises:
        LhrsError: the scores differ.
    """
    folder = locate(MODEL)
    model = new_score_model(folder)
    torch.nn.init.normal_(model.score.weight, std=0.01, generator=torch.Generator().manual_seed(0))
    scorer = VlmScorer(model, LhrsProcessor.from_pretrained(folder), name=MODEL, weights_sha256="")
    given, threads = rows(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scorer.score(given[:TEXTS])
        together, took = _timed(lambda: scorer.score(given))
        alone, took_alone = _timed(lambda: [scorer.score([row])[0] for row in given])
    finally:
        torch.set_num_threads(threads)
    apart = max(abs(_value(one) - _value(other)) for one, other in zip(together, alone, strict=True))
    if apart > SAME:
        raise LhrsError("scores depend on what runs beside", found=apart, allowed=SAME)
    return Row(
        what=f"scoring {len(given)} texts",
        ours=f"{len(given) / took:.1f} texts a second",
        against=f"{len(given) / took_alone:.1f} (one by one)",
        ratio=took_alone / took,
        target=f"{TARGET:.0f} times",
        passed=took_alone >= TARGET * took,
        remark=f"{MODEL} with a head, one thread, {TEXTS} texts a picture; scores differ by at most {apart:.0e}",
    )


def _timed(score: Callable[[], list[Score]]) -> tuple[list[Score], float]:
    before = time.perf_counter()
    return score(), time.perf_counter() - before


def _value(score: Score) -> float:
    """Return a score.

    Raises:
        LhrsError: there is none.
    """
    if score.value is None:
        raise LhrsError("a text has no score", found=score.reason)
    return score.value
