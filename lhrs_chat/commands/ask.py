"""`lhrs-chat ask`: one question about one image or several, one answer."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lhrs_chat import model_options
from lhrs_chat.commands import Command
from lhrs_chat.schema import Answer, Image

if TYPE_CHECKING:
    from lhrs_chat.best_of import Candidate

log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="GeoTIFF, COG, JPEG 2000, PNG or JPEG")
    parser.add_argument("question", metavar="QUESTION", help="in plain language")
    model_options.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON object")
    parser.add_argument("--geojson", type=Path, metavar="F", help="write the regions as GeoJSON (WGS84)")
    parser.add_argument("--gpkg", type=Path, metavar="F", help="write the regions as GeoPackage (CRS of the scene)")
    parser.add_argument("--overlay", type=Path, metavar="F.png", help="write the picture with the regions drawn")
    parser.add_argument("--max-new-tokens", type=int, default=128, metavar="N", help="longest answer (%(default)s)")
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="0 = likeliest words (default: as the model was published; lhrs-nano: 0)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the sampling (%(default)s)")
    parser.add_argument(
        "--best-of", type=int, metavar="N", help="draw N answers, tell the one that --scorer likes best"
    )
    parser.add_argument(
        "--scorer", default="score-nano", metavar="M", help="a score model, for --best-of (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Answer; nothing is printed to stdout but the answer."""
    with contextlib.redirect_stdout(sys.stderr):
        answer, image, candidates = _answer(args)
    if args.json:
        told = answer_object(answer)
        if candidates:
            told["best_of"] = [
                {"text": one.answer.text, "score": one.score.value, "reason": one.score.reason} for one in candidates
            ]
        sys.stdout.write(json.dumps(told, allow_nan=False) + "\n")
    else:
        from lhrs_chat import wording
        from lhrs_chat.commands import _terminal

        below = [*wording.evidence(answer, image), *wording.source(answer)]
        if candidates:
            below.append(("score", f"{candidates[0].score.value:.3f}, the best of {len(candidates)} different answers"))
        said = [piece for line in answer.text.splitlines() for piece in _terminal.paragraph(line) or [""]]
        lines = [*said, "", *_terminal.entries(below)]
        sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    return 0


def answer_object(answer: Answer) -> dict[str, Any]:
    """Return the object that `--json` prints; others script against its keys."""
    whole = answer.to_dict()
    boxes = [{key: box[key] for key in ("xyxy", "frame", "label", "score")} for box in whole["boxes"]]
    for slim, box in zip(boxes, whole["boxes"], strict=True):
        if box["points"] is not None:
            slim["points"] = box["points"]
    return {
        "text": whole["text"],
        "boxes": boxes,
        "masks": whole["masks"],
        "numbers": whole["numbers"],
        "confidence": whole["confidence"],
        "provenance": whole["provenance"],
    }


def _answer(args: argparse.Namespace) -> tuple[Answer, Image, list[Candidate]]:
    """Check all that can be checked without a model, then ask, then write the files."""
    from lhrs_chat.commands import _outputs
    from lhrs_chat.geo.raster import Raster
    from lhrs_chat.text import questions

    settings = {"max_new_tokens": args.max_new_tokens, "temperature": args.temperature, "seed": args.seed}
    questions.check(args.question, **settings)
    outputs = {"--geojson": args.geojson, "--gpkg": args.gpkg, "--overlay": args.overlay}
    _outputs.check(outputs, args.images)
    with contextlib.ExitStack() as opened:
        rasters = [opened.enter_context(Raster.open(path)) for path in args.images]
        for raster in rasters:
            log.info("%s: %s", raster.image.path, raster.composite)
        number = questions.about(args.question, len(rasters))
        _outputs.check_georeference(outputs, rasters[number].image)

        from lhrs_chat.geo import vector

        assistant = model_options.open_assistant(args)
        candidates: list[Candidate] = []
        if args.best_of is not None:
            from lhrs_chat.best_of import best_of
            from lhrs_chat.models.scorers import open_scorer

            scorer = open_scorer(args.scorer)
            candidates = best_of(assistant, rasters, args.question, scorer, args.best_of, **settings)
            session, answer = candidates[0].session, candidates[0].answer
        else:
            session = opened.enter_context(assistant.session())
            for raster in rasters:
                session.add_image(raster)
            answer = session.ask(args.question, **settings)
        picture = session.pictures[session.turns[-1].picture]
        writers: dict[Path, Callable[[Path], object]] = {}
        if args.geojson is not None:
            writers[args.geojson] = functools.partial(vector.write_geojson, answer=answer, image=picture.image)
        if args.gpkg is not None:
            writers[args.gpkg] = functools.partial(vector.write_gpkg, answer=answer, image=picture.image)
        if args.overlay is not None:
            writers[args.overlay] = session.overlay(session.turns[-1].picture).save
        _outputs.write(writers)
        return answer, picture.image, candidates


COMMAND = Command("ask one question about one image or several", arguments, run)
