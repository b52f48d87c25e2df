"""Where the files of a benchmark are looked for, and the last check of its questions."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lhrs_chat.errors import DataError

from . import Question, _hub

VARIABLE = "LHRS_CHAT_BENCHMARKS"


def finder(name: str, needs: Sequence[str], get: str) -> Callable[[Path | None], Path]:
    """Make the `find` of a benchmark: the folder or hub data set the user gave, or `$LHRS_CHAT_BENCHMARKS/NAME`.

    Args:
        name: the benchmark.
        needs: files, as glob patterns; one of them must be there.
        get: where the published files lie.
    """

    def find(given: Path | None) -> Path:
        usual = os.environ.get(VARIABLE)
        if given is None and not usual:
            raise DataError(
                f"the files of {name} are not here",
                found="no --data",
                allowed=f"--data FOLDER, --data {_hub.FORM}, or {VARIABLE} = a folder that holds a folder {name}",
                next_step=f"get them: {get}",
            )
        folder = _hub.local(given) if given is not None else Path(usual or "") / name
        if not any(path for need in needs for path in folder.glob(need)):
            raise DataError(
                f"this is no folder of {name}",
                found=f"no {' or '.join(needs)} in {folder}",
                next_step=f"get the files: {get}",
            )
        return folder

    return find


def checked(questions: list[Question], folder: Path) -> list[Question]:
    """The questions, once it is sure that there are some and that no id stands there twice.

    Raises:
        DataError: there is no question, or two have one id.
    """
    if not questions:
        raise DataError("there is no question in these files", found=folder)
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise DataError("two questions have one id", found=question.id)
        seen.add(question.id)
    return questions
