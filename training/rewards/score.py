"""How much better than the row's own answer a score model finds one: 1 - exp(-0.2 (s - s_ref)), and 0 where it is not.

The difference takes away what a score model thinks of a picture, and its scale has no bounds (arXiv 2503.00743).
Answers are scored in one batch, in this process; that of a row is scored once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from lhrs_chat.errors import ConfigError
from lhrs_chat.models.scorers import Judged, Scorer, open_scorer

from ..pictures import opened
from ..recipe import GrpoPart
from . import Judge, Reward, Wanted

log = logging.getLogger(__name__)

STEEP = 0.2


class Better:
    """Judges answers by a score model.

    Args:
        scorer: the model.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._own: dict[str, float] = {}

    def __call__(self, answers: Sequence[str], wanted: Sequence[Wanted]) -> list[float]:
        """Return what answers are worth."""
        pictures: dict[str, np.ndarray] = {file: np.asarray(opened(file)) for truth in wanted for file in truth.files}

        def judged(answer: str, truth: Wanted) -> Judged:
            return Judged(answer, truth.question, tuple(pictures[file] for file in truth.files))

        new = list({truth.id: truth for truth in wanted if truth.id not in self._own}.values())
        rows = [judged(answer, truth) for answer, truth in zip(answers, wanted, strict=True)]
        scores = self.scorer.score([*rows, *(judged(truth.answer, truth) for truth in new)])
        for truth, score in zip(new, scores[len(rows) :], strict=True):
            if score.value is None:
                log.warning("%s: its own answer has no score, every other one is worth 0: %s", truth.id, score.reason)
            self._own[truth.id] = math.inf if score.value is None else score.value
        return [self._worth(score.value, truth) for score, truth in zip(scores[: len(rows)], wanted, strict=True)]

    def _worth(self, value: float | None, truth: Wanted) -> float:
        if value is None:
            return 0.0
        return max(0.0, 1 - math.exp(-STEEP * max(0.0, value - self._own[truth.id])))


def begin(part: GrpoPart) -> Judge:
    """Open the score model.

    Raises:
        ConfigError: the recipe names none.
    """
    if part.scorer is None:
        raise ConfigError(
            "the reward score needs a score model", found="grpo.scorer: null", allowed="a folder, a hub id"
        )
    return Better(open_scorer(part.scorer))


REWARD = Reward(begin)
