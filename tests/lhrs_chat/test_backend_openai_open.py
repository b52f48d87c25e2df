"""How a server and its model are found from `openai:URL#MODEL`."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from lhrs_chat.errors import ConfigError, LhrsError
from lhrs_chat.models.backends import open_backend
from lhrs_chat.models.backends import openai as module
from lhrs_chat.models.backends._server import Server
from lhrs_chat.models.backends.openai import Address
from tests.theatre import Play, Theatre, listing, playing, status


@pytest.fixture
def theatre(monkeypatch: pytest.MonkeyPatch) -> Iterator[Theatre]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with playing() as server:
        yield server


def test_a_key_that_cannot_be_sent(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\N{EURO SIGN}secret")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        open_backend(f"openai:{theatre.url}#tiny")
    assert "secret" not in str(caught.value)


def test_open_takes_the_only_model(theatre: Theatre) -> None:
    backend = open_backend(f"openai:{theatre.url}")
    assert backend.name == f"openai:{theatre.url}#tiny"
    assert backend.weights_sha256 == open_backend(f"openai:{theatre.url}/#tiny").weights_sha256
    theatre.models = listing("tiny", "other")
    with pytest.raises(ConfigError, match="tiny, other"):
        open_backend(f"openai:{theatre.url}")
    assert open_backend(f"openai:{theatre.url}#other").weights_sha256 != backend.weights_sha256
    assert backend.weights_sha256.startswith("server:")


@pytest.mark.parametrize(
    ("models", "warning"),
    [
        (status(404), ""),
        (status(500), "does not list its models (status 500)"),
        (listing(), ""),
        (listing("tini"), "does not list tiny: did you mean tini?"),
    ],
)
def test_a_named_model_need_not_be_listed(
    theatre: Theatre, models: Play, warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    theatre.models = models
    assert open_backend(f"openai:{theatre.url}#tiny").name.endswith("#tiny")
    assert theatre.listed == 1
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == bool(warning) and warning in "".join(warned)


def test_open_refuses_what_is_not_there(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Server", lambda *of: Server(*of, tries=2, pause_s=0.001))
    theatre.models = status(403)
    with pytest.raises(LhrsError, match="status 403"):
        open_backend(f"openai:{theatre.url}#tiny")
    theatre.models = status(200, "<html>A web page</html>")
    with pytest.raises(LhrsError, match="A web page"):
        open_backend(f"openai:{theatre.url}#tiny")
    theatre.models = status(200, '{"models": 3}')
    with pytest.raises(LhrsError, match="lists no models"):
        open_backend(f"openai:{theatre.url}#tiny")
    theatre.models = listing()
    with pytest.raises(ConfigError, match="lists 0"):
        open_backend(f"openai:{theatre.url}")
    theatre.server_close()
    with pytest.raises(LhrsError, match="cannot be reached") as caught:
        open_backend(f"openai:{theatre.url}#tiny")
    assert theatre.url in str(caught.value) and "start the server" in caught.value.next_step


def test_precision_is_the_servers_choice(theatre: Theatre) -> None:
    with pytest.raises(ConfigError, match="bfloat16"):
        open_backend(f"openai:{theatre.url}#tiny", dtype="bfloat16")


@pytest.mark.parametrize(
    ("model", "dialect"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "json_model"),
        ("qwen2_5_vl_72b", "json_model"),
        ("Qwen/Qwen3-VL-8B-Instruct", "json1000"),
        ("qwen2-vl:7b", "box_tokens1000"),
        ("OpenGVLab/InternVL3-8B", "box_tag1000"),
        ("MBZUAI/geochat-7B", "angles100_turned"),
        ("LHRS-Bot-Nova", "bbox_tag1"),
        ("LHRS-Bot", "brackets1"),
        ("lhrs-nano", "brackets100"),
        ("llava-hf/llava-1.5-7b-hf", "brackets1"),
        ("my-model", "brackets1"),
    ],
)
def test_the_name_tells_the_dialect(theatre: Theatre, model: str, dialect: str) -> None:
    assert open_backend(f"openai:{theatre.url}#{model}").dialect == dialect
    assert open_backend(f"openai:{theatre.url}?dialect=brackets_pixel#{model}").dialect == "brackets_pixel"


def test_parts_of_an_address() -> None:
    read = Address.read("openai:https://host.example:8443/api/v1/?timeout_s=7.5&dialect=json1000#org/name#2")
    assert read == Address("https://host.example:8443/api/v1", "org/name#2", "json1000", 7.5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("openai:", "no address"),
        ("openai:127.0.0.1:8000/v1#m", "no address"),
        ("openai:ftp://host/v1#m", "no address"),
        ("openai:http:///v1#m", "no address"),
        ("openai:http://host:port/v1#m", "no address"),
        ("openai:http://[::1/v1#m", "no address"),
        ("openai:http://ho st/v1#m", "no address"),
        ("openai:http://ho\nst/v1#m", "no address"),
        ("openai:http://user:hunter2@host/v1#m", "OPENAI_API_KEY"),
        ("openai:http://host/v1?api_key=hunter2#m", "api_key"),
        ("openai:http://host/v1?dialect=klingon#m", "klingon"),
        ("openai:http://host/v1?timeout_s=soon#m", "soon"),
        ("openai:http://host/v1?timeout_s=0#m", "timeout_s"),
        ("openai:http://host/v1?timeout_s=nan#m", "timeout_s"),
    ],
)
def test_addresses_that_are_none(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_backend(name)
    assert said in str(caught.value) and "hunter2" not in str(caught.value)
