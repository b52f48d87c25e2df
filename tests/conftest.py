"""What every test can rely on: fixed seeds, no network, no model hub."""

from __future__ import annotations

import ipaddress
import os
import random
import shutil
import socket
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    PIP_NO_INDEX="1",
    GRADIO_ANALYTICS_ENABLED="False",
    TOKENIZERS_PARALLELISM="false",
    HYPOTHESIS_STORAGE_DIRECTORY=".pytest_cache/hypothesis",
)
from lhrs_chat.models import torchvision_guard  # reads what was just set, and comes before transformers

torchvision_guard.install()
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_REAL_CONNECT = socket.socket.connect
_REAL_CONNECT_EX = socket.socket.connect_ex
_REAL_GETADDRINFO = socket.getaddrinfo


def _is_local(host: Any) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _refuse(host: Any) -> None:
    raise RuntimeError(f"a test tried to reach {host!r}: tests run without network")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets reach this computer only, by address and by name."""

    def guarded(real: Any) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
                _refuse(address[0])
            return real(self, address)

        return connect

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_local(host):
            _refuse(host)
        return _REAL_GETADDRINFO(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded(_REAL_CONNECT))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(_REAL_CONNECT_EX))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture(autouse=True)
def _seeds() -> Iterator[None]:
    """Start every test from the same random state; torch only where a test module has loaded it."""
    random.seed(0)
    np.random.seed(0)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(min(2, os.cpu_count() or 1))
    yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def tab() -> Iterator[Any]:
    """A tab of a headless Chromium for one static page; the test fails when the page reaches out or throws."""
    from playwright.sync_api import sync_playwright

    binary = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    assert binary is not None, "no Chromium found: make test-browser installs it"
    foreign: list[str] = []
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page(viewport={"width": 1280, "height": 1000})
        opened.on("request", lambda request: foreign.append(request.url))
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
        browser.close()
    assert [url for url in foreign if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in foreign if url.startswith("file:")]) == 1
    assert errors == []
