"""The options that say which model answers and how its numbers are held, for every verb that opens one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lhrs_chat.chat import Assistant


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--model", default="lhrs-nano", help="preset, folder, hub id or openai:URL#MODEL (default: %(default)s)"
    )
    parser.add_argument(
        "--dtype",
        default="auto",
        metavar="D",
        help="number format: float32, bfloat16, float16, or auto, the stored one (%(default)s)",
    )
    parser.add_argument(
        "--quantise",
        default="none",
        metavar="Q",
        help="8bit or 4bit for a smaller language model; needs the extra quantise (%(default)s)",
    )


def open_assistant(args: argparse.Namespace) -> Assistant:
    """Open the model that the options name.

    Raises:
        LhrsError: it cannot be opened, or not like that.
    """
    from lhrs_chat.chat import Assistant

    return Assistant.open(args.model, dtype=args.dtype, quantise=args.quantise)
