"""The page's functions, called as Gradio calls them, and the page itself through its API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import PIL.Image
import pytest
from gradio_client import Client, handle_file

from demo import __main__ as program
from demo import samples, web
from lhrs_chat.chat import Assistant
from lhrs_chat.errors import DataError, WeightsError


def texts(history: list[dict[str, Any]]) -> list[str]:
    return [turn["content"] for turn in history]


def ask(assistant: Assistant, text: str, files: list[Path], history: Any = None, state: Any = None) -> list[list[Any]]:
    message = {"text": text, "files": [str(file) for file in files]}
    return list(web.answer(assistant, message, history, state))


def test_an_answer_streams_and_ends_with_its_evidence(assistant: Assistant, samples_folder: Path) -> None:
    steps = ask(assistant, "Where is the harbour?", [samples_folder / "coast.tif"])
    assert [texts(step[1])[1:] for step in steps[:3]] == [[], ["It "], ["It is "]]
    entry, history, state, picture, seen, download, note = steps[-1]
    assert entry["submit_btn"] is True
    assert history[0]["content"] == "*coast.tif*\n\nWhere is the harbour?"
    assert history[1]["content"].startswith("It is at [25, 25, 75, 75].")
    assert "- box: harbour: x 80 to 240, y 60 to 180 pixels; EPSG:32650: 500800.0" in history[1]["content"]
    assert isinstance(picture, PIL.Image.Image)
    assert picture.size == (320, 240)
    assert "320 x 240 pixels, sent to the model as 224 x 224" in seen
    assert "EPSG:32650" in seen
    assert download["interactive"] is True
    (feature,) = json.loads(Path(download["value"]).read_text())["features"]
    assert feature["properties"]["label"] == "harbour"
    assert note.startswith("1 region in WGS84")
    state.close()
    assert not Path(download["value"]).exists()


def test_the_conversation_goes_on(assistant: Assistant, backend: Any, samples_folder: Path) -> None:
    first = ask(assistant, "What is this?", [samples_folder / "coast.tif"])[-1]
    ask(assistant, "Where is it?", [], first[1], first[2])
    assert len(backend.requests[-1].messages) == 3


def test_an_image_without_georeference_says_so(assistant: Assistant, samples_folder: Path) -> None:
    last = ask(assistant, "Where is the car?", [samples_folder / "town.png"])[-1]
    assert last[5]["interactive"] is False
    assert last[6].startswith("No GeoJSON: this image has no georeference")


def test_words_of_a_model_are_no_html(assistant: Assistant, samples_folder: Path) -> None:
    last = ask(assistant, "What is this?", [samples_folder / "coast.tif"])[-1]
    assert "&lt;b>coast&lt;/b>" in texts(last[1])[-1]


def test_errors_are_told_in_the_chat(assistant: Assistant, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\0 this is no TIFF")
    last = ask(assistant, "What is this?", [broken])[-1]
    assert texts(last[1])[-1].startswith("**")
    assert "broken.tif" in texts(last[1])[-1]
    assert str(tmp_path) not in texts(last[1])[-1]
    assert last[0]["submit_btn"] is True
    unseen = ask(assistant, "What is this?", [])[-1]
    assert "no image" in texts(unseen[1])[-1]


def test_an_image_alone_is_shown_and_asked_about(assistant: Assistant, backend: Any, samples_folder: Path) -> None:
    last = ask(assistant, "", [samples_folder / "coast.tif"])[-1]
    assert texts(last[1])[-1] == "What do you want to know about it?"
    assert last[3].size == (320, 240)
    assert backend.requests == []


def test_stop_ends_the_answer(assistant: Assistant, samples_folder: Path) -> None:
    message = {"text": "Describe this.", "files": [str(samples_folder / "coast.tif")]}
    steps = web.answer(assistant, message, None, None)
    state = next(steps)[2]
    next(steps)
    web.stop(state)
    rest = list(steps)
    assert len(rest) < 4
    assert texts(rest[-1][1])[-1].count("It goes on") < 3
    web.stop(None)


def test_a_sample_begins_a_new_conversation(assistant: Assistant, samples_folder: Path) -> None:
    coast, _ = samples.load(samples_folder)
    before = ask(assistant, "What is this?", [samples_folder / "town.png"])[-1][2]
    history, state, credit, picture, *_ = web.pick(assistant, coast, before)
    assert state is not before
    assert "A coast" in texts(history)[0]
    assert [option["value"] for option in history[0]["options"]] == ["Where is the harbour?"]
    assert credit == "A coast. made by the tests (CC0-1.0)"
    assert picture.size == (320, 240)
    assert web.restart(assistant, state)[1] == []


def test_samples_are_read(samples_folder: Path) -> None:
    coast, town = samples.load(samples_folder)
    assert coast.thumbnail().shape == (240, 320, 3)
    assert town.title == "A town"
    assert samples.load(samples_folder / "none") == []
    (samples_folder / "scenes.jsonl").write_text('{"file": "coast.tif"}\n')
    with pytest.raises(DataError, match="line 1"):
        samples.load(samples_folder)


def test_the_shipped_samples_can_be_opened() -> None:
    scenes = samples.load()
    assert scenes
    assert all(scene.thumbnail().any() and scene.credit and scene.licence for scene in scenes)


def test_the_page_answers_through_its_api(assistant: Assistant, samples_folder: Path) -> None:
    page = web.build(assistant, samples.load(samples_folder))
    address = web.serve(page, host="127.0.0.1", port=0, wait=False)
    try:
        client = Client(address, verbose=False, analytics_enabled=False)
        file = handle_file(str(samples_folder / "coast.tif"))
        message = {"text": "Where is the harbour?", "files": [file]}
        outputs = client.predict(message, [], api_name="/ask")
        client.close()
    finally:
        page.close()
    chat, picture, seen, download, note = outputs[1], outputs[-4], outputs[-3], outputs[-2], outputs[-1]
    assert "harbour" in json.dumps(chat)
    assert PIL.Image.open(picture["path"] if isinstance(picture, dict) else picture).size == (320, 240)
    assert "sent to the model as 224 x 224" in seen
    assert "harbour" in Path(download["value"] if isinstance(download, dict) else download).read_text()
    assert note.startswith("1 region")


def test_the_page_asks_for_nothing_from_elsewhere(assistant: Assistant) -> None:
    assert not [font for font in web.theme()._font + web.theme()._font_mono if isinstance(font, gr.themes.GoogleFont)]
    page = web.build(assistant, [])
    assert page.analytics_enabled is False
    assert page.share is False


def test_errors_end_the_program_with_2(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def missing(model: str, **options: str) -> None:
        raise WeightsError("no such model", found=model)

    monkeypatch.setattr(Assistant, "open", missing)
    assert program.main(["--model", "none"]) == 2
    assert capsys.readouterr().err == "error: no such model\n  found: none\n"


def test_the_model_is_opened_as_the_options_say(monkeypatch: pytest.MonkeyPatch, assistant: Assistant) -> None:
    said: list[Any] = []
    monkeypatch.setattr(Assistant, "open", lambda *args, **options: said.append((args, options)) or assistant)
    monkeypatch.setattr(web, "serve", lambda page, host, port: said.append(port))
    assert program.main(["--model", "some", "--dtype", "bfloat16", "--quantise", "4bit", "--port", "0"]) == 0
    assert said == [(("some",), {"dtype": "bfloat16", "quantise": "4bit"}), 0]
