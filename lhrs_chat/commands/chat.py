"""`lhrs-chat chat`: questions one after another, streamed, with the regions found so far kept in files."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from lhrs_chat import model_options
from lhrs_chat.commands import Command
from lhrs_chat.errors import LhrsError

if TYPE_CHECKING:
    from lhrs_chat.chat import ChatSession

PROMPT = "> "
HELP = """Type a question, or: /image PATH to add an image, /save F.geojson or F.png
to save the regions, /quit to end. Ctrl-C stops an answer, Ctrl-D quits."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="GeoTIFF, COG, JPEG 2000, PNG or JPEG")
    parser.add_argument("--questions", metavar="Q", nargs="+", default=[], help="answer these first")
    model_options.arguments(parser)
    parser.add_argument("--overlay", type=Path, metavar="F.png", help="write the picture with all regions drawn")
    parser.add_argument("--geojson", type=Path, metavar="F", help="write all regions as GeoJSON (WGS84)")
    parser.add_argument("--max-new-tokens", type=int, default=128, metavar="N", help="longest answer (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Answer the given questions, then those that are typed."""
    from lhrs_chat.commands import _outputs
    from lhrs_chat.geo.raster import Raster
    from lhrs_chat.text import questions

    typed = sys.stdin.isatty()
    if not args.questions and not typed:
        raise LhrsError(
            "there is no question and no terminal to type one", found="no --questions", next_step="give --questions Q"
        )
    for question in args.questions:
        questions.check(question, max_new_tokens=args.max_new_tokens)
    outputs = {"--geojson": args.geojson, "--overlay": args.overlay}
    _outputs.check(outputs, args.images)
    with contextlib.ExitStack() as opened:
        rasters = [opened.enter_context(Raster.open(path)) for path in args.images]
        located = [raster.image for raster in rasters if raster.image.georef is not None]
        for image in located or [rasters[-1].image]:
            _outputs.check_georeference(outputs, image)

        with contextlib.redirect_stdout(sys.stderr):
            session = opened.enter_context(model_options.open_assistant(args).session())
            for raster in rasters:
                session.add_image(raster)
        _write(_introduction(session))
        for question in args.questions:
            _write(f"\n{PROMPT}{question}\n")
            _answer(session, question, args.max_new_tokens, stoppable=typed)
        _save(session, args.geojson, args.overlay)
        if typed:
            answered = len(session.turns)
            _converse(session, args.max_new_tokens)
            if len(session.turns) > answered:
                _save(session, args.geojson, args.overlay)
    return 0


def _converse(session: ChatSession, max_new_tokens: int) -> None:
    """Read questions and commands until the end of the input or /quit."""
    with contextlib.suppress(ImportError):  # line editing and history, where the platform has them
        import readline  # noqa: F401
    _write(f"\n{HELP}\n")
    while True:
        try:
            line = input(f"\n{PROMPT}").strip()
        except EOFError:
            _write("\n")
            return
        except KeyboardInterrupt:
            _write("\n")
            continue
        if line == "/quit":
            return
        if not line:
            continue
        try:
            if line.startswith("/"):
                _command(session, line)
            else:
                _answer(session, line, max_new_tokens, stoppable=True)
        except LhrsError as error:
            _write(f"error: {error}\n")


def _command(session: ChatSession, line: str) -> None:
    from lhrs_chat.commands import _outputs

    verb, _, rest = line.partition(" ")
    path = Path(rest.strip()).expanduser()
    if verb == "/image" and rest.strip():
        number = session.add_image(path)
        _write("\n".join(_described(session, number)) + "\n")
    elif verb == "/save" and rest.strip():
        drawn = path.suffix.lower() in _outputs.SUFFIXES["--overlay"]
        inputs = [Path(picture.image.path) for picture in session.pictures if picture.image.path]
        _outputs.check({"--overlay" if drawn else "--geojson": path}, inputs)
        _save(session, None if drawn else path, path if drawn else None)
    else:
        raise LhrsError("no such command", found=line, allowed="/image PATH, /save F.geojson, /save F.png, /quit")


def _answer(session: ChatSession, question: str, max_new_tokens: int, *, stoppable: bool) -> None:
    from lhrs_chat import wording
    from lhrs_chat.commands import _terminal
    from lhrs_chat.schema import Answer

    pieces = session.stream(question, max_new_tokens=max_new_tokens)
    with _stopped_by_interrupt(session) if stoppable else contextlib.nullcontext():
        for piece in pieces:
            if isinstance(piece, Answer):
                image = session.pictures[session.turns[-1].picture].image
                _write("\n" + "\n".join(_terminal.entries(wording.evidence(piece, image))) + "\n")
            else:
                _write(piece)


@contextlib.contextmanager
def _stopped_by_interrupt(session: ChatSession) -> Iterator[None]:
    """Let the first Ctrl-C end the answer, and a second one the program."""
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        session.stop()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _introduction(session: ChatSession) -> str:
    lines = [line for number in range(len(session.pictures)) for line in _described(session, number)]
    return "\n".join(lines) + "\n"


def _described(session: ChatSession, number: int) -> list[str]:
    from lhrs_chat import wording
    from lhrs_chat.commands import _terminal

    picture = session.pictures[number]
    about = [picture.image.path or "not from a file", wording.picture(picture.image), picture.raster.composite]
    return _terminal.entry(f"image {number + 1}", "\n".join(about))


def _save(session: ChatSession, geojson: Path | None, overlay: Path | None) -> None:
    """Write the regions found so far and say so."""
    from lhrs_chat.commands import _outputs

    writers: dict[Path, Callable[[Path], object]] = {}
    if geojson is not None:
        text = json.dumps(session.features(), allow_nan=False)
        writers[geojson] = functools.partial(Path.write_text, data=text, encoding="utf-8")
    if overlay is not None:
        shown = [turn.picture for turn in session.turns if turn.answer.boxes or turn.answer.masks]
        writers[overlay] = session.overlay(shown[-1] if shown else -1).save
    _outputs.write(writers)
    if writers:
        _write("\n" + "".join(f"wrote {path}\n" for path in writers))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


COMMAND = Command("talk about images: streamed answers, a prompt for more questions", arguments, run)
