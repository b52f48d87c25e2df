"""Best of N: several answers are drawn, a score model tells which fits its pictures best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lhrs_chat.chat import Assistant, ChatSession
from lhrs_chat.errors import LhrsError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.models.scorers import Judged, Score, Scorer
from lhrs_chat.schema import Answer

TEMPERATURE = 0.7


@dataclass(frozen=True)
class Candidate:
    """One answer, its score, and the conversation that it ended."""

    answer: Answer
    score: Score
    session: ChatSession


def best_of(
    assistant: Assistant,
    rasters: Sequence[Raster],
    question: str,
    scorer: Scorer,
    count: int,
    *,
    max_new_tokens: int = 128,
    temperature: float | None = None,
    seed: int = 0,
) -> list[Candidate]:
    """Draw `count` answers and return them, the best one first; of equal scores the one that was drawn first.

    Args:
        assistant: answers.
        rasters: opened, in the order they are spoken of; they stay open.
        question: plain language.
        scorer: judges what the model itself said.
        count: how many answers; the same one drawn twice is scored once.
        max_new_tokens: the longest answer.
        temperature: above 0; None takes `TEMPERATURE`.
        seed: of the first answer; the others take those that follow.

    Raises:
        LhrsError: a setting is out of range, or no answer can be scored.
    """
    drawn_at = TEMPERATURE if temperature is None else temperature
    if count < 1 or drawn_at <= 0:
        raise LhrsError(
            "the best of several answers is chosen of answers that are drawn",
            found=f"{count} answers, temperature {drawn_at}",
            allowed="one answer or more, a temperature above 0",
        )
    session = assistant.session()  # not closed: the rasters are the caller's
    for raster in rasters:
        session.add_image(raster)
    drawn: dict[str, ChatSession] = {}
    for ended in session.draw(question, count, max_new_tokens=max_new_tokens, temperature=drawn_at, seed=seed):
        drawn.setdefault(ended.turns[-1].answer.text, ended)
    pictures = tuple(picture.rgb for picture in session.pictures)
    scores = scorer.score([Judged(text, question, pictures) for text in drawn])
    made = [Candidate(one.turns[-1].answer, score, one) for one, score in zip(drawn.values(), scores, strict=True)]
    if all(score.value is None for score in scores):
        raise LhrsError("no answer could be scored", found="; ".join(sorted({score.reason for score in scores})))
    return sorted(made, key=lambda one: -float("inf") if one.score.value is None else one.score.value, reverse=True)
