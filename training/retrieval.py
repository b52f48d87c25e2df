"""`python -m training.retrieval MODEL DATA`: what a CLIP knows of pictures that it did not learn from.

Does a picture find one of its captions, a caption its picture, and a picture the name of its scene class, among the
first K of all? Rows that are looked at have captions and one scene class.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from lhrs_chat import samples
from lhrs_chat.errors import ConfigError, DataError, LhrsError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.metrics.stats import bootstrap
from lhrs_chat.models import torchvision_guard
from lhrs_chat.models.scorers import open_scorer
from lhrs_chat.models.scorers.clip import BATCH, ClipScorer
from lhrs_chat.schema import Sample

from .recipe import ClipPart

FIRST = (1, 5, 10)
T = TypeVar("T")


def recall(likeness: torch.Tensor, wanted: torch.Tensor, first: int) -> list[float]:
    """Tell of each row, by 1 or 0, whether something wanted is among its `first` likest.

    Args:
        likeness: (N, M), higher is liker.
        wanted: (N, M), of truth values.
        first: so many are looked at.
    """
    found = likeness.topk(min(first, likeness.shape[1]), dim=1).indices
    hits: list[float] = wanted.gather(1, found).any(1).double().tolist()
    return hits


def report(scorer: ClipScorer, rows: Sequence[Sample]) -> str:
    """Measure rows, and write a table with 95 % intervals over pictures."""
    captions = [(number, text) for number, row in enumerate(rows) for text in row.targets.captions]
    labels = sorted({row.targets.labels[0] for row in rows})
    shown = torch.cat([scorer.pictures([_pixels(row) for row in part]) for part in _parts(rows)])
    said = torch.cat([scorer.texts([text for _, text in part]) for part in _parts(captions)])
    named = scorer.texts([ClipPart.category_text.format(label) for label in labels])
    own = torch.tensor([number for number, _ in captions])[None] == torch.arange(len(rows))[:, None]
    class_of = torch.tensor([[row.targets.labels[0] == label for label in labels] for row in rows])
    scenes = [row.scene_id for row in rows]
    lines = [
        f"{len(rows)} pictures, {len(captions)} captions, {len(labels)} scene classes; in per cent",
        "",
        f"| | {' | '.join(f'first {first}' for first in FIRST)} |",
        f"|---|{'---:|' * len(FIRST)}",
    ]
    for what, likeness, wanted, clusters in (
        ("a picture finds a caption", shown @ said.T, own, scenes),
        ("a caption finds its picture", said @ shown.T, own.T, [scenes[number] for number, _ in captions]),
        ("a picture finds its scene class", shown @ named.T, class_of, scenes),
    ):
        cells = []
        for first in FIRST:
            mean, low, high = bootstrap(recall(likeness, wanted, first), clusters)
            cells.append(f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})")
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _pixels(row: Sample) -> np.ndarray:
    with Raster.open(row.images[0]) as raster:
        return raster.rgb()


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def usable(rows: Iterable[Sample], split: str, sources: Sequence[str]) -> list[Sample]:
    """Return the rows with one picture, captions and one scene class.

    Raises:
        DataError: there is none.
    """
    kept = [
        row
        for row in rows
        if row.split == split
        and (not sources or row.source in sources)
        and (len(row.images), len(row.targets.labels)) == (1, 1)
        and row.targets.captions
    ]
    if not kept:
        raise DataError("there is no picture with captions and one scene class", found=f"split {split}")
    return kept


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.retrieval", description=__doc__)
    parser.add_argument("model", help="a CLIP: a folder or a hub id of open_clip")
    parser.add_argument("data", type=Path, help="rows with captions and labels, such as facts.jsonl")
    parser.add_argument("--split", default="test", help="which of them (%(default)s)")
    parser.add_argument("--source", action="append", default=[], help="only rows of this data set; may be given again")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torchvision_guard.install()
    try:
        rows = usable(samples.read(args.data), args.split, args.source)
        scorer = open_scorer(args.model)
        if not isinstance(scorer, ClipScorer):
            raise ConfigError("pictures and texts are compared by a CLIP", found=args.model, allowed="a CLIP")
        sys.stdout.write(report(scorer, rows))
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
