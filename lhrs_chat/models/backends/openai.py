"""Any server of OpenAI's chat completions (vLLM, SGLang, llama.cpp, transformers serve ...) behind our protocol.

A model is named `openai:URL#MODEL`, e.g. `openai:http://127.0.0.1:8000/v1#Qwen/Qwen2.5-VL-7B-Instruct`. Without
`#MODEL` it is the one model that the server lists. Before the `#`, `?dialect=NAME` says how the model writes boxes if
its name does not tell, and `?timeout_s=SECONDS` how long the server may be silent. A key is read from OPENAI_API_KEY.

Several requests run at once and come back whole, in the order in which they end; one alone is streamed. What the server
does not tell stays unknown: `confidence` is nan where it gives no log-probabilities.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import logging
import math
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import httpx2
import numpy as np
from PIL import Image as PilImage
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from lhrs_chat.errors import ConfigError, DataError, LhrsError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.models.backends import Delta, Done, Request
from lhrs_chat.models.backends._reply import Reply, weigh
from lhrs_chat.models.backends._server import KEY_VARIABLE, Fault, Server
from lhrs_chat.models.weights import Precision
from lhrs_chat.plugins import nearest
from lhrs_chat.schema import Part
from lhrs_chat.text import grounding

log = logging.getLogger(__name__)

PREFIX = "openai:"
TIMEOUT_S = 180.0
AT_ONCE = 16
POLL_S = 0.05
TOP_LOGPROBS = 20  # the most that OpenAI and vLLM give
PNG_MAX_BYTES = 16 << 20  # a larger picture goes as JPEG, which most servers take up to 20 MB
MAX_PIXELS = 12_845_056  # what Qwen2.5-VL sees at most; larger pictures are made smaller, which the placement records
GRID_PX = 28  # Qwen2.5-VL counts in a picture whose sides are multiples of this

# How models write boxes, by a part of their name without signs; all others are taken to write [x1, y1, x2, y2] from 0
# to 1, as LLaVA does.
DIALECTS = {
    "qwen3vl": "json1000",
    "qwen25vl": "json_model",
    "qwen2vl": "box_tokens1000",
    "qwenvl": "box_pairs1000",
    "internvl": "box_tag1000",
    "geochat": "angles100_turned",
    "minigptv2": "angles100",
    "skyeyegpt": "angles100",
    "lhrsbotnova": "bbox_tag1",
    "lhrsnano": "brackets100",
}
DEFAULT_DIALECT = "brackets1"

# Fields that a server may refuse, and what is lost without them.
OPTIONAL = {
    "logprobs": "answers carry no confidence",
    "top_logprobs": "choices carry no probabilities",
    "seed": "sampled answers cannot be had again",
    "stream_options": "tokens are counted by the pieces that come",
}


@dataclass(frozen=True)
class Address:
    """A server, the model on it ('' for the only one), and the two options of the name."""

    url: str
    model: str = ""
    dialect: str = ""
    timeout_s: float = TIMEOUT_S

    @staticmethod
    def read(name: str) -> Address:
        """Read `openai:URL[?dialect=NAME&timeout_s=SECONDS][#MODEL]`.

        Raises:
            ConfigError: it is not of that form.
        """
        form = f"{PREFIX}http://HOST:PORT/v1[?dialect=NAME&timeout_s=SECONDS]#MODEL"
        given = name.removeprefix(PREFIX)
        try:
            parts = urlsplit(given)
            _ = parts.port  # reads it
        except ValueError as error:
            raise ConfigError("this is no address of a server", found=f"{name}: {error}", allowed=form) from error
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                "an address holds no password", found="user:password@", next_step=f"set {KEY_VARIABLE} to the key"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname or not given.isprintable() or " " in given:
            raise ConfigError("this is no address of a server", found=name, allowed=form)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(set(options) - {"dialect", "timeout_s"})
        if unknown:
            raise ConfigError("unknown option of a server's address", found=unknown[0], allowed="dialect, timeout_s")
        dialect = grounding.get(options["dialect"]).name if "dialect" in options else ""
        url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        return Address(url, parts.fragment, dialect, _seconds(options.get("timeout_s", str(TIMEOUT_S))))


@dataclass
class _Talk:
    """One request on its way."""

    number: int
    request: Request
    prompt: str = ""
    placement: Placement | None = None
    reply: Reply = field(default_factory=Reply)
    heard: str = ""  # what has been handed out
    done: bool = False


class OpenAIBackend:
    """Asks a model on a server.

    Args:
        name: how the model was asked for, with the model that was found.
        server: where it runs.
        model: its id there.
        dialect: how it writes boxes, a name of `grounding.DIALECTS`.
    """

    def __init__(self, name: str, server: Server, model: str, dialect: str) -> None:
        self.name = name
        self.server = server
        self.model = model
        self.dialect = dialect
        # A server does not show its weights. This tells servers and models apart, no more: hence the prefix.
        self.weights_sha256 = f"server:{hashlib.sha256(f'{server.url}#{model}'.encode()).hexdigest()}"
        self._refused: set[str] = set()
        self._limit = "max_tokens"

    @classmethod
    def open(cls, name: str, precision: Precision) -> Self:
        """Find the server and the model that `name` speaks of. How precise its weights are is the server's choice.

        Raises:
            ConfigError: the name is not of the form `openai:URL#MODEL`, a precision is asked for, or the key cannot be
                sent.
            LhrsError: the server is not there, does not let us in, or leaves open which model is meant.
        """
        if precision != Precision():
            raise ConfigError(
                "the precision of a model on a server is set there", found=str(precision), next_step="leave it out here"
            )
        address = Address.read(name)
        server = Server(address.url, _key(), address.timeout_s)
        with ThreadPoolExecutor(max_workers=1) as pool:  # the caller's thread may have a loop of its own
            model = pool.submit(asyncio.run, _find(server, address.model)).result()
        dialect = address.dialect or _dialect(model)
        log.info("%s: %s, boxes as %s", server.url, model, dialect)
        return cls(name if address.model else f"{name.rstrip('#')}#{model}", server, model, dialect)

    def generate(self, requests: Sequence[Request], stop: threading.Event | None = None) -> Iterator[Delta | Done]:
        """Answer the requests; see `Backend`. Several run at once, and each is given when it is complete.

        `confidence` is the mean probability of the tokens, nan where the server tells none. `options` weigh the choices
        by the first token of the answer; they are empty where the server does not tell, or that token does not decide.

        Raises:
            DataError: a request's messages and images do not fit together.
            LhrsError: the server failed for good.
        """
        events: queue.SimpleQueue[Delta | Done | None] = queue.SimpleQueue()
        left = threading.Event()

        def ended() -> bool:
            return left.is_set() or (stop is not None and stop.is_set())

        with ThreadPoolExecutor(max_workers=1) as pool:
            work = pool.submit(asyncio.run, self._answer_all(requests, events.put, ended))
            work.add_done_callback(lambda _: events.put(None))
            try:
                while (event := events.get()) is not None:
                    yield event
            finally:
                left.set()
            work.result()

    async def _answer_all(
        self, requests: Sequence[Request], emit: Callable[[Delta | Done], None], ended: Callable[[], bool]
    ) -> None:
        talks = [_Talk(number, request) for number, request in enumerate(requests)]
        room = asyncio.Semaphore(AT_ONCE)
        async with self.server.client() as client:

            async def hold(talk: _Talk) -> None:
                async with room:
                    await self._answer(client, talk, emit if len(talks) == 1 else None)
                talk.done = True
                emit(self._done(talk))

            tasks = [asyncio.create_task(hold(talk)) for talk in talks]
            waiting = set(tasks)
            try:
                while waiting and not ended():
                    ready, waiting = await asyncio.wait(waiting, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
                    for task in ready:
                        task.result()
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        for talk in talks:
            if not talk.done:
                emit(self._done(talk, stopped=True))

    async def _answer(
        self, client: httpx2.AsyncClient, talk: _Talk, emit: Callable[[Delta | Done], None] | None
    ) -> None:
        """Ask until there is a whole answer. `emit`: gets its words as they come; None keeps them to the end."""
        turns, talk.prompt, talk.placement = self._turns(talk.request)

        def take(event: dict[str, Any]) -> None:
            talk.reply.take(event)
            _speak(talk, emit)

        async def once() -> None:
            body = self._body(talk.request, turns)
            talk.reply = Reply()
            try:
                whole = await self.server.post(client, body, take)
            except Fault as fault:
                if self._give_way(body, fault):
                    await once()
                elif not talk.reply.ended:
                    raise
                return
            if not whole and not talk.reply.ended:
                raise Fault("broke off the answer", found=f"it ended after {talk.reply.said[-40:]!r}")
            talk.reply.ended = talk.reply.ended or "stop"
            _speak(talk, emit)

        await self.server.patiently(once)
        reply = talk.reply
        if not reply.text and reply.thought and reply.ended == "length":
            raise LhrsError(
                f"{self.model} was still thinking when its answer had to end",
                found=f"max_new_tokens={talk.request.max_new_tokens}",
                next_step="allow more tokens, or serve the model with thinking switched off",
            )
        if not reply.text:
            log.warning("%s answered with no words (it ended with %r)", self.model, reply.ended)

    def _body(self, request: Request, turns: list[dict[str, Any]]) -> dict[str, Any]:
        body = {
            "model": self.model,
            "messages": turns,
            "stream": True,
            self._limit: request.max_new_tokens,
            "seed": request.seed,
            "logprobs": True,
            "stream_options": {"include_usage": True},
        }
        if request.temperature is not None:  # None leaves it to the server
            body["temperature"] = request.temperature
        if request.choices:
            body["top_logprobs"] = TOP_LOGPROBS
        return {name: value for name, value in body.items() if name not in self._refused}

    def _give_way(self, body: dict[str, Any], fault: Fault) -> bool:
        """Do without what the server has just refused by name; False where it refused something else."""
        if fault.status not in (400, 422, 501):
            return False
        if "max_tokens" in body and "max_completion_tokens" in fault.body:
            self._limit = "max_completion_tokens"
            return True
        named = {name for name in OPTIONAL if name in body and re.search(rf"\b{name}\b", fault.body)}
        for name in sorted(named - self._refused):
            log.warning("%s takes no %s, so %s", self.server.url, name, OPTIONAL[name])
        self._refused |= named
        return bool(named)

    def _turns(self, request: Request) -> tuple[list[dict[str, Any]], str, Placement | None]:
        """Write a request as messages of the protocol, as a prompt without the pictures' bytes, and place its last one.

        Raises:
            DataError: the messages show an image that is not there, or none of those that are.
        """
        parts = [part for message in request.messages for part in message.content if part.type == "image"]
        shown = [part.image for part in parts if part.image is not None and 0 <= part.image < len(request.images)]
        if len(shown) < len(parts) or (request.images and not shown):
            raise DataError(
                "messages and images do not fit together",
                found=f"messages show {[part.image for part in parts]}, {len(request.images)} given",
                next_step="every image of a request is shown by a message part",
            )
        placements = [self._placement(image) for image in request.images]
        urls = {number: _data_url(request.images[number], placements[number].sent_px) for number in shown}

        def words(part: Part) -> str:
            if part.type != "region":
                return part.text
            number = part.image or 0
            if part.region is None or not 0 <= number < len(placements):
                raise DataError("a region needs a box and an image", found=part)
            return grounding.write(part.region, self.dialect, placements[number].original_px, placements[number])

        def written(url: Callable[[int], str]) -> list[dict[str, Any]]:
            return [{"role": turn.role, "content": _content(turn.content, words, url)} for turn in request.messages]

        prompt = json.dumps(written(lambda number: f"image {number}"), ensure_ascii=False)
        return written(lambda number: urls[number]), prompt, placements[shown[-1]] if shown else None

    def _placement(self, image: np.ndarray) -> Placement:
        """Say at what size `image`: (H, W, 3) is sent: its own, unless that is too large or off the model's grid."""
        height, width = image.shape[:2]
        grid_px = GRID_PX if grounding.get(self.dialect).frame == "model" else 1
        try:
            sent_height, sent_width = smart_resize(height, width, grid_px, 4 * grid_px**2, MAX_PIXELS)
        except ValueError as error:
            raise DataError("a picture is too narrow to be sent", found=f"{width} x {height} px: {error}") from error
        return Placement.whole((width, height), (sent_width, sent_height))

    def _done(self, talk: _Talk, *, stopped: bool = False) -> Done:
        reply = talk.reply
        return Done(
            talk.number,
            max(reply.text, talk.heard, key=len),
            confidence=reply.confidence,
            tokens=reply.counted,
            prompt=talk.prompt,
            options=weigh(talk.request.choices, reply.first),
            placement=talk.placement,
            stopped=stopped,
        )


def _speak(talk: _Talk, emit: Callable[[Delta | Done], None] | None) -> None:
    """Hand out what is new. A second try first repeats what was handed out of the one that broke off.

    Raises:
        Fault: it says something else instead.
    """
    text = talk.reply.text
    if emit is None or (len(text) <= len(talk.heard) and not talk.reply.ended):
        return
    if not text.startswith(talk.heard):
        found = f"first {talk.heard[-40:]!r}, then {text[-40:]!r}"
        raise Fault("gave another answer after it had broken off", found=found, advice="ask again", passing=False)
    if text != talk.heard:
        emit(Delta(talk.number, text[len(talk.heard) :]))
        talk.heard = text


def _content(
    parts: Sequence[Part], words: Callable[[Part], str], url: Callable[[int], str]
) -> str | list[dict[str, Any]]:
    """Write one turn: pictures and texts in their order, or just the text, which every server takes."""
    content: list[dict[str, Any]] = []
    for part in parts:
        if part.type == "image" and part.image is not None:
            content.append({"type": "image_url", "image_url": {"url": url(part.image)}})
        elif content and content[-1]["type"] == "text":
            content[-1]["text"] += words(part)
        else:
            content.append({"type": "text", "text": words(part)})
    if any(piece["type"] == "image_url" for piece in content):
        return content
    return "".join(piece["text"] for piece in content)


def _data_url(image: np.ndarray, sent_px: tuple[int, int]) -> str:
    """Write `image`: (H, W, 3), uint8 as PNG, or as JPEG where that is too large, in base64."""
    picture = PilImage.fromarray(image)
    if picture.size != sent_px:
        picture = picture.resize(sent_px, PilImage.Resampling.BICUBIC)
    packed = io.BytesIO()
    picture.save(packed, "PNG", compress_level=1)
    kind = "png"
    if packed.tell() > PNG_MAX_BYTES:
        packed = io.BytesIO()
        picture.save(packed, "JPEG", quality=95, subsampling=0)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(packed.getvalue()).decode()}"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ConfigError("timeout_s is a time", found=text, allowed="seconds, more than 0")
    return seconds


def _key() -> str:
    """Read the key from the environment; '' where there is none."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{KEY_VARIABLE} holds no key", found="signs that cannot be sent", allowed="printable ASCII")
    return key


def _dialect(model: str) -> str:
    """How a model of this name writes boxes."""
    plain = re.sub(r"[^a-z0-9]", "", model.lower())
    return next((dialect for part, dialect in DIALECTS.items() if part in plain), DEFAULT_DIALECT)


async def _find(server: Server, wanted: str) -> str:
    """Return the id of the model that is meant, having seen that the server is there."""

    async def once() -> list[str] | None:
        try:
            return await server.models(client)
        except Fault as fault:
            if not wanted or fault.status in (0, 401, 403):
                raise
            log.warning("%s does not list its models (status %d)", server.url, fault.status)
            return None

    async with server.client() as client:
        offered = await server.patiently(once) or []
    if not wanted and len(offered) != 1:
        raise ConfigError(
            "which model of the server?",
            found=f"{server.url} lists {len(offered)}",
            allowed=", ".join(offered) or None,
            next_step=f"name it: {PREFIX}{server.url}#MODEL",
        )
    if wanted and offered and wanted not in offered:
        log.warning("%s does not list %s: %s", server.url, wanted, nearest(wanted, offered) or ", ".join(offered))
    return wanted or offered[0]
