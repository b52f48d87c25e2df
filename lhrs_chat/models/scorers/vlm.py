"""A score model that reads pictures and text: rows of about one length run together, and come back in their order.

With a model of ours, rows about the same pictures become one, and their common beginning is computed once.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from PIL import Image as PilImage

from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.models.backends.transformers import DEFAULT_DIALECT, DIALECTS, open_processor
from lhrs_chat.models.branches import Tree, lay
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.scorer import LhrsForSequenceClassification, ScoreModel, load_score_model
from lhrs_chat.models.scorers import Judged, Score
from lhrs_chat.models.scorers.layouts import LAYOUTS, fingerprint
from lhrs_chat.models.weights import AS_STORED, Precision, weights_hash
from lhrs_chat.plugins import nearest

TOKENS_AT_ONCE = 8192
TOKENS_ON_CPU = 1024
"""More would not fit its caches: one thread encodes 16 pictures at once slower than two at a time."""
PACK_TOKENS = 512
"""How long rows about the same pictures become together; on a CPU, 1024 is as fast."""


@dataclass(frozen=True)
class _Ready:
    """One row as the model takes it."""

    number: int
    prompt: str
    pictures: list[PilImage.Image]
    tokens: int
    shared: tuple[str, tuple[int, ...]]
    """The prompt up to its last picture, and the pictures by their identity."""

    def __len__(self) -> int:
        return self.tokens


@dataclass(frozen=True)
class _Pack:
    """Rows about the same pictures, as one row of a model of ours."""

    rows: list[_Ready]
    tree: Tree

    def __len__(self) -> int:
        return len(self.tree)


_Sized = TypeVar("_Sized", _Ready, _Pack)


class VlmScorer:
    """Any `ScoreModel` with its processor.

    Args:
        model: the score model.
        processor: its own.
        name: what it is called.
        weights_sha256: hash of its weights.
        layout: how rows are put, a name of `layouts.LAYOUTS`; the one that the model was trained with where left out.
        tokens_at_once: how many tokens, padding and pictures included, run together; None as the device likes it.

    Raises:
        ConfigError: there is no such layout.
    """

    def __init__(
        self,
        model: ScoreModel,
        processor: Any,
        *,
        name: str,
        weights_sha256: str,
        layout: str | None = None,
        tokens_at_once: int | None = None,
    ) -> None:
        chosen = model.config.score_layout if layout is None else layout
        if chosen not in LAYOUTS:
            known = list(LAYOUTS)
            raise ConfigError(
                "no such layout of a score model",
                found=chosen,
                allowed=", ".join(known),
                next_step=nearest(chosen, known),
            )
        self.model = model
        self.model.train(False)
        self.processor = processor
        self.name = name
        self.weights_sha256 = weights_sha256
        ours = isinstance(processor, LhrsProcessor)
        self.dialect: str = processor.dialect if ours else DIALECTS.get(model.config.model_type, DEFAULT_DIALECT)
        self.layout = LAYOUTS[chosen]
        on_cpu = model.device.type == "cpu"
        self.tokens_at_once = tokens_at_once or (TOKENS_ON_CPU if on_cpu else TOKENS_AT_ONCE)
        template = processor.chat_template or processor.tokenizer.get_chat_template()
        self._template = None if processor.chat_template else template
        self.prompt_sha256 = hashlib.sha256(fingerprint(chosen, template).encode()).hexdigest()
        self._counted: dict[tuple[int, int], int] = {}
        self._longest: int = model.config.get_text_config().max_position_embeddings

    @classmethod
    def open(cls, folder: Path, name: str, precision: Precision = AS_STORED, layout: str | None = None) -> Self:
        """Load a folder of a score model, strictly.

        Raises:
            WeightsError: it holds none, or the weights do not fit.
            ConfigError: there is no such layout.
        """
        processor = open_processor(folder, name)
        digest = weights_hash(folder)
        return cls(load_score_model(folder, precision), processor, name=name, weights_sha256=digest, layout=layout)

    def score(self, rows: Sequence[Judged]) -> list[Score]:
        """Score rows; see `Scorer`."""
        scores: list[Score | None] = [None] * len(rows)
        ready = []
        for number, judged in enumerate(rows):
            made = self._prepare(number, judged)
            if isinstance(made, Score):
                scores[number] = made
            else:
                ready.append(made)
        for row, value in self._values(ready):
            scores[row.number] = Score(value) if math.isfinite(value) else Score(None, f"the model gave {value}")
        return [score for score in scores if score is not None]

    def _values(self, ready: Sequence[_Ready]) -> Iterator[tuple[_Ready, float]]:
        """Run the model; what it says of each row, in any order."""
        if isinstance(self.model, LhrsForSequenceClassification):
            packs = sorted(self._packs(ready), key=len)
            for some in self._batches(packs):
                yield from zip(
                    (row for pack in some for row in pack.rows), self._run_packs(self.model, some), strict=True
                )
            return
        # rows of other numbers of pictures apart: processors do not mix them
        for _, alike in groupby(
            sorted(ready, key=lambda row: (len(row.pictures), len(row))), lambda row: len(row.pictures)
        ):
            for batch in self._batches(list(alike)):
                yield from zip(batch, self._run(batch), strict=True)

    def _prepare(self, number: int, row: Judged) -> _Ready | Score:
        try:
            prompt, tokens = self.write(row)
        except DataError as error:
            return Score(None, error.what)
        sign = str(self.processor.image_token)
        beginning = prompt[: prompt.rfind(sign) + len(sign)] if row.images else ""
        return _Ready(number, prompt, pictures_of(row), tokens, (beginning, tuple(id(image) for image in row.images)))

    def write(self, row: Judged) -> tuple[str, int]:
        """Return the prompt of a row, and how many tokens it has, those of its pictures included.

        Raises:
            DataError: the row cannot be scored.
        """
        if not row.answer.strip():
            raise DataError("the text is empty")
        signs = [*self.processor.tokenizer.all_special_tokens, str(self.processor.image_token)]
        said = " ".join(text for pair in (*row.earlier, (row.question, row.answer)) for text in pair)
        written = next((sign for sign in signs if sign in said), None)
        if written is not None:
            raise DataError(f"the text holds {written}, a sign of the model itself")
        prompt: str = self.processor.apply_chat_template(
            self.layout.turns(row),
            chat_template=self._template,
            add_generation_prompt=self.layout.opens,
            tokenize=False,
        )
        tokens = len(self.processor.tokenizer(prompt, add_special_tokens=False).input_ids)
        tokens += sum(
            self._image_tokens((image.shape[1], image.shape[0])) - 1 for image in row.images
        )  # one is its sign
        if tokens > self._longest:
            raise DataError(f"{tokens} tokens are more than the {self._longest} that the model holds")
        return prompt, tokens

    def _image_tokens(self, size_px: tuple[int, int]) -> int:
        """Count the tokens of a picture of `size_px`, asked of the processor once for each size."""
        if size_px not in self._counted:
            blank = [[PilImage.new("RGB", size_px)]]
            self._counted[size_px] = self.inputs([str(self.processor.image_token)], blank)["input_ids"].shape[1]
        return self._counted[size_px]

    def _batches(self, rows: Sequence[_Sized]) -> Iterator[list[_Sized]]:
        """Cut `rows`, which get longer, into batches of at most `tokens_at_once` with padding, or of one row."""
        batch: list[_Sized] = []
        for row in rows:
            if batch and len(row) * (len(batch) + 1) > self.tokens_at_once:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _packs(self, ready: Sequence[_Ready]) -> Iterator[_Pack]:
        """Put rows that begin alike into one, up to `PACK_TOKENS`: attention costs the square of its length."""
        groups: dict[tuple[str, tuple[int, ...]], list[_Ready]] = defaultdict(list)
        for row in sorted(ready, key=lambda row: row.prompt):  # like questions stand together
            groups[row.shared].append(row)
        for rows in groups.values():
            some: list[_Ready] = []
            begun = len(self.processor.encode(rows[0].shared[0]))
            for row in rows:
                if some and begun + sum(len(one) - begun for one in (*some, row)) > PACK_TOKENS:
                    yield self._pack(some)
                    some = []
                some.append(row)
            yield self._pack(some)

    def _pack(self, rows: list[_Ready]) -> _Pack:
        said = [tuple(self.processor.encode(row.prompt)) for row in rows]
        same = (len(set(tokens)) == 1 for tokens in zip(*(ids[:-1] for ids in said), strict=False))
        begun = sum(1 for _ in takewhile(bool, same))
        return _Pack(rows, Tree(said[0][:begun], tuple(ids[begun:] for ids in said)))

    def _run(self, batch: Sequence[_Ready]) -> list[float]:
        inputs = self.inputs([row.prompt for row in batch], [row.pictures for row in batch])
        with torch.inference_mode():
            logits = self.model(**inputs.to(self.model.device, dtype=self.model.dtype)).logits
        return [float(value) for value in logits[:, 0].float()]

    def _run_packs(self, model: LhrsForSequenceClassification, packs: Sequence[_Pack]) -> list[float]:
        laid = lay([pack.tree for pack in packs], self.processor.tokenizer.pad_token_id)
        pictures = [picture for pack in packs for picture in pack.rows[0].pictures]
        shown = self.processor.image_processor(pictures)["pixel_values"] if pictures else None
        inputs = {**vars(laid), "pixel_values": shown}
        placed: dict[str, Any] = {
            name: None if tensor is None else tensor.to(model.device) for name, tensor in inputs.items()
        }
        with torch.inference_mode():
            scores = model.score_branches(**placed)
        return [float(value) for value in scores[:, 0]]

    def inputs(self, prompts: list[str], pictures: list[list[PilImage.Image]]) -> Any:
        """Return what the model takes of prompts and the pictures of each, padded to one length."""
        images = pictures if any(pictures) else None
        settings: dict[str, Any] = {}
        if not isinstance(self.processor, LhrsProcessor):  # ours never adds a beginning; a template may have written it
            bos = self.processor.tokenizer.bos_token
            settings["add_special_tokens"] = bos is None or not all(prompt.startswith(bos) for prompt in prompts)
        return self.processor(text=prompts, images=images, padding=True, return_tensors="pt", **settings)


def pictures_of(row: Judged) -> list[PilImage.Image]:
    """Return the pictures of a row as processors take them."""
    return [PilImage.fromarray(image).convert("RGB") for image in row.images]
