"""The verbs of `lhrs-chat`: one file each, which imports what is heavy only when it is run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from lhrs_chat.plugins import Folder


@dataclass(frozen=True)
class Command:
    """One verb. `arguments` fills the parser; `run` does the work and returns the exit code."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS: Folder[Command] = Folder("lhrs_chat.commands", "COMMAND", Command)
