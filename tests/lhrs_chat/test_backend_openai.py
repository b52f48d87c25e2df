"""The backend against a server that plays every fault from a script."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
import logging
import math
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lhrs_chat import cli
from lhrs_chat.chat import ChatSession
from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.models.backends import Delta, Done, Request, open_backend
from lhrs_chat.models.backends import openai as module
from lhrs_chat.models.backends._reply import Reply, weigh
from lhrs_chat.models.backends._server import Server
from lhrs_chat.models.backends.openai import OpenAIBackend
from lhrs_chat.schema import Box, Message, Part
from tests.theatre import Handler, Play, Theatre, hangs, hangs_up, piece, playing, says, status, streams, tears


@pytest.fixture
def theatre(monkeypatch: pytest.MonkeyPatch) -> Iterator[Theatre]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with playing() as server:
        yield server


def backend_of(theatre: Theatre, dialect: str = "brackets1", timeout_s: float = 20.0) -> OpenAIBackend:
    server = Server(theatre.url, "", timeout_s, tries=3, pause_s=0.001)
    return OpenAIBackend(f"openai:{theatre.url}#tiny", server, "tiny", dialect)


def picture(seed: int = 0, width: int = 40, height: int = 28) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def request(question: str = "what is here?", **extra: Any) -> Request:
    return dataclasses.replace(Request((Message.of("user", question, images=(0,)),), (picture(),)), **extra)


def finished(backend: OpenAIBackend, *requests: Request) -> list[Done]:
    done = [event for event in backend.generate(requests) if isinstance(event, Done)]
    return sorted(done, key=lambda event: event.request)


def sent_picture(part: dict[str, Any]) -> PIL.Image.Image:
    head, _, data = part["image_url"]["url"].partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    opened = PIL.Image.open(io.BytesIO(base64.b64decode(data)))
    assert opened.format is not None and head == f"data:image/{opened.format.lower()};base64"
    return opened


def test_an_answer_streams(theatre: Theatre) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}}
    theatre.script = [says(" A", " qu", "ay", ".", "\n", after=(usage, "[DONE]"))]
    events = list(backend_of(theatre).generate([request(max_new_tokens=17, temperature=0.5, seed=3)]))
    assert [event.text for event in events if isinstance(event, Delta)] == ["A", " qu", "ay", "."]
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.request, done.text, done.tokens, done.stopped) == (0, "A quay.", 5, False)
    assert math.isnan(done.confidence) and done.options == {}
    assert done.placement == Placement.whole((40, 28))
    ((path, headers, body),) = theatre.asked
    assert path == "/v1/chat/completions" and "Authorization" not in headers
    assert (body["model"], body["max_tokens"], body["temperature"], body["seed"]) == ("tiny", 17, 0.5, 3)
    (turn,) = body["messages"]
    shown, words = turn["content"]
    assert turn["role"] == "user" and words == {"type": "text", "text": "what is here?"}
    assert np.array_equal(np.asarray(sent_picture(shown)), picture())
    assert json.loads(done.prompt) == [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "image 0"}}, words]}
    ]


def test_temperature_may_be_left_to_the_server(theatre: Theatre) -> None:
    theatre.script = [says("x")]
    finished(backend_of(theatre), request(temperature=None), request(temperature=0.0))
    assert sorted(body.get("temperature", "none") == "none" for body in theatre.bodies) == [False, True]


def test_confidence_is_the_mean_probability_of_the_tokens(theatre: Theatre) -> None:
    def token(text: str, chance: float) -> dict[str, Any]:
        return piece(text, logprobs={"content": [{"token": text, "logprob": math.log(chance), "top_logprobs": []}]})

    theatre.script = [streams(token("a", 0.5), token("b", 0.25), piece("", "stop"))]
    (done,) = finished(backend_of(theatre), request())
    assert theatre.bodies[0]["logprobs"] is True
    assert (done.confidence, done.tokens) == (pytest.approx(0.375), 2)


def test_choices_are_weighed_by_the_first_token(theatre: Theatre) -> None:
    top = [("A", 0.6), (" B", 0.2), ("The", 0.1)]
    rows = [{"token": word, "logprob": math.log(chance)} for word, chance in top]
    first = {"content": [{"token": "A", "logprob": math.log(0.6), "top_logprobs": rows}]}
    theatre.script = [streams(piece("A", logprobs=first), piece(".", "stop"))]
    (done,) = finished(backend_of(theatre), request(choices=("A", "B", "C")))
    assert theatre.bodies[0]["top_logprobs"] == 20
    assert done.options == {"A": pytest.approx(0.75), "B": pytest.approx(0.25), "C": 0.0}


@pytest.mark.parametrize(
    ("choices", "first", "options"),
    [
        (("yes", "no"), {"Yes": 0.3, "yes": 0.3, "NO": 0.2}, {"yes": 0.75, "no": 0.25}),
        (("(A)", "(B)"), {"A": 0.3, "(B": 0.1}, {"(A)": 0.75, "(B)": 0.25}),
        (("dense forest", "dense housing"), {"dense": 0.9, "housing": 0.1}, {}),
        (("water", "waterway"), {"water": 0.01, "waterw": 0.5}, {"water": 0.0, "waterway": 1.0}),
        (("A", "B"), {"": 0.5, " ": 0.3}, {}),
        (("A", "B"), {}, {}),
        ((), {"A": 1.0}, {}),
    ],
)
def test_weights_of_choices(choices: tuple[str, ...], first: dict[str, float], options: dict[str, float]) -> None:
    assert weigh(choices, first) == pytest.approx(options)


def test_a_batch_runs_at_once_and_comes_as_it_ends(theatre: Theatre) -> None:
    second_is_out = threading.Event()

    def play(handler: Handler) -> None:
        question = handler.body["messages"][0]["content"][-1]["text"]
        if question == "first?":
            assert second_is_out.wait(20)
        says(f"to {question}")(handler)

    theatre.script = [play]
    events = []
    for event in backend_of(theatre).generate([request("first?"), request("second?")]):
        events.append(event)
        second_is_out.set()
    assert [(event.request, event.text) for event in events] == [(1, "to second?"), (0, "to first?")]
    assert all(isinstance(event, Done) for event in events)


def test_no_requests_no_answers(theatre: Theatre) -> None:
    assert list(backend_of(theatre).generate([])) == []


def test_pictures_keep_their_places_between_the_words(theatre: Theatre) -> None:
    theatre.script = [says("x")]
    messages = (
        Message.of("system", "Be short."),
        Message("user", (Part("text", text="Before "), Part("image", image=1), Part("text", text="after "))),
        Message.of("assistant", "A quay."),
        Message("user", (Part("image", image=0), Part("text", text="And "), Part("text", text="this?"))),
    )
    (done,) = finished(backend_of(theatre), Request(messages, (picture(0), picture(1, 33, 44))))
    system, first, answer, second = theatre.bodies[0]["messages"]
    assert (system["content"], answer["content"]) == ("Be short.", "A quay.")
    assert [part.get("text") for part in first["content"]] == ["Before ", None, "after "]
    assert sent_picture(first["content"][1]).size == (33, 44)
    assert sent_picture(second["content"][0]).size == (40, 28)
    assert second["content"][1:] == [{"type": "text", "text": "And this?"}]
    assert done.placement == Placement.whole((40, 28))


def test_words_alone_are_sent_as_text(theatre: Theatre) -> None:
    theatre.script = [says("hello")]
    (done,) = finished(backend_of(theatre), Request((Message.of("user", "hi"),)))
    assert theatre.bodies[0]["messages"] == [{"role": "user", "content": "hi"}]
    assert done.placement is None


def test_a_model_that_counts_in_a_grid_gets_pictures_of_that_grid(theatre: Theatre) -> None:
    theatre.script = [says("x")]
    backend = backend_of(theatre, dialect="json_model")
    region = Part("region", region=Box((10, 7, 20, 14), "pixel"), image=0)
    message = Message("user", (Part("image", image=0), Part("text", text="What is in "), region))
    (done,) = finished(backend, Request((message,), (picture(0, 500, 333),)))
    shown, words = theatre.bodies[0]["messages"][0]["content"]
    assert sent_picture(shown).size == (504, 336)
    assert done.placement == Placement.whole((500, 333), (504, 336))
    assert words["text"] == 'What is in {"bbox_2d": [10, 7, 20, 14]}'


def test_large_pictures_are_made_smaller_and_packed_tighter(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PIXELS", 500)
    monkeypatch.setattr(module, "PNG_MAX_BYTES", 100)
    theatre.script = [says("x")]
    (done,) = finished(backend_of(theatre), request())
    sent = sent_picture(theatre.bodies[0]["messages"][0]["content"][0])
    assert sent.format == "JPEG" and sent.width * sent.height <= 500
    assert done.placement == Placement.whole((40, 28), sent.size)


@pytest.mark.parametrize(
    "wrong",
    [
        Request((Message.of("user", "hi"),), (picture(),)),
        Request((Message.of("user", "hi", images=(0,)),)),
        Request((Message.of("user", "hi", images=(0, 1)),), (picture(),)),
        Request((Message("user", (Part("image", image=0), Part("region"))),), (picture(),)),
        Request((Message.of("user", "hi", images=(0,)),), (picture(0, 900, 2),)),
    ],
)
def test_requests_that_cannot_be_sent(theatre: Theatre, wrong: Request) -> None:
    with pytest.raises(DataError):
        finished(backend_of(theatre), wrong)
    assert not theatre.asked


FAULTS: dict[str, Play] = {
    "status 500": status(500),
    "status 502": status(502, "<html>Bad gateway</html>"),
    "status 429": status(429, Retry_After="0"),
    "status 503": status(503, Retry_After=formatdate(0)),
    "broke off": tears,
    "ended after": streams(piece("A qu")),
    "is silent": hangs(piece("A qu")),
    "no chat completion": streams(piece("A qu"), '{"choices": [{"delta": {"con'),
    "is no chat completion": status(200, "<html>Welcome</html>"),
    "[1, 2]": streams([1, 2]),
    "three": streams({"choices": [{"delta": {"content": 3, "says": "three"}}]}),
    "reported an error": streams(piece("A qu"), {"error": {"message": "out of memory", "code": 500}}),
    "out of memory": streams({"error": "out of memory"}),
    "old error": streams({"object": "error", "message": "old error", "code": 503}),
    "Disconnected": hangs_up,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_is_asked_again(theatre: Theatre, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    theatre.script = [FAULTS[fault], says("A qu", "ay.")]
    backend = backend_of(theatre, timeout_s=2.0 if fault == "is silent" else 20.0)
    events = list(backend.generate([request()]))
    assert isinstance(events[-1], Done) and events[-1].text == "A quay."
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "A quay."
    assert len(theatre.asked) == 2
    assert theatre.url in caplog.text and "try 2 of 3" in caplog.text


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_one_clear_error(theatre: Theatre, fault: str) -> None:
    theatre.script = [FAULTS[fault]]
    backend = backend_of(theatre, timeout_s=0.2 if fault == "is silent" else 20.0)
    with pytest.raises(LhrsError) as caught:
        finished(backend, request(), request())
    said = str(caught.value).replace("RemoteProtocolError: Server disconnected", "Disconnected")
    assert said.startswith(theatre.url) and fault in said and "3 tries" in said
    assert caught.value.next_step
    assert len(theatre.asked) <= 6


@pytest.mark.parametrize(
    ("play", "found", "advice"),
    [
        (status(400, '{"detail": "This model takes no image input"}'), "takes no image", "a model that sees pictures"),
        (status(400, "max context is 100 tokens"), "max context is 100 tokens", "the server's words"),
        (status(401), "the words of the server", "OPENAI_API_KEY"),
        (status(404, "no such route"), "no such route", "ends in /v1"),
        (status(413, ""), "no words", "smaller picture"),
        (status(429, "busy", Retry_After="3600"), "busy; it asks to wait 3600 s", "ask later"),
        (status(307, "elsewhere", Location="http://127.0.0.1:9/"), "elsewhere", "the server's words"),
        (streams({"error": {"message": "prompt too long", "code": 400}}), "prompt too long", "server's log"),
    ],
)
def test_what_will_not_pass_is_refused_at_once(theatre: Theatre, play: Play, found: str, advice: str) -> None:
    theatre.script = [play]
    with pytest.raises(LhrsError) as caught:
        finished(backend_of(theatre), request())
    assert len(theatre.asked) == 1
    assert found in str(caught.value.found) and advice in caught.value.next_step


def test_another_answer_after_a_break_is_not_glued_to_the_first(theatre: Theatre) -> None:
    theatre.script = [streams(piece("A qu")), says("The sea.")]
    with pytest.raises(LhrsError, match="another answer"):
        finished(backend_of(theatre), request())
    theatre.asked.clear()
    assert [done.text for done in finished(backend_of(theatre), request(), request())] == ["The sea."] * 2


def test_a_break_after_the_end_costs_nothing(theatre: Theatre) -> None:
    theatre.script = [streams(piece("A quay.", "stop"), "{torn")]
    (done,) = finished(backend_of(theatre), request())
    assert (done.text, len(theatre.asked)) == ("A quay.", 1)


def test_a_whole_answer_instead_of_a_stream(theatre: Theatre) -> None:
    whole = {
        "choices": [{"message": {"role": "assistant", "content": "A quay."}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 3},
    }
    theatre.script = [status(200, json.dumps(whole))]
    events = list(backend_of(theatre).generate([request()]))
    assert [event.text for event in events] == ["A quay.", "A quay."]
    assert isinstance(events[-1], Done) and events[-1].tokens == 3


def test_the_mark_of_the_end_is_enough(theatre: Theatre) -> None:
    theatre.script = [streams(piece("A quay."), "[DONE]")]
    assert finished(backend_of(theatre), request())[0].text == "A quay."


def test_a_refusal_is_what_the_model_says(theatre: Theatre) -> None:
    theatre.script = [streams({"choices": [{"delta": {"refusal": "I cannot."}, "finish_reason": "stop"}]})]
    assert finished(backend_of(theatre), request())[0].text == "I cannot."


def test_an_answer_without_words_is_said_aloud(theatre: Theatre, caplog: pytest.LogCaptureFixture) -> None:
    theatre.script = [says("", " ", finish="content_filter")]
    (done,) = finished(backend_of(theatre), request())
    assert done.text == "" and "no words" in caplog.text and "content_filter" in caplog.text


def test_thoughts_that_leave_no_room_for_an_answer(theatre: Theatre) -> None:
    thought = {"choices": [{"delta": {"reasoning_content": "Well,"}}]}
    theatre.script = [streams(thought, piece("", "length"))]
    with pytest.raises(LhrsError, match="still thinking"):
        finished(backend_of(theatre), request())


def picky(*refused: str, code: int = 400) -> Play:
    def play(handler: Handler) -> None:
        wrong = [name for name in refused if name in handler.body]
        (status(code, f"Unexpected fields: {wrong[0]}") if wrong else says("A quay."))(handler)

    return play


@pytest.mark.parametrize("code", [400, 422])
def test_fields_that_a_server_refuses_are_left_out(
    theatre: Theatre, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    theatre.script = [picky("top_logprobs", "logprobs", "seed", "stream_options", code=code)]
    backend = backend_of(theatre)
    asked = request(choices=("A", "B"))
    assert finished(backend, asked)[0].text == "A quay."
    assert len(theatre.asked) == 5 and "takes no seed" in caplog.text
    caplog.clear()
    assert finished(backend, asked)[0].text == "A quay."
    assert len(theatre.asked) == 6 and not caplog.text
    assert set(theatre.bodies[-1]) == {"model", "messages", "stream", "temperature", "max_tokens"}


def test_the_newer_name_of_the_limit(theatre: Theatre) -> None:
    def play(handler: Handler) -> None:
        old = "max_tokens" in handler.body
        words = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        (status(400, words) if old else says("A quay."))(handler)

    theatre.script = [play]
    assert finished(backend_of(theatre), request(max_new_tokens=9))[0].text == "A quay."
    assert theatre.bodies[-1]["max_completion_tokens"] == 9


def test_the_key_is_sent_and_never_shown(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    caplog.set_level(logging.DEBUG)

    def echo(handler: Handler) -> None:
        handler.answer(f"rejected {handler.headers['Authorization']}", 500 if len(theatre.asked) == 1 else 401)

    theatre.script = [echo]
    backend = open_backend(f"openai:{theatre.url}")
    assert isinstance(backend, OpenAIBackend)
    backend.server.pause_s = 0.001
    with pytest.raises(LhrsError) as caught:
        finished(backend, request())
    assert theatre.asked[-1][1]["Authorization"] == "Bearer sk-secret-1"
    assert "rejected Bearer ***" in str(caught.value) and "rejected Bearer ***" in caplog.text
    shown = [str(caught.value), caplog.text, backend.name, backend.weights_sha256, repr(vars(backend))]
    assert not any("secret" in text for text in shown)


def test_stop_keeps_what_was_said(theatre: Theatre) -> None:
    theatre.script = [hangs(piece("A qu"), piece("ay "))]
    stop = threading.Event()
    events = []
    for event in backend_of(theatre).generate([request()], stop):
        events.append(event)
        if event.text == "ay":
            stop.set()
    assert [event.text for event in events] == ["A qu", "ay", "A quay"]
    assert isinstance(events[-1], Done) and events[-1].stopped


def test_stop_ends_every_request_of_a_batch(theatre: Theatre) -> None:
    stop = threading.Event()

    def play(handler: Handler) -> None:
        if len(theatre.asked) == 2:
            stop.set()
        hangs(piece("A qu"))(handler)

    theatre.script = [play]
    done = list(backend_of(theatre).generate([request(), request()], stop))
    assert sorted(event.request for event in done) == [0, 1]
    assert all(isinstance(event, Done) and event.stopped for event in done)


def test_leaving_early_hangs_up(theatre: Theatre) -> None:
    gone = threading.Event()

    def play(handler: Handler) -> None:
        handler.begin()
        try:
            while not theatre.over.is_set():
                handler.send(piece("on and "))
                time.sleep(0.001)
        except OSError:
            gone.set()

    theatre.script = [play]
    events = backend_of(theatre).generate([request()])
    next(events)
    events.close()
    assert gone.wait(20)


def test_it_works_where_a_loop_is_running(theatre: Theatre) -> None:
    theatre.script = [says("A quay.")]

    async def cell() -> list[Done]:
        return finished(open_backend(f"openai:{theatre.url}"), request())

    assert asyncio.run(cell())[0].text == "A quay."


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=20), st.integers(1, 5))
def test_halves_of_a_character_come_together(text: str, step: int) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    pieces = [units[i : i + 2 * step].decode("utf-16-le", "surrogatepass") for i in range(0, len(units), 2 * step)]
    reply = Reply()
    said = ""
    for part in pieces:
        reply.take(piece(part))
        assert reply.text.startswith(said)
        said = reply.text
    reply.take(piece("", "stop"))
    assert reply.text == text.strip() and reply.text.startswith(said)


def test_a_session_over_a_server(theatre: Theatre, coast: Any) -> None:
    theatre.script = [says("The lake is at [0.00,0.10,0.25,0.50]."), says("Yes.")]
    with ChatSession(backend_of(theatre)) as session:
        session.add_image(coast)
        answer = session.ask("Where is the lake?")
        session.ask("Is it large?")
    assert [box.label for box in answer.boxes] == ["lake"]
    assert answer.confidence is None
    assert answer.provenance.model == f"openai:{theatre.url}#tiny"
    turns = theatre.bodies[1]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"] == "The lake is at [0.00,0.10,0.25,0.50]."


def test_the_command_over_a_server(theatre: Theatre, coast: Any, capsys: pytest.CaptureFixture[str]) -> None:
    theatre.script = [says("A coast.")]
    assert cli.main(["ask", str(coast), "What is this?", "--json", "--model", f"openai:{theatre.url}#tiny"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["text"], said["confidence"]) == ("A coast.", None)
    theatre.script = [status(400, "no images here")]
    assert cli.main(["ask", str(coast), "What is this?", "--model", f"openai:{theatre.url}#tiny"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "status 400" in printed.err and "Traceback" not in printed.err
