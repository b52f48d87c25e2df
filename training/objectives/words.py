"""The objective `words`: visual tokens are pulled to the language model's own embeddings of the words they show.

A token of a grid cell is scored against the words of the covers and things in that cell, the tokens of the whole
against the words of the scene class, its things and its captions. The language model itself is not run, so a pass
over thousands of pictures takes minutes.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image as PilImage
from torch import nn
from torch.nn import functional

from lhrs_chat import samples
from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.registry import file_sha256
from lhrs_chat.schema import Sample

from .. import start
from ..features import features
from ..optimizer import choose
from ..order import plan
from ..recipe import Recipe
from ..rows import file_of
from ..stage import TOLD, Stage, Told
from . import Objective

log = logging.getLogger(__name__)

LEAST_CAPTIONS = 25
_STOP = frozenset(
    re.findall(
        "[a-z]+",
        """a an and are as at away be beside between by can different each few for four from has have image in into is
        it its lots many near next of on one other part parts photo picture piece scene several side sides some
        surrounded that the their them there these this three to two very which with""",
    )
)


def content_words(text: str) -> set[str]:
    """Return the words of a caption that name something."""
    return {word for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 2 and word not in _STOP}


def cell_targets(sample: Sample, folder: str, words: dict[str, int], grid: tuple[int, int]) -> np.ndarray | None:
    """Return the share of each word in each cell, (cells, words), or None where the row has no cover map.

    A thing counts as present in every cell that its box covers by a tenth, or that holds its centre.
    """
    cover_map = sample.meta.get("cover_map")
    if cover_map is None:
        return None
    with PilImage.open(f"{folder}/{cover_map}") as picture:
        codes = np.asarray(picture)
    rows, columns = grid
    targets = np.zeros((rows, columns, len(words)), dtype=np.float32)
    height, width = codes.shape
    for code, cover in enumerate(sample.meta["covers"], 1):
        mask = (codes == code).astype(np.float32)
        cells = mask[: height // rows * rows, : width // columns * columns]
        targets[..., words[cover]] = cells.reshape(rows, height // rows, columns, width // columns).mean((1, 3))
    for box in sample.targets.boxes:
        x1, y1, x2, y2 = box.xyxy
        for row in range(int(y1 * rows / height), min(rows - 1, int(y2 * rows / height)) + 1):
            for column in range(int(x1 * columns / width), min(columns - 1, int(x2 * columns / width)) + 1):
                overlap_y = min(y2, (row + 1) * height / rows) - max(y1, row * height / rows)
                overlap_x = min(x2, (column + 1) * width / columns) - max(x1, column * width / columns)
                area = max(overlap_x, 0) * max(overlap_y, 0)
                if area > 0.1 * (height / rows) * (width / columns) or area > 0.3 * (x2 - x1) * (y2 - y1):
                    targets[row, column, words[box.label]] = 1.0
    return targets.reshape(rows * columns, len(words))


@dataclass(frozen=True)
class WordTargets:
    """What the tokens of a batch should say; `cells`: (B, N, V), `known`: (B,), `whole`: (B, V), `label`: (B,)."""

    cells: torch.Tensor
    known: torch.Tensor
    whole: torch.Tensor
    label: torch.Tensor


class Vocabulary:
    """The words of a run: scene classes, covers, things, and what captions often name."""

    def __init__(self, facts: Sequence[Sample], folder: str, grid: tuple[int, int]) -> None:
        self.folder = folder
        self.grid = grid
        counts = Counter(word for fact in facts for text in fact.targets.captions for word in content_words(text))
        classes = {label for fact in facts for label in fact.targets.labels}
        named = {number.label for fact in facts for number in fact.targets.numbers if number.unit != "m"}
        named |= {box.label for fact in facts for box in fact.targets.boxes}
        named |= {cover for fact in facts for cover in fact.meta.get("covers", [])}
        frequent = {word for word, count in counts.items() if count >= LEAST_CAPTIONS}
        self.words = sorted(classes | named | frequent)
        self.index = {word: number for number, word in enumerate(self.words)}

    def targets(self, facts: Sequence[Sample]) -> WordTargets:
        """Make the targets of a batch."""
        cells = np.zeros((len(facts), self.grid[0] * self.grid[1], len(self.words)), dtype=np.float32)
        known = np.zeros(len(facts), dtype=bool)
        whole = np.zeros((len(facts), len(self.words)), dtype=np.float32)
        label = np.full(len(facts), -100)
        for row, fact in enumerate(facts):
            found = cell_targets(fact, self.folder, self.index, self.grid)
            if found is not None:
                cells[row], known[row] = found, True
            said = set(fact.targets.labels) | {word for text in fact.targets.captions for word in content_words(text)}
            said |= {box.label for box in fact.targets.boxes}
            said |= {n.label for n in fact.targets.numbers if n.unit == "%" and n.value >= 3}
            for word in said & self.index.keys():
                whole[row, self.index[word]] = 1.0
            if fact.targets.labels:
                label[row] = self.index[fact.targets.labels[0]]
        return WordTargets(
            torch.from_numpy(cells), torch.from_numpy(known), torch.from_numpy(whole), torch.from_numpy(label)
        )


class WordObjective(nn.Module):
    """Loss of visual tokens against word embeddings.

    Args:
        model: gives the bridge and the embedding table, which stays as it is.
        words: the vocabulary.
        tokenizer: of the language model.
    """

    def __init__(self, model: LhrsForConditionalGeneration, words: Sequence[str], tokenizer: object) -> None:
        super().__init__()
        self.bridge = model.bridge
        table: torch.Tensor = model.get_input_embeddings().weight.detach()  # type: ignore[operator]
        centre = table.mean(0)
        rows = []
        for word in words:
            ids = tokenizer(" " + word, add_special_tokens=False).input_ids  # type: ignore[operator]
            rows.append(table[ids].mean(0) - centre)
        self.centre: torch.Tensor
        self.register_buffer("centre", centre, persistent=False)
        self.words: torch.Tensor
        self.register_buffer("words", functional.normalize(torch.stack(rows), dim=-1), persistent=False)
        self.log_scale = nn.Parameter(torch.tensor([2.5, 2.5, 2.5]))
        self.shift = nn.Parameter(torch.tensor([-4.0, -4.0]))

    def similarity(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the cosine of `tokens`: (B, K, W) with every word, (B, K, V)."""
        return functional.normalize(tokens - self.centre, dim=-1) @ self.words.T

    def forward(self, levels: Sequence[torch.Tensor], targets: WordTargets) -> torch.Tensor:
        """Return the loss of each picture, (B,), of `levels`, one (B, N, D) each.

        The first token of the whole names the scene class. Each of the three losses is a mean over the pictures of the
        batch that have what it is about.
        """
        cosine = self.similarity(self.bridge(levels))
        count, cells = len(targets.cells), targets.cells.shape[1]
        scale = self.log_scale.exp()
        loss = cosine.new_zeros(count)
        known, named = targets.known, targets.label >= 0
        if known.any():
            logits = scale[0] * cosine[known, :cells] + self.shift[0]
            found = functional.binary_cross_entropy_with_logits(logits, targets.cells[known], reduction="none")
            loss = loss.index_add(0, known.nonzero()[:, 0], 20 * count / len(found) * found.mean((1, 2)))
        any_token = torch.logsumexp(scale[1] * cosine[:, cells + 1 :], dim=1) + self.shift[1]
        whole = functional.binary_cross_entropy_with_logits(any_token, targets.whole, reduction="none")
        loss = loss + 20 * whole.mean(1)
        if named.any():
            classes = 2 * scale[2] * cosine[named, cells]
            right = functional.cross_entropy(classes, targets.label[named], reduction="none")
            loss = loss.index_add(0, named.nonzero()[:, 0], count / len(right) * right)
        return loss


def begin(recipe: Recipe) -> Stage:
    """Read facts.jsonl and set up the stage. Only the bridge and the scales of the loss can learn."""
    model, processor = start.prepare(recipe)
    folder = recipe.data.folder
    everything = list(samples.read(folder / "facts.jsonl"))
    seen = [fact for fact in everything if fact.split == "train"]
    facts = [fact for fact in seen if recipe.data.share(fact.source)]
    held_out = (
        [fact for fact in everything if fact.split == "val"][: recipe.data.eval_rows] if recipe.eval_steps else []
    )
    model.requires_grad_(False)
    words = Vocabulary(facts, str(folder), model.encoder.grids(model.config.image_size_px)[-1])
    objective = WordObjective(model, words.words, processor.tokenizer)
    rates = choose(objective, recipe.optim.lr)
    store = features(recipe, model, processor, map(file_of, [*seen, *held_out]))
    log.info("%d pictures, %d words", len(facts), len(words.words))
    rng = np.random.default_rng(recipe.seed)
    rows = [fact for _ in range(recipe.data.passes) for fact in plan(facts, recipe.data, rng)]
    sources = tuple(sorted({fact.source for fact in (*facts, *held_out)}))

    def batch(drawn: Sequence[Sample]) -> dict[str, Any]:
        told = Told(
            tuple(fact.id for fact in drawn),
            torch.tensor([sources.index(fact.source) for fact in drawn]),
            len(drawn) * model.bridge.num_tokens,
            len(drawn) * model.bridge.num_tokens,
            len(drawn),
        )
        return {"levels": store.get([file_of(fact) for fact in drawn]), "targets": words.targets(drawn), TOLD: told}

    return Stage(
        objective,
        rows,
        held_out,
        batch,
        sources,
        lambda out: start.write_trained(model, out, recipe.start),
        rates,
        visual=model.bridge,
        data={"facts.jsonl": file_sha256(folder / "facts.jsonl")},
    )


OBJECTIVE = Objective(begin)
