"""What is looked at before the first step is made: pictures reach the loss, nothing is learned from held-out data."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.registry import file_sha256
from lhrs_chat.schema import Sample

from .recipe import Recipe
from .rows import data_hashes
from .stage import Told

log = logging.getLogger(__name__)

MOST_NAMED = 5


class EveryPictureIsLearned:
    """Looks at the gradient that reaches the visual tokens of the first pictures, before their step is made.

    Args:
        visual: what makes visual tokens, (N, K, D), of pictures.
    """

    def __init__(self, visual: nn.Module) -> None:
        self._seen: list[torch.Tensor] = []
        self._hook = visual.register_forward_hook(self._look)

    def _look(self, module: nn.Module, inputs: Any, tokens: torch.Tensor) -> torch.Tensor | None:
        if not torch.is_grad_enabled() or self._seen:
            return None
        made = tokens if tokens.requires_grad else tokens.detach().requires_grad_()
        made.retain_grad()
        self._seen.append(made)
        return made

    def checked(self, told: Told) -> bool:
        """Tell whether a batch with pictures has passed.

        Raises:
            DataError: nothing of a picture reaches the loss: training would go on without pictures and look well.
        """
        if not self._seen:
            return False
        self._hook.remove()
        gradient = self._seen[0].grad
        lost = [] if gradient is None else torch.nonzero(gradient.flatten(1).abs().amax(1) == 0)[:, 0].tolist()
        if gradient is None or lost:
            raise DataError(
                "a picture does not reach the loss: the gradient at its visual tokens is 0",
                found=f"picture {lost or 'any'} of the batch with {', '.join(told.ids[:MOST_NAMED])}",
                next_step="every row that shows a picture needs an answer behind it that is learned",
            )
        self._seen.clear()
        return True


def no_overlap(recipe: Recipe) -> None:
    """Refuse rows to learn from that share a scene or a picture with rows that are held out.

    Pictures are compared by the hash of their file, and only those of the same size are read.

    Raises:
        DataError: some do; the error names them.
    """
    part = recipe.data
    facts = [data_hashes(folder) for folder in (part.folder, *part.held_out)]
    key = hashlib.sha256(json.dumps([facts, sorted(part.mix.items())], sort_keys=True).encode()).hexdigest()[:16]
    passed = part.folder / "tokens" / f"no_overlap-{key}"
    if passed.is_file():
        log.info("nothing is learned from that is held out: these very rows were compared before")
        return
    train: list[Sample] = []
    held_out: list[Sample] = []
    for row in samples.read(part.folder):
        if row.split != "train":
            held_out.append(row)
        elif part.share(row.source):
            train.append(row)
    for folder in part.held_out:
        held_out += samples.read(folder)
    if not held_out:
        log.info("nothing is held out: no row has the split val or test, and data.held_out is empty")
    _refuse("scenes", _scenes(train) & _scenes(held_out))
    ours, theirs = _files(train), _files(held_out)
    sizes = _sizes(ours).keys() & _sizes(theirs).keys()
    hashes = {file_sha256(path) for size in sizes for path in _sizes(ours)[size]}
    _refuse("pictures", {str(path) for size in sizes for path in _sizes(theirs)[size] if file_sha256(path) in hashes})
    log.info("%d scenes to learn from, none of them among %d held out", len(_scenes(train)), len(_scenes(held_out)))
    passed.parent.mkdir(exist_ok=True)
    passed.touch()


def _scenes(rows: Iterable[Sample]) -> set[str]:
    return {row.scene_id for row in rows if row.scene_id}


def _files(rows: Iterable[Sample]) -> set[Path]:
    return {Path(image.path) for row in rows for image in row.images if image.path is not None}


def _sizes(files: Iterable[Path]) -> dict[int, list[Path]]:
    sizes: dict[int, list[Path]] = {}
    for path in files:
        if path.is_file():
            sizes.setdefault(path.stat().st_size, []).append(path)
    return sizes


def _refuse(what: str, shared: set[str]) -> None:
    if shared:
        named: Sequence[str] = sorted(shared)[:MOST_NAMED]
        raise DataError(
            f"{len(shared)} {what} are learned from and held out at once",
            found=", ".join(named),
            next_step="give each scene to one split only; scores on what was learned mean nothing",
        )
