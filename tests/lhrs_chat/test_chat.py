"""Conversations: history, images, streaming, stopping, evidence and provenance."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from rasterio.errors import RasterioError

import lhrs_chat
from lhrs_chat import evidence
from lhrs_chat.chat import PICTURE_MAX_PX, Assistant, ChatSession
from lhrs_chat.errors import GeoError, LhrsError, RasterError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.geo.raster import Raster
from lhrs_chat.models.backends import Done
from lhrs_chat.schema import Answer

Make = Callable[..., Any]


def test_the_whole_history_and_every_image_is_sent(scripted: Make, coast: Path, photo: Path) -> None:
    backend = scripted(lambda question: f"answer to {question}")
    with ChatSession(backend) as session:
        session.add_image(coast)
        session.ask("What is this?")
        session.add_image(photo)
        session.ask("And this?")
        session.ask("Which is larger?")
    last = backend.requests[-1]
    assert [(message.role, message.text) for message in last.messages] == [
        ("user", "What is this?"),
        ("assistant", "answer to What is this?"),
        ("user", "And this?"),
        ("assistant", "answer to And this?"),
        ("user", "Which is larger?"),
    ]
    images = [[part.image for part in message.content if part.type == "image"] for message in last.messages]
    assert images == [[0], [], [1], [], []]
    assert [image.shape for image in last.images] == [(40, 80, 3), (30, 60, 3)]
    assert len(set(last.image_hashes)) == 2
    assert backend.requests[0].image_hashes == last.image_hashes[:1]


def test_the_same_image_is_read_once(scripted: Make, coast: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    real = Raster.rgb
    monkeypatch.setattr(Raster, "rgb", lambda self, *a, **k: reads.append(self) or real(self, *a, **k))
    copy = coast.with_name("copy.tif")
    copy.write_bytes(coast.read_bytes())
    with ChatSession(scripted("yes")) as session:
        assert [session.add_image(path) for path in (coast, coast, copy)] == [0, 0, 0]
        assert len(session.pictures) == len(reads) == 1


def test_pieces_are_the_answer(scripted: Make, coast: Path) -> None:
    with ChatSession(scripted("It is a coast with water.")) as session:
        session.add_image(coast)
        *pieces, answer = session.stream("How much of this scene is water?")
    assert isinstance(answer, Answer)
    assert len(pieces) == 7
    assert "".join(str(piece) for piece in pieces) == answer.text


def test_stop_ends_the_answer_and_the_conversation_goes_on(scripted: Make, coast: Path) -> None:
    backend = scripted("one two three four five six")
    with ChatSession(backend) as session:
        session.add_image(coast)
        answer = None
        for number, piece in enumerate(session.stream("Where is the water?")):
            if number == 1:
                session.stop()
            answer = piece
        assert isinstance(answer, Answer)
        assert answer.text == "one two "
        assert session.ask("And now?").text == "one two three four five six"
    assert backend.requests[-1].messages[1].text == "one two "


def test_an_abandoned_or_failed_question_leaves_no_trace(scripted: Make, coast: Path) -> None:
    def speech(question: str) -> str:
        if "fail" in question:
            raise LhrsError("the model failed")
        return "fine words"

    backend = scripted(speech)
    with ChatSession(backend) as session:
        session.add_image(coast)
        with pytest.raises(LhrsError, match="the model failed"):
            session.ask("Please fail")
        pieces = session.stream("Never heard")
        assert next(pieces) == "fine "
        del pieces
        assert session.turns == []
        session.ask("Third time?")
    (message,) = backend.requests[-1].messages
    assert message.text == "Third time?"
    assert message.content[0].type == "image"


def test_a_model_without_answer_is_an_error(scripted: Make, coast: Path) -> None:
    backend = scripted("")
    backend.generate = lambda requests, stop=None: iter(())
    with ChatSession(backend) as session:
        session.add_image(coast)
        with pytest.raises(LhrsError, match="without an answer"):
            session.ask("What?")


@pytest.mark.parametrize(
    ("question", "settings", "what"),
    [
        ("", {}, "question is empty"),
        (" \n", {}, "question is empty"),
        ("What?", {"max_new_tokens": 0}, "room for a token"),
        ("What?", {"temperature": -0.1}, "temperature"),
        ("What?", {"temperature": float("nan")}, "temperature"),
        ("What?", {"seed": 2**63}, "seed"),
        ("What?" * 1000, {}, "too long"),
        ("What is \udcff?", {}, "no text"),
    ],
)
def test_bad_questions(scripted: Make, coast: Path, question: str, settings: dict[str, Any], what: str) -> None:
    backend = scripted("never said")
    with pytest.raises(LhrsError, match=what):
        Assistant(backend).ask(coast, question, **settings)
    assert backend.requests == []


def test_no_image_is_an_error(scripted: Make) -> None:
    with pytest.raises(LhrsError, match="no image"):
        ChatSession(scripted("x")).ask("What?")


def test_a_missing_image_is_an_error(scripted: Make, tmp_path: Path) -> None:
    with pytest.raises(RasterError):
        Assistant(scripted("x")).ask(tmp_path / "none.tif", "What?")


def test_settings_reach_the_backend(scripted: Make, coast: Path) -> None:
    backend = scripted("x")
    Assistant(backend).ask(coast, " What? ", max_new_tokens=7, temperature=0.5, seed=3)
    (request,) = backend.requests
    assert (request.max_new_tokens, request.temperature, request.seed) == (7, 0.5, 3)
    assert request.messages[0].text == "What?"


@pytest.mark.parametrize("kind", ["path", "bytes", "array", "picture"])
def test_images_of_every_kind(scripted: Make, photo: Path, kind: str) -> None:
    picture = PIL.Image.open(photo)
    pixels = np.asarray(picture)
    source = {"path": photo, "bytes": photo.read_bytes(), "array": pixels.transpose(2, 0, 1), "picture": picture}[kind]
    backend = scripted("x")
    answer = Assistant(backend).ask(source, "What?")
    assert np.array_equal(backend.requests[0].images[0], pixels)
    assert answer.provenance.size_px == (60, 30)


def test_provenance_is_complete(scripted: Make, coast: Path) -> None:
    origin = Assistant(scripted("A coast.")).ask(coast, "What is this?").provenance
    assert origin.model == "scripted"
    assert origin.weights_sha256 == "b" * 64
    assert origin.image_sha256 == hashlib.sha256(coast.read_bytes()).hexdigest()
    assert origin.prompt == "<user>What is this?"
    assert "red, green, blue of 4" in origin.composite
    assert origin.sensor == "worldview4"
    assert origin.crs == "EPSG:32650"
    assert (origin.size_px, origin.sent_size_px) == ((80, 40), (32, 32))
    assert origin.version == lhrs_chat.__version__
    assert origin.seconds >= 0
    assert datetime.fromisoformat(origin.time).tzinfo is not None


def test_provenance_of_two_images(scripted: Make, coast: Path, photo: Path) -> None:
    answer = Assistant(scripted("[0, 0, 50, 50]")).ask([coast, photo], "Where is the lake in the first image?")
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (coast, photo)]
    assert answer.provenance.image_sha256 == ",".join(hashes)
    assert answer.provenance.composite.endswith("evidence lies on image 1")
    assert answer.provenance.crs == "EPSG:32650"
    assert answer.boxes[0].xyxy == (0, 0, 40, 20)


def test_a_box_lies_in_pixels_of_the_original(scripted: Make, coast: Path) -> None:
    answer = Assistant(scripted("The lake is at [0, 10, 25, 50].")).ask(coast, "Where is the lake?")
    (box,) = answer.boxes
    assert (box.frame, box.xyxy, box.label) == ("pixel", (0, 4, 20, 20), "lake")
    assert answer.text.startswith("The lake is at [0, 10, 25, 50].")


def test_a_large_image_is_decimated_and_boxes_are_not(scripted: Make) -> None:
    backend = scripted("[50, 0, 100, 100]")
    size_px = 2 * PICTURE_MAX_PX
    answer = Assistant(backend).ask(np.full((1, 4, size_px), 7, np.uint8), "Where is the road?")
    assert backend.requests[0].images[0].shape == (2, PICTURE_MAX_PX, 3)
    assert answer.boxes[0].xyxy == (size_px / 2, 0, size_px, 4)
    assert answer.provenance.size_px == (size_px, 4)


def test_boxes_in_pixels_of_the_sent_picture_are_placed_back(scripted: Make, photo: Path) -> None:
    backend = scripted("")
    backend.dialect = "json_model"
    text = '```json\n[{"bbox_2d": [16, 8, 48, 24], "label": "ship"}]\n```'
    padded = Placement((60, 30), (0, 0, 60, 30), (64, 32), (0, 16), (64, 64))
    backend.generate = lambda requests, stop=None: iter([Done(0, text, 0.5, 3, "prompt", placement=padded)])
    answer = Assistant(backend).ask(photo, "Find all ships.")
    assert [(box.label, box.xyxy) for box in answer.boxes] == [("ship", (15.0, 0.0, 45.0, 7.5))]
    assert answer.provenance.sent_size_px == (64, 64)


def test_a_box_outside_is_dropped_and_logged(scripted: Make, photo: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = scripted("[10, 5, 90, 20] and [70, 0, 90, 10]")
    backend.dialect = "brackets_pixel"
    with caplog.at_level(logging.WARNING, "lhrs_chat"):
        answer = Assistant(backend).ask(photo, "Where are the cars?")
    assert [box.xyxy for box in answer.boxes] == [(10, 5, 60, 20)]
    assert "outside the image" in caplog.text


def test_a_box_that_cannot_be_one_is_logged(scripted: Make, photo: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "lhrs_chat"):
        answer = Assistant(scripted("It is at [80, 10, 20, 50].")).ask(photo, "Where is it?")
    assert answer.boxes == ()
    assert "left out" in caplog.text


def test_water_is_measured_in_the_pixels(scripted: Make, coast: Path) -> None:
    answer = Assistant(scripted("About 10 %.")).ask(coast, "How much of this scene is water?")
    said, share, area = answer.numbers
    assert (said.value, said.unit, said.evidence) == (10, "%", "model")
    assert (share.value, share.unit, share.evidence, share.label) == (25, "%", "computed", "water")
    assert area.value == pytest.approx(20 * 40 * 100, rel=0.002)
    assert (area.unit, area.evidence) == ("m2", "computed")
    (mask,) = answer.masks
    assert mask.to_array()[:, :20].all()
    assert not mask.to_array()[:, 20:].any()
    said_by_model, measured = answer.text.split("\n")
    assert said_by_model == "About 10 %."
    assert measured == "Measured water by NDWI > 0 (green, nir): 25.0 % of the scene = 8.0 ha."


def test_vegetation_is_measured_in_the_pixels(scripted: Make, coast: Path) -> None:
    answer = Assistant(scripted("Yes.")).ask(coast, "Is there any forest?")
    assert [number.value for number in answer.numbers if number.unit == "%"] == [75]
    assert answer.masks[0].label == "vegetation"
    assert "\nMeasured vegetation of any kind by NDVI" in answer.text


def test_two_covers_are_measured_where_two_are_compared(scripted: Make, coast: Path) -> None:
    answer = Assistant(scripted("Yes.")).ask(coast, "Is there more water than vegetation?")
    assert [(number.label, number.value) for number in answer.numbers if number.unit == "%"] == [
        ("water", 25),
        ("vegetation", 75),
    ]
    assert [mask.label for mask in answer.masks] == ["water", "vegetation"]
    assert answer.text.count("\nMeasured ") == 2


def test_a_scene_without_a_place_on_the_ground_is_measured_in_percent(scripted: Make, coast: Path) -> None:
    with Raster.open(coast) as raster:
        values, bands = raster.read().filled(0), raster.image.bands
    site = lhrs_chat.schema.Georef('LOCAL_CS["site",UNIT["metre",1]]', (1, 0, 0, 0, -1, 0))
    image = lhrs_chat.schema.Image(array=values, bands=bands, georef=site)
    with ChatSession(scripted("Some.")) as session:
        session.add_image(image)
        answer = session.ask("How much water is there?")
        assert [(number.value, number.unit) for number in answer.numbers] == [(25, "%")]
        with pytest.raises(GeoError, match="no way from"):
            session.features()
        session.add_image(coast)
        session.ask("Where is the water?")
        assert [feature["properties"]["label"] for feature in session.features()["features"]] == ["water"]


def test_a_cover_that_is_not_there_is_measured_as_nothing(scripted: Make) -> None:
    land = np.stack([np.full((8, 8), value, np.uint16) for value in (900, 1000, 1100, 3000)])
    image = lhrs_chat.schema.Image(array=land, bands=("blue", "green", "red", "nir"))
    answer = Assistant(scripted("Yes.")).ask(image, "Is there water?")
    assert answer.text == "Yes.\nMeasured water by NDWI > 0 (green, nir): 0.0 % of the scene."
    assert answer.masks == ()


def test_nothing_is_measured_without_the_bands(scripted: Make, photo: Path) -> None:
    answer = Assistant(scripted("Half of it.")).ask(photo, "How much water is there?")
    assert answer.masks == ()
    assert "Measured" not in answer.text
    assert all(number.evidence == "model" for number in answer.numbers)


def test_a_measured_area_needs_a_georeference(scripted: Make, coast: Path) -> None:
    with Raster.open(coast) as raster:
        values = raster.read().filled(0)
        bands = raster.image.bands
    image = lhrs_chat.schema.Image(array=values, bands=bands)
    answer = Assistant(scripted("Some.")).ask(image, "How much water is there?")
    assert [(number.value, number.unit) for number in answer.numbers] == [(25, "%")]
    assert answer.text.endswith("25.0 % of the scene.")


def test_regions_of_all_turns_become_features(scripted: Make, coast: Path, photo: Path) -> None:
    answers = {"Where is the lake?": "[0, 0, 25, 100]", "Where is the road?": "[50, 0, 60, 100]", "Hello?": "Hello."}
    with ChatSession(scripted(lambda question: answers[question])) as session:
        session.add_image(coast)
        session.ask("Where is the lake?")
        session.ask("Where is the lake?")
        session.ask("Where is the road?")
        session.add_image(photo)
        session.ask("Where is the road?")
        features = session.features()["features"]
        kinds = [feature["properties"]["label"] for feature in features]
        assert sorted(kinds) == ["lake", "road", "water"]
        assert session.overlay(0).size == (80, 40)
        assert session.overlay().size == (60, 30)


def test_features_need_a_georeference(scripted: Make, photo: Path) -> None:
    with ChatSession(scripted("[0, 0, 10, 10]")) as session:
        session.add_image(photo)
        session.ask("Where is it?")
        with pytest.raises(GeoError, match="georeference"):
            session.features()


def test_the_overlay_shows_the_regions(scripted: Make, coast: Path) -> None:
    with ChatSession(scripted("[50, 50, 100, 100]")) as session:
        session.add_image(coast)
        before = np.asarray(session.overlay())
        session.ask("Where is the road?")
        after = np.asarray(session.overlay())
    changed = (before != after).any(axis=2)
    assert changed[20:, 40:].any()
    assert not changed[:8, :20].any()


def test_the_files_are_closed_with_the_session(scripted: Make, coast: Path) -> None:
    with ChatSession(scripted("x")) as session:
        session.add_image(coast)
        raster = session.pictures[0].raster
    with pytest.raises(RasterioError, match="closed"):
        raster.read()


@pytest.mark.parametrize(
    ("area_m2", "text"), [(12.4, "12 m2"), (80000, "8.0 ha"), (7.04e6, "7.0 km2"), (3.2e9, "3200 km2")]
)
def test_areas_read_well(area_m2: float, text: str) -> None:
    assert evidence.area_text(area_m2) == text


def test_load_opens_an_assistant(scripted: Make, coast: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(
        "lhrs_chat.chat.open_backend", lambda model, **precision: opened.append(model) or scripted("A coast.")
    )
    assert lhrs_chat.load("lhrs-nano").ask(coast, "What is this?").text == "A coast."
    assert opened == ["lhrs-nano"]


def test_a_conversation_goes_on_with_each_of_several_answers(
    scripted: Make, coast: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = scripted(lambda question: f"answer {len(backend.requests)}")
    measures = []
    real = evidence.measured
    monkeypatch.setattr(evidence, "measured", lambda *given: measures.append(given) or real(*given))
    with ChatSession(backend) as session:
        session.add_image(coast)
        branches = session.draw("How much of the image is water?", 3, temperature=0.5, seed=4)
        assert session.turns == [] and len(measures) == 1
        assert [branch.turns[-1].answer.text.splitlines()[0] for branch in branches] == [
            *("answer 1", "answer 2", "answer 3"),
        ]
        assert all(branch.turns[-1].answer.numbers for branch in branches)
        assert [request.seed for request in backend.requests] == [4, 5, 6]
        branches[1].add_image(photo)
        branches[1].ask("And this?")
        assert [message.text for message in backend.requests[-1].messages] == [
            *("How much of the image is water?", "answer 2", "And this?"),
        ]
        assert [len(one.pictures) for one in (session, *branches)] == [1, 1, 2, 1]
        assert [len(one.turns) for one in (session, *branches)] == [0, 1, 2, 1]
        branches[1].pictures[1].raster.close()


def test_seeds_of_several_answers_are_in_range(scripted: Make, coast: Path) -> None:
    backend = scripted("yes")
    with ChatSession(backend) as session:
        session.add_image(coast)
        with pytest.raises(LhrsError, match="seed out of range"):
            session.draw("What is here?", 2, temperature=0.5, seed=2**63 - 1)
    assert backend.requests == []
