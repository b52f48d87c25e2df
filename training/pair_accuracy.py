"""`python -m training.pair_accuracy MODEL DATA`: how often a score model prefers the better text of a pair.

Beside it stand what needs no score model: the longer text, and the likeness of a picture and a text in the space of
lhrs-nano's words. `other picture` is the score model itself, shown another picture: what words alone give away.
`--beside` lets other score models, or CLIPs, judge the same pairs.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PilImage
from torch.nn import functional

from lhrs_chat import scoring
from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.metrics.stats import bootstrap, paired_bootstrap
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.scorers import Judged, Scorer, open_scorer
from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.models.weights import locate
from lhrs_chat.schema import Sample

from .preferences import error_of, of_split, rejected

log = logging.getLogger(__name__)

ALIKE = 0.05  # of the longer text, by which the lengths of a matched pair differ at most
AT_ONCE = 64  # rows whose pictures are held together
BASE = "lhrs-nano"
ARMS = ("other picture", "longer text", "word likeness")
Values = Callable[[Sequence[Judged]], list[float]]


@dataclass(frozen=True)
class Pairs:
    """Every better text against every worse one: names of their errors and pictures, and who was right.

    Args:
        errors: what is wrong with the worse text.
        scenes: of the picture.
        matched: whether both texts are about as long.
        right: by the name of what judges, 1, 0, or a half for a tie.
    """

    errors: list[str]
    scenes: list[str]
    matched: list[bool]
    right: dict[str, list[float]]


def word_likeness() -> Values:
    """Cosine between the mean visual token of lhrs-nano and the mean embedding of the words of a text.

    It is made like a CLIP-score (Hessel et al., 2021), with what a language model that sees knows of words.
    """
    folder = locate(BASE)
    model: Any = LhrsForConditionalGeneration.from_pretrained(folder)
    processor = LhrsProcessor.from_pretrained(folder)
    table = model.get_input_embeddings().weight.detach()
    centre = table.mean(0)

    @torch.inference_mode()
    def values(rows: Sequence[Judged]) -> list[float]:
        seen: dict[int, torch.Tensor] = {}
        found = []
        for row in rows:
            image = row.images[0]
            if id(image) not in seen:
                pixels = processor.image_processor([PilImage.fromarray(image)])["pixel_values"]
                seen[id(image)] = model.visual_tokens(pixels)[0].mean(0)
            ids = processor.tokenizer(row.answer, add_special_tokens=False).input_ids
            found.append(float(functional.cosine_similarity(seen[id(image)] - centre, table[ids].mean(0) - centre, 0)))
        return found

    return values


def score_of(scorer: Scorer) -> Values:
    """Return what scores rows, and refuses one that cannot be scored."""

    def values(rows: Sequence[Judged]) -> list[float]:
        made = scorer.score(rows)
        for row, score in zip(rows, made, strict=True):
            if score.value is None:
                raise DataError("a text of the pairs has no score", found=f"{row.answer[:60]!r}: {score.reason}")
        return [score.value for score in made if score.value is not None]

    return values


def score_beside(scorer: Scorer) -> Values:
    """Return what scores rows for comparison: one that cannot be scored is NaN, and what it is held against ties."""

    def values(rows: Sequence[Judged]) -> list[float]:
        made = scorer.score(rows)
        reasons = [score.reason for score in made if score.value is None]
        if reasons:
            log.warning(
                "%s has no score for %d of %d texts, their pairs are ties: %s",
                *(scorer.name, len(reasons), len(rows), reasons[0]),
            )
        return [math.nan if score.value is None else score.value for score in made]

    return values


def judge(rows: Sequence[Sample], scorer: Scorer, likeness: Values, beside: Sequence[Scorer] = ()) -> Pairs:
    """Let all judge every pair.

    Args:
        rows: in groups that share their pictures.
        scorer: the score model.
        likeness: of a picture and a text, see `word_likeness`.
        beside: others that judge the same texts, under names of their own.

    Raises:
        DataError: a row is no pair or has no score, or all rows are about the same pictures.
    """
    score = score_of(scorer)
    judges: dict[str, Values] = {
        scorer.name: score,
        "longer text": lambda texts: [float(len(text.answer)) for text in texts],
        "word likeness": likeness,
        **{other.name: score_beside(other) for other in beside},
    }
    found = Pairs([], [], [], {name: [] for name in (scorer.name, *ARMS, *(other.name for other in beside))})
    for start in range(0, len(rows), AT_ONCE):
        block = rows[start : start + AT_ONCE]
        opened: scoring.Opened = {}
        better = [scoring.judged(row, scorer.dialect, opened) for row in block]
        sizes = [1 + len(rejected(row)) for row in block]
        texts = [
            replace(best, answer=answer)
            for row, best in zip(block, better, strict=True)
            for answer in (best.answer, *rejected(row))
        ]
        strangers = [_other(rows, start + number) for number in range(len(block))]
        pictures = [scoring.judged(stranger, scorer.dialect, opened).images for stranger in strangers]
        shown = [images for images, size in zip(pictures, sizes, strict=True) for _ in range(size)]
        other = [replace(text, images=images) for text, images in zip(texts, shown, strict=True)]
        scores = {name: values(texts) for name, values in judges.items()} | {"other picture": score(other)}
        end = 0
        for row, size in zip(block, sizes, strict=True):
            first, end = end, end + size
            for worse in range(first + 1, end):
                found.errors.append(error_of(row))
                found.scenes.append(row.scene_id)
                lengths = len(texts[first].answer), len(texts[worse].answer)
                found.matched.append(abs(lengths[0] - lengths[1]) <= ALIKE * max(lengths))
                for name, values in scores.items():
                    margin = values[first] - values[worse]
                    found.right[name].append((1 + (margin > 0) - (margin < 0)) / 2)
        log.info("%d of %d rows", min(start + AT_ONCE, len(rows)), len(rows))
    return found


def _other(rows: Sequence[Sample], number: int) -> Sample:
    """The next row whose pictures are others; the first one comes after the last.

    Raises:
        DataError: all rows are about the same pictures.
    """
    turned = (rows[(number + step) % len(rows)] for step in range(1, len(rows)))
    found = next((row for row in turned if row.images != rows[number].images), None)
    if found is None:
        raise DataError(
            "there is no other picture to compare with", found=rows[number].id, allowed="pairs about two pictures"
        )
    return found


def report(found: Pairs, judge_name: str) -> str:
    """Write accuracies with 95 % intervals over pictures, of every kind of error, of all, and of matched lengths."""
    names = list(found.right)
    lines = [
        f"| error | pairs | {' | '.join(names)} |",
        f"|---|---:|{'---:|' * len(names)}",
    ]
    every = range(len(found.errors))
    groups = {kind: [i for i in every if found.errors[i] == kind] for kind in sorted(set(found.errors))}
    groups["all"] = list(every)
    groups["all of matched length"] = [i for i in every if found.matched[i]]
    groups = {kind: members for kind, members in groups.items() if members}
    for kind, members in groups.items():
        scenes = [found.scenes[i] for i in members]
        cells = []
        for name in names:
            mean, low, high = bootstrap([found.right[name][i] for i in members], scenes)
            cells.append(f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})")
        lines.append(f"| {kind} | {len(members)} | {' | '.join(cells)} |")
    lines += ["", f"{judge_name} minus the others, in points, over pictures that they share:", ""]
    for kind, members in groups.items():
        if not kind.startswith("all"):
            continue
        for name in names[1:]:
            ones, others = ([found.right[one][i] for i in members] for one in (judge_name, name))
            gap = paired_bootstrap(ones, others, [found.scenes[i] for i in members])
            told = f"{100 * gap.difference:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"
            lines.append(f"- {kind}, against {name}: {told}")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.pair_accuracy", description=__doc__)
    parser.add_argument("model", help="a score model: a folder or a hub id")
    parser.add_argument(
        "data", type=Path, help="rows that the builder preferences made, or the source preference_pairs"
    )
    parser.add_argument("--split", default="test", help="which of them (%(default)s)")
    parser.add_argument("--most", type=int, default=2000, help="rows, drawn from all over (%(default)s)")
    parser.add_argument("--beside", action="append", default=[], metavar="MODEL", help="one more, for comparison")
    parser.add_argument("--dtype", default="auto", help="number format of the model (%(default)s)")
    parser.add_argument("-o", "--out", type=Path, metavar="F.md", help="write the table there as well")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        rows = [row for row in of_split(args.data, args.split) if row.images]
        if not rows:
            raise DataError("there are no pairs with pictures", found=f"{args.data}, split {args.split}")
        rows = rows[:: max(1, -(-len(rows) // args.most))]
        scorer, *beside = (open_scorer(name, dtype=args.dtype) for name in dict.fromkeys([args.model, *args.beside]))
        table = report(judge(rows, scorer, word_likeness(), beside), args.model)
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(table)
    if args.out is not None:
        args.out.write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
