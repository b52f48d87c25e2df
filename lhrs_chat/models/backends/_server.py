"""A model server over HTTP: asked again where that may help, refused in plain words where it does not."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from email.utils import mktime_tz, parsedate_tz
from functools import cache
from typing import Any, NoReturn, TypeVar

import httpx2

from lhrs_chat.errors import LhrsError

T = TypeVar("T")

log = logging.getLogger(__name__)
logging.getLogger("httpx2").setLevel(logging.WARNING)  # else a line for each request

KEY_VARIABLE = "OPENAI_API_KEY"
CONNECT_S = 10.0
LONGEST_PAUSE_S = 60.0
SHOWN_CHARS = 200
PASSING = {408, 409, 425, 429}  # and everything from 500 on but 501 and 505
NO_MODELS = {404, 405, 501}  # a server without a list of its models


class Fault(Exception):
    """One try that failed.

    Args:
        what: the rest of a sentence that begins with the server's address.
        found: what the server said or did.
        advice: what the user can do.
        passing: another try may succeed.
        status: of HTTP, 0 where there was none.
        body: all that the server said.
        wait_s: how long the server asks to be left alone.
    """

    def __init__(
        self,
        what: str,
        *,
        found: str = "",
        advice: str = "look into the server's log",
        passing: bool = True,
        status: int = 0,
        body: str = "",
        wait_s: float | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.found = found
        self.advice = advice
        self.passing = passing
        self.status = status
        self.body = body
        self.wait_s = wait_s


class Server:
    """One server.

    Args:
        url: up to and without the last slash, e.g. `http://127.0.0.1:8000/v1`.
        key: sent with every request, never logged; empty for none.
        timeout_s: how long the server may be silent.
        tries: of every request.
        pause_s: before the second try; it doubles with each further one.
    """

    def __init__(self, url: str, key: str, timeout_s: float, *, tries: int = 4, pause_s: float = 0.5) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self.tries = tries
        self.pause_s = pause_s
        self._key = key
        # A proxy that is set for the network is of no use on the way to this computer.
        self._trust_env = httpx2.URL(url).host not in ("localhost", "127.0.0.1", "::1")

    def client(self) -> httpx2.AsyncClient:
        """Open a pool of connections."""
        return httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(self.timeout_s, connect=CONNECT_S),
            trust_env=self._trust_env,
            verify=_certificates(),
        )

    async def patiently(self, once: Callable[[], Awaitable[T]]) -> T:
        """Try until it succeeds, cannot succeed, or was tried often enough.

        Raises:
            LhrsError: it did not succeed.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return await once()
            except Fault as fault:
                pause_s = self.pause_s * 2 ** (attempt - 1) if fault.wait_s is None else fault.wait_s
                if not fault.passing or attempt == self.tries or pause_s > LONGEST_PAUSE_S:
                    self._give_up(fault, attempt)
                log.warning(
                    "%s %s (%s); try %d of %d in %.1f s",
                    *(self.url, fault.what, self.excerpt(fault.found), attempt + 1, self.tries, pause_s),
                )
                await asyncio.sleep(pause_s)

    async def models(self, client: httpx2.AsyncClient) -> list[str] | None:
        """Return the ids of the models that the server lists; None where it has no list.

        Raises:
            Fault: it cannot be had.
        """
        try:
            response = await client.get(f"{self.url}/models")
        except httpx2.HTTPError as error:
            raise self._broken(error) from error
        if response.status_code in NO_MODELS:
            return None
        if response.status_code != 200:
            raise self._refused(response.status_code, response.headers, response.text)
        rows = _object(response.text).get("data")
        if not isinstance(rows, list):
            raise Fault("lists no models", found=response.text, advice="check the URL, it usually ends in /v1")
        return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row]

    async def post(
        self, client: httpx2.AsyncClient, body: dict[str, Any], take: Callable[[dict[str, Any]], None]
    ) -> bool:
        """Send one request, hand each object of the answer to `take`, and say whether the server called it complete.

        Raises:
            Fault: the request failed; `take` may have got a part of the answer.
        """
        try:
            async with client.stream("POST", f"{self.url}/chat/completions", json=body) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise self._refused(response.status_code, response.headers, response.text)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    await response.aread()
                    take(_object(response.text))
                    return True
                async for event in httpx2.EventSource(response):
                    if event.data.strip() == "[DONE]":
                        return True
                    take(_object(event.data))
                return False
        except httpx2.HTTPError as error:
            raise self._broken(error) from error

    def excerpt(self, text: str) -> str:
        """The first words of what a server said, on one line and without the key."""
        line = " ".join((text.replace(self._key, "***") if self._key else text).split())
        return line if len(line) <= SHOWN_CHARS else f"{line[:SHOWN_CHARS]} ..."

    def _broken(self, error: httpx2.HTTPError) -> Fault:
        """Say what went wrong on the way."""
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            return Fault(
                "cannot be reached", found=said, advice="start the server, or check the address and the network"
            )
        if isinstance(error, httpx2.TimeoutException):
            return Fault(
                "is silent",
                found=f"nothing for {self.timeout_s:g} s",
                advice="look into the server's log, or allow more time: ?timeout_s=SECONDS before the # of the model",
            )
        return Fault("broke off the answer", found=said)

    def _refused(self, status: int, headers: httpx2.Headers, body: str) -> Fault:
        """Say what a status means."""
        return Fault(
            f"answered with status {status}",
            found=body.strip() or "no words",
            advice=_advice(status, body),
            passing=status in PASSING or (status >= 500 and status not in (501, 505)),
            status=status,
            body=body,
            wait_s=_wait_s(headers.get("retry-after", "")),
        )

    def _give_up(self, fault: Fault, attempt: int) -> NoReturn:
        asked = f" ({attempt} tries)" if attempt > 1 else ""
        wait = f"; it asks to wait {fault.wait_s:.0f} s" if fault.wait_s is not None else ""
        raise LhrsError(
            f"{self.url} {fault.what}{asked}",
            found=f"{self.excerpt(fault.found)}{wait}",
            next_step=fault.advice,
        ) from fault


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust; reading that takes longer than many an answer."""
    return httpx2.create_ssl_context()


def _object(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except ValueError as error:
        raise malformed(text) from error
    if not isinstance(read, dict):
        raise malformed(text)
    return read


def malformed(text: str) -> Fault:
    """The fault of a server that answers in another form."""
    return Fault(
        "sent something that is no chat completion",
        found=text,
        advice="check that the URL is that of an OpenAI-compatible server; it usually ends in /v1",
    )


def _advice(status: int, body: str) -> str:
    if status in (401, 403):
        return f"set {KEY_VARIABLE} to a key of this server"
    if status == 404:
        return "check the URL, it usually ends in /v1, and the model's name"
    if status == 413:
        return "give a smaller picture"
    if status == 429:
        return "ask later, or fewer at once"
    if status >= 500:
        return "look into the server's log"
    if re.search(r"image|picture|vision|multi-?modal", body, re.IGNORECASE):
        return "take a model that sees pictures, and serve it so that it takes as many as are shown"
    return "the server's words say what it does not take"


def _wait_s(header: str) -> float | None:
    """Read Retry-After: seconds, or a date (RFC 9110, 10.2.3)."""
    if re.fullmatch(r"\d{1,9}(\.\d+)?", header, re.ASCII):
        return float(header)
    date = parsedate_tz(header)
    return None if date is None else max(0.0, mktime_tz(date) - time.time())
