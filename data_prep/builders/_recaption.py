"""A model words a description anew, under the facts; what it says is kept only where it claims no more and no less.

The step works on instruction rows whose answer is a description. The model gets the picture, the description and what
is certain. A rewording with a fault is asked for again, with the fault named; when no try is left, the first text
stays. `meta["recaption"]` says which model, how many tries, what was kept and what was wrong.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import lru_cache

from lhrs_chat.errors import DataError, RasterError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.models.backends import Backend, Done, Request, open_backend
from lhrs_chat.schema import Message, Part, Sample

from ..engine import Outcome
from ..output import Dropped
from ._claims import Claims, vocabulary_of

log = logging.getLogger(__name__)

TASKS = ("caption", "region_caption")
LONGEST_PX = 1024
ORDER = (
    "Rewrite this description of a remote sensing image in fluent English. Keep every thing, number, place and word of"
    " amount, and call each thing what it is called here. You may add the colours, textures and patterns that you see,"
    " but no other thing, number, place or direction. Answer with the description alone."
)


@dataclass(frozen=True)
class Recaption:
    """A step of the engine that rewords the descriptions of a batch.

    Args:
        model: as `open_backend` takes it: a preset, a folder, a hub id or `openai:URL#MODEL`.
        tries: how often the model is asked for one row.
        seed: of the words that are drawn.
        temperature: 0 takes the likeliest words at the first try.
        max_new_tokens: of a rewording.
    """

    model: str
    tries: int = 3
    seed: int = 0
    temperature: float = 0.7
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise DataError("a model is asked once at least", found=self.tries, allowed=">= 1")

    def __call__(self, rows: list[Sample]) -> Outcome:
        """Reword a batch; rows that hold no description stay as they are."""
        works = {number: _Work.of(row) for number, row in enumerate(rows) if _is_described(row)}
        dropped: dict[int, Dropped] = {}
        for attempt in range(self.tries):
            asked: list[_Work] = []
            requests: list[Request] = []
            for number, work in works.items():
                if work.reworded or number in dropped:
                    continue
                try:
                    requests.append(self._request(work, attempt))
                    asked.append(work)
                except RasterError as error:
                    dropped[number] = Dropped.of(work.row, "recaption", str(error))
            for event in _opened(self.model).generate(requests) if requests else ():
                if isinstance(event, Done):
                    asked[event.request].judge(event.text)
        made = [
            works[number].finished(self.model) if number in works else row
            for number, row in enumerate(rows)
            if number not in dropped
        ]
        left = sum(not work.reworded for number, work in works.items() if number not in dropped)
        if left:
            log.info("%d of %d descriptions keep their first words", left, len(works))
        return Outcome(made, list(dropped.values()))

    def _request(self, work: _Work, attempt: int) -> Request:
        images = tuple(work.row.images[number] for number in work.shown)
        pictures, hashes = [], []
        for image in images:
            with Raster.open(image) as raster:
                pictures.append(raster.rgb(max_size_px=LONGEST_PX))
                hashes.append(raster.sha256)
        return Request(
            messages=(Message.of("user", work.prompt(), images=tuple(range(len(pictures)))),),
            images=tuple(pictures),
            image_hashes=tuple(hashes),
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed + attempt,
        )


@lru_cache(maxsize=1)
def _opened(model: str) -> Backend:
    return open_backend(model)


@dataclass
class _Work:
    """One row on its way to other words."""

    row: Sample
    vocabulary: set[str]
    reworded: str = ""
    faults: list[str] = field(default_factory=list)

    @staticmethod
    def of(row: Sample) -> _Work:
        return _Work(row, vocabulary_of(row))

    @property
    def text(self) -> str:
        """The description as it is."""
        return self.row.messages[-1].text

    @property
    def shown(self) -> list[int]:
        """The images of the row that its question shows."""
        parts = [part for message in self.row.messages for part in message.content]
        return [part.image for part in parts if part.type == "image" and part.image is not None]

    def prompt(self) -> str:
        """The order, what is certain, the description, and the fault of the last try."""
        lines = [ORDER]
        facts = _facts(self.row)
        if facts:
            lines.append(f"Certain facts: {facts}.")
        lines.append(f"Description: {self.text}")
        if self.faults:
            lines.append(f"Your last rewording was refused: {self.faults[-1]}.")
        return "\n".join(lines)

    def judge(self, said: str) -> None:
        """Take a rewording, or note what is wrong with it."""
        text = " ".join(said.split()).strip('"')
        if not text:
            self.faults.append("it is empty")
            return
        found = Claims.of(self.text, self.vocabulary).faults(Claims.of(text, self.vocabulary))
        if found:
            self.faults.append("; ".join(found))
        else:
            self.reworded = text

    def finished(self, model: str) -> Sample:
        """The row with the words that were kept."""
        note = {
            "model": model,
            "tries": len(self.faults) + bool(self.reworded),
            "kept": "rewording" if self.reworded else "original",
            "faults": self.faults,
        }
        if not self.reworded:
            return replace(self.row, meta={**self.row.meta, "recaption": note})
        note["original"] = self.text
        answer = Message("assistant", (Part("text", text=self.reworded),))
        targets = replace(
            self.row.targets,
            answer=self.reworded,
            captions=tuple(dict.fromkeys((self.reworded, *self.row.targets.captions))),
        )
        messages = (*self.row.messages[:-1], answer)
        return replace(self.row, messages=messages, targets=targets, meta={**self.row.meta, "recaption": note})


def _is_described(row: Sample) -> bool:
    """Whether the answer of a row is a description in words alone."""
    if row.task not in TASKS or not row.messages or row.messages[-1].role != "assistant":
        return False
    return bool(row.messages[-1].text.strip()) and all(part.type == "text" for part in row.messages[-1].content)


def _facts(row: Sample) -> str:
    """The numbers and things of a row, for the prompt."""
    numbers = [f"{number.label} {number.value:.3g} {number.unit}".strip() for number in row.targets.numbers]
    return ", ".join(dict.fromkeys([*row.targets.labels, *numbers]))
