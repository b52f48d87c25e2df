"""The backend against a real server: `transformers serve` with a tiny model of random weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lhrs_chat import cli
from lhrs_chat.errors import LhrsError
from lhrs_chat.models.backends import Delta, Done, open_backend
from tests.lhrs_chat import test_backend_transformers as local

pytestmark = pytest.mark.slow

folder = local.folder
START_S = 120


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the tiny model; the name under which it is asked."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("hub")
    (home / "hub").mkdir()
    # The server of transformers would trip over a torchvision that does not fit the torch, so it sees none.
    without = "import importlib.util as u; real = u.find_spec; "
    without += "u.find_spec = lambda name, *more: None if name == 'torchvision' else real(name, *more); "
    without += "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", without, "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (home / "log").open("w+") as log:
        server = subprocess.Popen(
            command, env={**os.environ, "HF_HOME": str(home)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            if not ready(f"http://127.0.0.1:{port}/health", server):
                log.seek(0)
                pytest.fail(f"the server did not start: {log.read()[-2000:]}")
            yield f"openai:http://127.0.0.1:{port}/v1#{folder}"
        finally:
            server.terminate()
            server.wait(30)


def ready(url: str, server: subprocess.Popen[bytes]) -> bool:
    for _ in range(START_S * 10):
        try:
            with urllib.request.urlopen(url) as response:
                return bool(response.status == 200)
        except urllib.error.URLError:
            if server.poll() is not None:
                return False
            time.sleep(0.1)
    return False


def test_the_server_says_what_the_model_says_here(model: str, folder: Path) -> None:
    asked = [local.request(seed, question) for seed, question in enumerate(["what is here?", "roads?", "is it wet?"])]
    here = local.finished(local.TransformersBackend.open(folder, "tiny"), *asked)
    there = sorted(
        (event for event in open_backend(model).generate(asked) if isinstance(event, Done)), key=lambda e: e.request
    )
    # The server leaves out half a character at the end.
    assert [(done.text.rstrip("\ufffd"), done.tokens) for done in there] == [
        (done.text.rstrip("\ufffd"), done.tokens) for done in here
    ]
    assert len({done.text for done in there}) == 3


def test_words_come_one_by_one(model: str) -> None:
    events = list(open_backend(model).generate([local.request(1, "roads?", max_new_tokens=60)]))
    pieces = [event.text for event in events if isinstance(event, Delta)]
    assert isinstance(events[-1], Done) and events[-1].tokens == 60
    assert len(pieces) > 3 and "".join(pieces) == events[-1].text


def test_stop_ends_a_long_answer(model: str) -> None:
    stop = threading.Event()
    done = None
    for event in open_backend(model).generate([local.request(1, "roads?", max_new_tokens=100_000)], stop):
        stop.set()
        done = event
    assert isinstance(done, Done) and done.stopped and done.text


def test_another_model_is_refused_in_the_servers_words(model: str) -> None:
    wrong = open_backend(model + "-large")
    with pytest.raises(LhrsError, match="status 400") as caught:
        list(wrong.generate([local.request(0, "?")]))
    assert "pinned" in str(caught.value.found)


def test_the_command_asks_the_server(model: str, coast: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--json", "--max-new-tokens", "8", "--temperature", "0", "--model", model]
    assert cli.main(["ask", str(coast), "What is this?", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["text"] and said["confidence"] is None
    assert said["provenance"]["model"] == model
