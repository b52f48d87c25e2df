"""A server of chat completions that plays from a script: good answers, and every way to fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Play = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Plays the next scene of the script for each POST, the last one again when it is over."""

    protocol_version = "HTTP/1.1"
    server: Theatre
    body: dict[str, Any]

    def do_GET(self) -> None:
        self.server.listed += 1
        self.server.models(self)

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append((self.path, dict(self.headers), self.body))
            play = self.server.script[min(len(self.server.asked), len(self.server.script)) - 1]
        play(self)

    def answer(self, body: str, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        packed = body.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(packed)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(packed)

    def begin(self) -> None:
        """Open a stream that ends when the connection closes."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()

    def send(self, *events: object) -> None:
        for event in events:
            data = event if isinstance(event, str) else json.dumps(event)
            self.wfile.write(f"data: {data}\n\n".encode())
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


class Theatre(ThreadingHTTPServer):
    """A server with a script, on this computer and at a free port."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.models: Play = listing("tiny")
        self.listed = 0
        self.script: list[Play] = []
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.over = threading.Event()  # lets scenes end that wait

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, _, body in self.asked]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the play."""


def piece(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish, **more}]}


def says(*words: str, finish: str = "stop", after: tuple[object, ...] = ("[DONE]",)) -> Play:
    def play(handler: Handler) -> None:
        handler.begin()
        handler.send({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        handler.send(*(piece(word) for word in words), piece("", finish), *after)

    return play


def listing(*ids: str) -> Play:
    return status(200, json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in ids]}))


def status(code: int, body: str = '{"error": {"message": "the words of the server"}}', **headers: str) -> Play:
    return lambda handler: handler.answer(body, code, **headers)


def streams(*events: object) -> Play:
    def play(handler: Handler) -> None:
        handler.begin()
        handler.send(*events)

    return play


def hangs(*events: object) -> Play:
    def play(handler: Handler) -> None:
        handler.begin()
        handler.send(*events)
        handler.server.over.wait(30)

    return play


def hangs_up(handler: Handler) -> None:
    handler.close_connection = True


def tears(handler: Handler) -> None:
    """Promise more than is sent."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.send(piece("A qu"))
    handler.close_connection = True


@contextmanager
def playing() -> Iterator[Theatre]:
    """Open a server, and close it with every scene that still waits."""
    with Theatre() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
