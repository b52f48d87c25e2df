"""What a model is taught by: one file an objective. Its name is what a recipe calls it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lhrs_chat.plugins import Folder

if TYPE_CHECKING:
    from ..recipe import Recipe
    from ..rows import MakeLabel
    from ..stage import Stage


@dataclass(frozen=True)
class Objective:
    """How a stage of one kind begins.

    Args:
        begin: reads the rows of a recipe and builds what is trained; nothing is learned yet.
        label: says which tokens of a row are learned, given the processor of the model, the ids that end an answer and
            the data part of the recipe;
            None where no tokens are.
        run: does all of a stage and returns its steps, where it is not learned by our own loop.
    """

    begin: Callable[[Recipe], Stage]
    label: MakeLabel | None = None
    run: Callable[[Recipe], int] | None = None


OBJECTIVES = Folder(__name__, "OBJECTIVE", Objective)
