"""`python -m data_prep VERB`: the verbs are the files of the folder `verbs`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from lhrs_chat.errors import LhrsError
from lhrs_chat.plugins import nearest

from .verbs import VERBS

USER_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return the exit code."""
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr)
    for name in ("lhrs_chat", __package__):
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, e.g. `python -m data_prep sources | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that may not be written: the machine's, but the user's to mend
        sys.stderr.write(f"error: {error.strerror or 'input or output failed'}\n  found: {error.filename or error}\n")
        return USER_ERROR


def _dispatch(words: list[str]) -> int:
    names = VERBS.names()
    if not words or words[0].startswith("-"):
        _top_parser(names).parse_args(words or ["--help"])
    if words[0] not in names:
        raise LhrsError("no such verb", found=words[0], allowed=", ".join(names), next_step=nearest(words[0], names))
    verb = VERBS.get(words[0])
    parser = argparse.ArgumentParser(prog=f"python -m data_prep {words[0]}", description=f"{verb.help}.")
    verb.add_arguments(parser)
    return verb.run(parser.parse_intermixed_args(words[1:]))


def _top_parser(names: list[str]) -> argparse.ArgumentParser:
    width = max(len(name) for name in names)
    lines = [f"  {name:<{width}}  {VERBS.get(name).help}" for name in names]
    return argparse.ArgumentParser(
        prog="python -m data_prep",
        usage="python -m data_prep VERB ...",
        description="Make training data.",
        epilog="verbs:\n" + "\n".join(lines) + "\n\n`python -m data_prep VERB --help` tells the options of a verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


if __name__ == "__main__":
    sys.exit(main())
