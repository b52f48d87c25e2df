"""Talk with a model about images: several images, many turns, streamed words, and evidence with every answer."""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import PIL.Image

from lhrs_chat import __version__, evidence
from lhrs_chat.errors import GeoError, LhrsError
from lhrs_chat.geo import overlay, vector
from lhrs_chat.geo.frames import Placement
from lhrs_chat.geo.raster import Raster
from lhrs_chat.models.backends import Backend, Delta, Done, Request, open_backend
from lhrs_chat.schema import Answer, Box, Image, Mask, Message, Provenance
from lhrs_chat.text import questions

Source = str | Path | bytes | np.ndarray | PIL.Image.Image | Image | Raster

log = logging.getLogger(__name__)

PICTURE_MAX_PX = 2048  # longer side of what a backend is handed; it resizes further to what its model takes


@dataclass(frozen=True)
class Picture:
    """One image of a conversation. `rgb`: (H, W, 3), uint8, at most `PICTURE_MAX_PX` a side."""

    raster: Raster
    rgb: np.ndarray
    rgb_sha256: str

    @property
    def image(self) -> Image:
        """What is known of the image: size, bands, sensor, georeference."""
        return self.raster.image


@dataclass(frozen=True)
class Turn:
    """One question with its answer; boxes and masks of the answer lie on image number `picture`."""

    question: str
    answer: Answer
    picture: int


class ChatSession:
    """One conversation about one or more images. Not for several threads at once, except for `stop`."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.pictures: list[Picture] = []
        self.turns: list[Turn] = []
        self._messages: list[Message] = []
        self._unseen: list[int] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._stop = threading.Event()

    def __enter__(self) -> ChatSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files of the conversation."""
        for picture in self.pictures:
            picture.raster.close()

    def add_image(self, source: Source) -> int:
        """Add an image to the next question; return its number in the conversation.

        The same image is read once: adding it again returns the number it has. An opened `Raster` is closed with
        the session.

        Args:
            source: file, bytes, array (C, H, W), PIL image, `Image`, or an opened raster.

        Raises:
            RasterError: it cannot be opened, or there is nothing in it to look at.
        """
        raster = source if isinstance(source, Raster) else Raster.open(source)
        key = (raster.sha256, raster.profile.name)
        if key in self._numbers:
            raster.close()
            return self._numbers[key]
        rgb = raster.rgb(max_size_px=PICTURE_MAX_PX)
        digest = hashlib.sha256(f"{rgb.shape}".encode() + rgb.tobytes()).hexdigest()
        number = len(self.pictures)
        self.pictures.append(Picture(raster, rgb, digest))
        self._numbers[key] = number
        self._unseen.append(number)
        return number

    def ask(
        self, question: str, *, max_new_tokens: int = 128, temperature: float | None = None, seed: int = 0
    ) -> Answer:
        """Ask, and return the answer when it is complete; see `stream`."""
        pieces = self.stream(question, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
        return next(piece for piece in pieces if isinstance(piece, Answer))

    def stream(
        self, question: str, *, max_new_tokens: int = 128, temperature: float | None = None, seed: int = 0
    ) -> Iterator[str | Answer]:
        """Ask, and yield the words as they come, then the `Answer`.

        A question that fails or is abandoned leaves the conversation as it was.

        Args:
            question: plain language.
            max_new_tokens: the longest answer.
            temperature: 0 for the likeliest words, above for sampling; None: as the model was published.
            seed: of the sampling.

        Raises:
            LhrsError: there is no image, the question is empty, or a setting is out of range.
        """
        asked = questions.check(question, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
        return self._run(asked, self._request(asked, max_new_tokens, temperature, seed))

    def draw(
        self,
        question: str,
        count: int,
        *,
        max_new_tokens: int = 128,
        temperature: float | None = None,
        seed: int = 0,
    ) -> list[ChatSession]:
        """Ask for several answers at once, and return this conversation as it goes on with each of them.

        The conversation itself stays as it was; those that go on share its opened images. Answer number i is the one
        that `ask` gives with the seed `seed` + i, as long as the model computes in float32.

        Args:
            question: plain language.
            count: how many answers.
            max_new_tokens: the longest answer.
            temperature: above 0 for answers that differ; None: as the model was published.
            seed: of the first answer.

        Raises:
            LhrsError: there is no image, the question is empty, or a setting is out of range.
        """
        for own in (seed, seed + count - 1):
            asked = questions.check(question, max_new_tokens=max_new_tokens, temperature=temperature, seed=own)
        self._stop.clear()
        began = time.perf_counter()
        request = self._request(asked, max_new_tokens, temperature, seed)
        requests = [replace(request, seed=seed + number) for number in range(count)]
        events = self.backend.generate(requests, stop=self._stop)
        done = {event.request: event for event in events if isinstance(event, Done)}
        if len(done) < count:
            raise self._unanswered()
        measured = self._measured(asked)
        branches = []
        for number in range(count):
            branch = copy.copy(self)
            branch.pictures, branch.turns = [*self.pictures], [*self.turns]
            branch._numbers, branch._stop = {**self._numbers}, threading.Event()
            branch._keep(asked, request, done[number], [] if done[number].stopped else measured, began)
            branches.append(branch)
        return branches

    def stop(self) -> None:
        """End the answer that is being written; what was said so far becomes the answer. Any thread may call this."""
        self._stop.set()

    def overlay(self, number: int = -1) -> PIL.Image.Image:
        """Draw all regions found so far on image `number`, at most `PICTURE_MAX_PX` a side."""
        number = number % len(self.pictures)
        picture = self.pictures[number]
        found = [turn.answer for turn in self.turns if turn.picture == number]
        boxes = list(dict.fromkeys(box for answer in found for box in answer.boxes))
        masks = list(dict.fromkeys(mask for answer in found for mask in answer.masks))
        return overlay.draw(picture.rgb, boxes, masks, size_px=picture.raster.size_px)

    def features(self) -> dict[str, Any]:
        """Collect all regions found so far as one GeoJSON object, each with its own provenance.

        Images without a place on the map are left out.

        Raises:
            GeoError: no image of the conversation has a place on the map.
        """
        located = self._located()
        features: list[dict[str, Any]] = []
        seen: set[tuple[int, Box | Mask]] = set()
        for turn in self.turns:
            if turn.picture in located:
                image = self.pictures[turn.picture].image
                regions: tuple[Box | Mask, ...] = (*turn.answer.boxes, *turn.answer.masks)
                new = [r for r in regions if (turn.picture, r) not in seen]
                seen.update((turn.picture, region) for region in new)
                boxes = tuple(region for region in new if isinstance(region, Box))
                masks = tuple(region for region in new if isinstance(region, Mask))
                if new:
                    answer = replace(turn.answer, boxes=boxes, masks=masks)
                    features += vector.feature_collection(answer, image)["features"]
        return {"type": "FeatureCollection", "features": features}

    def _located(self) -> list[int]:
        """Numbers of the images that have a place on the map."""
        located = []
        problems = []
        for number, picture in enumerate(self.pictures):
            if picture.image.georef is not None:
                try:
                    vector.check_place(picture.image)
                except GeoError as problem:
                    problems.append(problem)
                else:
                    located.append(number)
        if located:
            for error in problems:
                log.warning("an image is left out of the map: %s", error)
        elif problems:
            raise problems[0]
        else:
            raise GeoError(
                "no image of this conversation has a georeference, so there is nothing to put on a map",
                found=[picture.image.path or "an image without file" for picture in self.pictures],
                next_step="give a georeferenced raster such as a GeoTIFF, or save the overlay picture instead",
            )
        return located

    def _request(self, asked: str, max_new_tokens: int, temperature: float | None, seed: int) -> Request:
        """Put a question behind what was said."""
        if not self.pictures:
            raise LhrsError("there is no image to talk about", found="no image", next_step="add an image first")
        return Request(
            messages=(*self._messages, Message.of("user", asked, tuple(self._unseen))),
            images=tuple(picture.rgb for picture in self.pictures),
            image_hashes=tuple(picture.rgb_sha256 for picture in self.pictures),
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )

    def _run(self, question: str, request: Request) -> Iterator[str | Answer]:
        self._stop.clear()
        began = time.perf_counter()
        done = None
        for event in self.backend.generate([request], stop=self._stop):
            if isinstance(event, Delta):
                yield event.text
            else:
                done = event
        if done is None:
            raise self._unanswered()
        measured = [] if done.stopped else self._measured(question)
        for cover in measured:
            yield f"\n{cover.sentence}"
        yield self._keep(question, request, done, measured, began)

    def _unanswered(self) -> LhrsError:
        return LhrsError("the model ended without an answer", found=self.backend.name, next_step="ask again")

    def _measured(self, question: str) -> list[evidence.Cover]:
        """Measure what a question asks for in the image that it means."""
        return evidence.measured(question, self.pictures[questions.about(question, len(self.pictures))].raster)

    def _keep(
        self, question: str, request: Request, done: Done, measured: Sequence[evidence.Cover], began: float
    ) -> Answer:
        """Make the answer, and go on with it."""
        number = questions.about(question, len(self.pictures))
        answer = self._answer(question, number, done, measured, began)
        self._messages = [*request.messages, Message.of("assistant", done.text)]
        self._unseen = []
        self.turns.append(Turn(question, answer, number))
        return answer

    def _answer(
        self, question: str, number: int, done: Done, measured: Sequence[evidence.Cover], began: float
    ) -> Answer:
        picture = self.pictures[number]
        sent_px = (picture.rgb.shape[1], picture.rgb.shape[0])
        placement = done.placement
        if placement is None or placement.original_px != sent_px:
            placement = Placement.whole(sent_px)
        size_px = picture.raster.size_px
        dialect = self.backend.dialect
        said = evidence.said_numbers(done.text, dialect, question)
        return Answer(
            text="\n".join([done.text, *(cover.sentence for cover in measured)]),
            provenance=Provenance(
                model=self.backend.name,
                weights_sha256=self.backend.weights_sha256,
                image_sha256=",".join(seen.raster.sha256 for seen in self.pictures),
                prompt=done.prompt,
                composite=self._composite(number),
                sensor=picture.image.sensor or "",
                crs=picture.image.georef.crs if picture.image.georef else None,
                size_px=size_px,
                sent_size_px=placement.sent_px,
                time=datetime.now(UTC).isoformat(timespec="seconds"),
                version=__version__,
                seconds=round(time.perf_counter() - began, 3),
            ),
            boxes=evidence.said_boxes(done.text, dialect, question, size_px, sent_px, placement),
            masks=tuple(cover.mask for cover in measured if cover.mask is not None),
            numbers=(*said, *(number for cover in measured for number in cover.numbers)),
            confidence=None if math.isnan(done.confidence) else done.confidence,
            options=dict(done.options),
        )

    def _composite(self, number: int) -> str:
        if len(self.pictures) == 1:
            return self.pictures[0].raster.composite
        each = [f"image {place}: {seen.raster.composite}" for place, seen in enumerate(self.pictures, 1)]
        return "; ".join([*each, f"evidence lies on image {number + 1}"])


@dataclass(frozen=True)
class Assistant:
    """A model that is ready to be asked."""

    backend: Backend

    @staticmethod
    def open(model: str = "lhrs-nano", *, dtype: str = "auto", quantise: str = "none") -> Assistant:
        """Open a preset, a local folder or a hub id.

        Args:
            model: which one.
            dtype: `float32`, `bfloat16`, `float16`, or `auto` for the format in which the weights are stored.
            quantise: `8bit` or `4bit` for a smaller language model, through bitsandbytes, or `none`.

        Raises:
            LhrsError: the model is not known, its weights are missing or damaged, or this machine cannot quantise.
        """
        return Assistant(open_backend(model, dtype=dtype, quantise=quantise))

    def session(self) -> ChatSession:
        """Begin a conversation."""
        return ChatSession(self.backend)

    def ask(
        self,
        image: Source | Sequence[Source],
        question: str,
        *,
        max_new_tokens: int = 128,
        temperature: float | None = None,
        seed: int = 0,
    ) -> Answer:
        """Ask one question about one image or several; see `ChatSession.stream`.

        Args:
            image: an image, or a list of images in the order they are spoken of.
            question: plain language.
            max_new_tokens: the longest answer.
            temperature: 0 for the likeliest words, above for sampling; None: as the model was published.
            seed: of the sampling.

        Raises:
            LhrsError: an image cannot be read, the question is empty, or a setting is out of range.
        """
        with self.session() as session:
            several = isinstance(image, list | tuple)
            for source in cast("Sequence[Source]", image) if several else [cast("Source", image)]:
                session.add_image(source)
            return session.ask(question, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
