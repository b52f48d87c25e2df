"""A score model that reads pictures and text: rows of about one length run together, and come back in their order.

With a model of ours, rows about the same pictures stay together, and their common beginning is computed once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image as PilImage

from lhrs_chat.errors import ConfigError
from lhrs_chat.models.backends.transformers import DEFAULT_DIALECT, DIALECTS, open_processor
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.scorer import LhrsForSequenceClassification, ScoreModel, load_score_model
from lhrs_chat.models.scorers import Judged, Score
from lhrs_chat.models.scorers.layouts import LAYOUTS, fingerprint
from lhrs_chat.models.weights import AS_STORED, Precision, weights_hash
from lhrs_chat.plugins import nearest

TOKENS_AT_ONCE = 8192


@dataclass(frozen=True)
class _Ready:
    """One row as the model takes it."""

    number: int
    prompt: str
    pictures: list[PilImage.Image]
    tokens: int
    shared: tuple[str, tuple[int, ...]]
    """The prompt up to its last picture, and the pictures by their identity."""


class VlmScorer:
    """Any `ScoreModel` with its processor.

    Args:
        model: the score model.
        processor: its own.
        name: what it is called.
        weights_sha256: hash of its weights.
        layout: how rows are put, a name of `layouts.LAYOUTS`; the one that the model was trained with where left out.
        tokens_at_once: how many tokens, padding and pictures included, run together.

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
        tokens_at_once: int = TOKENS_AT_ONCE,
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
        self.tokens_at_once = tokens_at_once
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
        for batch in self._batches(ready):
            for row, value in zip(batch, self._run(batch), strict=True):
                known = Score(value) if math.isfinite(value) else Score(None, f"the model gave {value}")
                scores[row.number] = known
        return [score for score in scores if score is not None]

    def _prepare(self, number: int, row: Judged) -> _Ready | Score:
        if not row.answer.strip():
            return Score(None, "the text is empty")
        signs = [*self.processor.tokenizer.all_special_tokens, str(self.processor.image_token)]
        said = " ".join(text for pair in (*row.earlier, (row.question, row.answer)) for text in pair)
        written = next((sign for sign in signs if sign in said), None)
        if written is not None:
            return Score(None, f"the text holds {written}, a sign of the model itself")
        prompt = self.processor.apply_chat_template(
            self.layout.turns(row),
            chat_template=self._template,
            add_generation_prompt=self.layout.opens,
            tokenize=False,
        )
        pictures = [PilImage.fromarray(image).convert("RGB") for image in row.images]
        tokens = len(self.processor.tokenizer(prompt, add_special_tokens=False).input_ids)
        tokens += sum(self._image_tokens(picture.size) for picture in pictures)
        if tokens > self._longest:
            return Score(None, f"{tokens} tokens are more than the {self._longest} that the model holds")
        sign = str(self.processor.image_token)
        beginning = prompt[: prompt.rfind(sign) + len(sign)] if pictures else ""
        return _Ready(number, prompt, pictures, tokens, (beginning, tuple(id(image) for image in row.images)))

    def _image_tokens(self, size_px: tuple[int, int]) -> int:
        """Count the tokens of a picture of `size_px`, asked of the processor once for each size."""
        if size_px not in self._counted:
            blank = [[PilImage.new("RGB", size_px)]]
            self._counted[size_px] = self._inputs([str(self.processor.image_token)], blank)["input_ids"].shape[1]
        return self._counted[size_px]

    def _batches(self, ready: Sequence[_Ready]) -> Iterator[list[_Ready]]:
        """Group rows of about one length, rows of other numbers of pictures apart: processors do not mix them.

        Rows that share their beginning stay together, and count as long as the longest of them.
        """
        longest: dict[tuple[str, tuple[int, ...]], tuple[int, int]] = {}
        for row in ready:
            longest[row.shared] = max(longest.get(row.shared, (0, 0)), (row.tokens, row.number))
        batch: list[_Ready] = []
        for row in sorted(ready, key=lambda row: (len(row.shared[1]), *longest[row.shared], row.tokens, row.number)):
            apart = bool(batch) and len(batch[0].pictures) != len(row.pictures)
            if batch and (apart or row.tokens * (len(batch) + 1) > self.tokens_at_once):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _run(self, batch: Sequence[_Ready]) -> list[float]:
        if isinstance(self.model, LhrsForSequenceClassification) and batch[0].pictures:
            return self._run_branches(self.model, batch)
        inputs = self._inputs([row.prompt for row in batch], [row.pictures for row in batch])
        with torch.inference_mode():
            logits = self.model(**inputs.to(self.model.device, dtype=self.model.dtype)).logits
        return [float(value) for value in logits[:, 0].float()]

    def _run_branches(self, model: LhrsForSequenceClassification, batch: Sequence[_Ready]) -> list[float]:
        """Run rows whose beginnings are shared; those of another length than the first one's run for themselves."""
        firsts = {row.shared: row for row in batch}
        begun = {shared: self.processor.encode(shared[0]) for shared in firsts}
        length = len(begun[batch[0].shared])
        names = [shared for shared in begun if len(begun[shared]) == length]
        here = [row for row in batch if len(begun[row.shared]) == length]
        pictures = [picture for name in names for picture in firsts[name].pictures]
        ids, mask = self.processor.pad([self.processor.encode(row.prompt)[length:] for row in here], side="right")
        owners = torch.tensor([names.index(row.shared) for row in here])
        pixels = self.processor.image_processor(pictures)["pixel_values"]
        place = model.device
        with torch.inference_mode():
            scores = model.score_branches(
                torch.tensor([begun[name] for name in names], device=place),
                pixels.to(place, model.dtype),
                ids.to(place),
                mask.to(place),
                owners.to(place),
            )
        values = dict(zip((row.number for row in here), scores[:, 0].tolist(), strict=True))
        rest = [row for row in batch if row.number not in values]
        if rest:
            values |= dict(zip((row.number for row in rest), self._run_branches(model, rest), strict=True))
        return [values[row.number] for row in batch]

    def _inputs(self, prompts: list[str], pictures: list[list[PilImage.Image]]) -> Any:
        images = pictures if any(pictures) else None
        settings: dict[str, Any] = {}
        if not isinstance(self.processor, LhrsProcessor):  # ours never adds a beginning; a template may have written it
            bos = self.processor.tokenizer.bos_token
            settings["add_special_tokens"] = bos is None or not all(prompt.startswith(bos) for prompt in prompts)
        return self.processor(text=prompts, images=images, padding=True, return_tensors="pt", **settings)
