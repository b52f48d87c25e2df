"""The verbs of `python -m data_prep`: one file each, which imports what is heavy only when it is run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from lhrs_chat.plugins import Folder


@dataclass(frozen=True)
class Verb:
    """One verb. `add_arguments` fills the parser; `run` does the work and returns the exit code."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


VERBS: Folder[Verb] = Folder(__name__, "VERB", Verb)
