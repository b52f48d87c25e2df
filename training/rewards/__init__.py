"""What an answer is worth, from 0 to 1: one file a kind. Its name is what a recipe gives to a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lhrs_chat.geo.frames import Placement
from lhrs_chat.plugins import Folder
from lhrs_chat.schema import Targets

from ..recipe import GrpoPart


@dataclass(frozen=True)
class Wanted:
    """A question and what is true of it.

    Args:
        id: of its row.
        task: kind of question.
        question: its words.
        answer: the one that the row gives.
        targets: boxes, numbers and choices, as far as they are known.
        files: its pictures.
        size_px: width and height of the first one.
        dialect: how the model writes boxes.
        placement: how the model lays out the first picture, where it is known.
    """

    id: str
    task: str
    question: str
    answer: str
    targets: Targets
    files: tuple[str, ...] = ()
    size_px: tuple[int, int] = (1, 1)
    dialect: str = "brackets1"
    placement: Placement | None = None


Judge = Callable[[Sequence[str], Sequence[Wanted]], list[float]]
"""Says what each of several answers is worth, given what was wanted of it."""


@dataclass(frozen=True)
class Reward:
    """One kind of reward.

    Args:
        begin: makes the judge; only learned ones look at the settings.
    """

    begin: Callable[[GrpoPart], Judge]


def each(worth: Callable[[str, Wanted], float]) -> Reward:
    """Make a reward of a function that looks at one answer."""

    def judge(answers: Sequence[str], wanted: Sequence[Wanted]) -> list[float]:
        return [worth(answer, truth) for answer, truth in zip(answers, wanted, strict=True)]

    return Reward(lambda _: judge)


REWARDS = Folder(__name__, "REWARD", Reward)
