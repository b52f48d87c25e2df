"""How much better than the row's own answer a score model finds one: 1 - exp(-0.2 (s - s_ref)), and 0 where it is not.

The difference takes away what a score model thinks of a picture, and its scale has no bounds (arXiv 2503.00743).
Answers are scored in one batch, in this process; that of a row is scored once, and its score kept for later runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lhrs_chat import storage
from lhrs_chat.errors import ConfigError
from lhrs_chat.models.scorers import Judged, Scorer, open_scorer
from lhrs_chat.registry import cache_folder

from ..pictures import opened
from ..recipe import GrpoPart
from . import Judge, Reward, Wanted

log = logging.getLogger(__name__)

STEEP = 0.2


class Kept:
    """Scores that are kept in a file, each by the hash of what was scored.

    Args:
        file: JSON; made when there is something to keep.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.scores = self._read()

    def add(self, scores: Mapping[str, float]) -> None:
        """Keep more scores, beside those that other processes have kept meanwhile."""
        if scores:
            self.scores = {**self._read(), **self.scores, **scores}
            with storage.replacing(self.file) as stream:
                stream.write(json.dumps(self.scores).encode())

    def _read(self) -> dict[str, float]:
        try:
            known: dict[str, float] = json.loads(self.file.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            log.warning("%s cannot be read, and is made anew", self.file)
            return {}
        return known


class Better:
    """Judges answers by a score model.

    Args:
        scorer: the model.
        kept: its scores of rows' own answers.
    """

    def __init__(self, scorer: Scorer, kept: Kept) -> None:
        self.scorer = scorer
        self.kept = kept
        self._own: dict[str, float] = {}

    def __call__(self, answers: Sequence[str], wanted: Sequence[Wanted]) -> list[float]:
        """Return what answers are worth."""
        pictures: dict[str, np.ndarray] = {file: np.asarray(opened(file)) for truth in wanted for file in truth.files}

        def judged(answer: str, truth: Wanted) -> Judged:
            return Judged(answer, truth.question, tuple(pictures[file] for file in truth.files))

        rows = [judged(answer, truth) for answer, truth in zip(answers, wanted, strict=True)]
        truths = {truth.id: truth for truth in wanted if truth.id not in self._own}
        own = {name: judged(truth.answer, truth) for name, truth in truths.items()}
        prints = {name: fingerprint(row) for name, row in own.items()}
        new = [name for name in own if prints[name] not in self.kept.scores]
        scores = self.scorer.score([*rows, *(own[name] for name in new)])
        for name, score in zip(new, scores[len(rows) :], strict=True):
            if score.value is None:
                log.warning("%s: its own answer has no score, every other one is worth 0: %s", name, score.reason)
                self._own[name] = math.inf
        found = zip(new, scores[len(rows) :], strict=True)
        self.kept.add({prints[name]: score.value for name, score in found if score.value is not None})
        self._own |= {name: self.kept.scores[prints[name]] for name in own if name not in self._own}
        return [self._worth(score.value, truth) for score, truth in zip(scores[: len(rows)], wanted, strict=True)]

    def _worth(self, value: float | None, truth: Wanted) -> float:
        if value is None:
            return 0.0
        return max(0.0, 1 - math.exp(-STEEP * max(0.0, value - self._own[truth.id])))


def fingerprint(row: Judged) -> str:
    """Hash all of a row that its score depends on."""
    digest = hashlib.sha256(json.dumps([row.earlier, row.question, row.answer]).encode())
    for image in row.images:
        digest.update(f"{image.shape}".encode() + image.tobytes())
    return digest.hexdigest()


def kept_by(scorer: Scorer) -> Kept:
    """Return what is kept of a score model on this machine, whatever run it was of; another prompt is another model."""
    name = hashlib.sha256(f"{scorer.weights_sha256} {scorer.prompt_sha256}".encode()).hexdigest()
    return Kept(cache_folder() / "own_scores" / f"{name}.json")


def begin(part: GrpoPart) -> Judge:
    """Open the score model.

    Raises:
        ConfigError: the recipe names none.
    """
    if part.scorer is None:
        raise ConfigError(
            "the reward score needs a score model", found="grpo.scorer: null", allowed="a folder, a hub id"
        )
    scorer = open_scorer(part.scorer)
    return Better(scorer, kept_by(scorer))


REWARD = Reward(begin)
