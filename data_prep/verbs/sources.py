"""`python -m data_prep sources`: what can be converted."""

from __future__ import annotations

import argparse
import sys

from ..sources import SOURCES
from . import Verb


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # the list is short enough to be read whole


def _run(args: argparse.Namespace) -> int:
    del args
    for name in SOURCES.names():
        source = SOURCES.get(name)
        sys.stdout.write(f"{name}\n  licence: {source.licence}\n  needs: {source.needs}\n")
    return 0


VERB = Verb("list the sources: licence, and what files each needs", _add_arguments, _run)
