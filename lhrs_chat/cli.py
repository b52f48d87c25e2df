"""The command `lhrs-chat`: its own verbs, and the applications that it hands their arguments to.

Answers go to stdout; logs, progress and errors to stderr. Exit codes: 0 done, 2 a user's error, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from lhrs_chat import __version__
from lhrs_chat.commands import COMMANDS
from lhrs_chat.errors import LhrsError
from lhrs_chat.plugins import nearest

USER_ERROR = 2
INTERRUPTED = 130
APPLICATIONS: dict[str, tuple[str, str]] = {  # verb -> folder, help
    "eval": ("eval", "measure a model on a benchmark"),
    "train": ("training", "make or tune a model from a recipe"),
    "prep": ("data_prep", "make and filter training data"),
    "demo": ("demo", "show a model in the browser"),
}
QUIET: dict[str, str] = {  # what other packages print while they load is no part of an answer
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="lhrs-chat: %(message)s", force=True)
    logging.getLogger("lhrs_chat").setLevel(logging.INFO)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return _dispatch(words)
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, e.g. `lhrs-chat models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that may not be written: the machine's, but the user's to mend
        sys.stderr.write(f"error: {error.strerror or 'input or output failed'}\n  found: {error.filename or error}\n")
        return USER_ERROR


def resolve_application(verb: str, package: Path) -> tuple[str, Path | None]:
    """Find the module of an application: inside the package (wheel) or beside it (checkout).

    Args:
        verb: a key of `APPLICATIONS`.
        package: the folder of the installed `lhrs_chat`.

    Returns:
        The module's name, and the folder that must be on `sys.path` for it, if any.

    Raises:
        LhrsError: the application is in neither place.
    """
    folder, _ = APPLICATIONS[verb]
    inside, beside = package / folder / "__main__.py", package.parent / folder / "__main__.py"
    if inside.is_file():
        return f"lhrs_chat.{folder}", None
    if beside.is_file() and (package.parent / "setup.cfg").is_file():
        return folder, package.parent
    raise LhrsError(
        f"the application of `lhrs-chat {verb}` is not installed",
        found=f"no {inside} and no {beside}",
        next_step="install the lhrs_chat wheel, or run from a complete checkout",
    )


def _dispatch(words: list[str]) -> int:
    verbs = COMMANDS.names()
    if words and words[0] in APPLICATIONS:
        return _run_application(words[0], words[1:])
    if words and words[0] in verbs:
        command = COMMANDS.get(words[0])
        parser = argparse.ArgumentParser(prog=f"lhrs-chat {words[0]}", description=_sentence(command.help))
        command.arguments(parser)
        return command.run(parser.parse_intermixed_args(words[1:]))
    _top_parser(verbs).parse_args(words if words and words[0].startswith("-") else [])
    if not words:
        sys.stdout.write(_top_parser(verbs).format_help())
        return 0
    known = [*verbs, *APPLICATIONS]
    raise LhrsError("no such verb", found=words[0], allowed=", ".join(known), next_step=nearest(words[0], known))


def _top_parser(verbs: list[str]) -> argparse.ArgumentParser:
    lines = [f"  {name:<8} {COMMANDS.get(name).help}" for name in verbs]
    lines += [f"  {name:<8} {about}" for name, (_, about) in APPLICATIONS.items()]
    parser = argparse.ArgumentParser(
        prog="lhrs-chat",
        usage="lhrs-chat VERB ...",
        description="Ask questions about remote sensing images; get words, regions and measures.",
        epilog="verbs:\n" + "\n".join(lines) + "\n\n`lhrs-chat VERB --help` tells the options of a verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lhrs_chat {__version__}")
    return parser


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _run_application(verb: str, words: list[str]) -> int:
    """Run an application in this process, as `python -m` would, with its own arguments."""
    module, root = resolve_application(verb, Path(__file__).resolve().parent)
    if root is not None and str(root) not in sys.path:
        sys.path.insert(0, str(root))
    before = sys.argv
    sys.argv = [f"lhrs-chat {verb}", *words]
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
            return 1
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0
