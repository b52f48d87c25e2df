"""Rewordings by a model behind a real server on this computer, and by a tiny model of ours: only true ones are kept."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from data_prep.__main__ import main
from data_prep.builders import _recaption
from data_prep.builders._recaption import Recaption
from lhrs_chat import samples
from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.schema import Box, Image, Message, Number, Part, Sample, Targets
from tests import tiny
from tests.theatre import Handler, Theatre, playing, says, status

TEXT = "The image shows three ships and a harbor. Most ships lie in the left half."
GOOD = "Three grey ships and a harbor can be seen, with most of the ships on the left."
BAD = "Four ships and a harbor can be seen, with most of the ships on the left."


@pytest.fixture
def theatre(monkeypatch: pytest.MonkeyPatch) -> Iterator[Theatre]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    _recaption._opened.cache_clear()
    with playing() as server:
        yield server


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    PIL.Image.fromarray(tiny.picture(1, (40, 30))).save(path)
    return path


def row(picture: Path, text: str = TEXT, task: str = "caption", name: str = "s/caption-0") -> Sample:
    return Sample(
        id=name,
        images=(Image(path=str(picture), size_px=(40, 30)),),
        task=task,
        source="set",
        licence="CC0",
        scene_id="s",
        messages=(Message.of("user", "Describe this.", images=(0,)), Message.of("assistant", text)),
        targets=Targets(
            answer=text,
            labels=("ship", "harbor"),
            captions=(text,),
            numbers=(Number(3, "", "computed", "ship"),),
        ),
    )


def step(theatre: Theatre, **more: object) -> Recaption:
    return Recaption(f"openai:{theatre.url}#tiny", **more)  # type: ignore[arg-type]


def prompts(theatre: Theatre) -> list[str]:
    return [body["messages"][0]["content"][1]["text"] for body in theatre.bodies]


def test_a_true_rewording_takes_the_place_of_the_template(theatre: Theatre, picture: Path) -> None:
    theatre.script = [says(GOOD)]
    (made,) = step(theatre)([row(picture)]).rows
    assert made.messages[-1].text == made.targets.answer == GOOD
    assert made.targets.captions == (GOOD, TEXT)
    assert made.meta["recaption"] == {
        "model": f"openai:{theatre.url}#tiny",
        "tries": 1,
        "kept": "rewording",
        "faults": [],
        "original": TEXT,
    }
    assert made.messages[0] == row(picture).messages[0] and made.id == "s/caption-0"


def test_the_model_sees_the_picture_the_facts_and_the_description(theatre: Theatre, picture: Path) -> None:
    theatre.script = [says(GOOD)]
    step(theatre, temperature=0.3, seed=5)([row(picture)])
    (body,) = theatre.bodies
    assert (body["temperature"], body["seed"]) == (0.3, 5)
    shown, words = body["messages"][0]["content"]
    pixels = PIL.Image.open(io.BytesIO(base64.b64decode(shown["image_url"]["url"].partition(",")[2])))
    assert np.array_equal(np.asarray(pixels), tiny.picture(1, (40, 30)))
    assert f"Description: {TEXT}" in words["text"] and "Certain facts: ship, harbor, ship 3." in words["text"]


def test_a_false_one_is_asked_for_again_with_its_fault(theatre: Theatre, picture: Path) -> None:
    theatre.script = [says(BAD), says(GOOD)]
    (made,) = step(theatre)([row(picture)]).rows
    assert made.targets.answer == GOOD
    assert made.meta["recaption"]["tries"] == 2
    first, second = prompts(theatre)
    assert "refused" not in first and "refused: its numbers differ" in second
    assert [body["seed"] for body in theatre.bodies] == [0, 1]


@pytest.mark.parametrize("said", [BAD, "", "I cannot see this image.", GOOD + " A crane stands beside it."])
def test_after_the_last_try_the_template_stays_and_the_row_says_so(theatre: Theatre, picture: Path, said: str) -> None:
    theatre.script = [says(said)]
    (made,) = step(theatre, tries=2)([row(picture)]).rows
    assert len(theatre.asked) == 2
    assert made.messages == row(picture).messages and made.targets == row(picture).targets
    note = made.meta["recaption"]
    assert (note["kept"], note["tries"], len(note["faults"])) == ("original", 2, 2)


def test_only_what_failed_is_asked_for_again(theatre: Theatre, picture: Path) -> None:
    def play(handler: Handler) -> None:
        words = handler.body["messages"][0]["content"][1]["text"]
        says(BAD if "three ships" in words and "refused" not in words else words.split("Description: ")[1])(handler)

    theatre.script = [play]
    other = "The image shows two cars."
    rows = [row(picture), row(picture, other, "region_caption", "b"), row(picture, name="c")]
    made = step(theatre, tries=1)(rows).rows
    assert [one.meta["recaption"]["kept"] for one in made] == ["original", "rewording", "original"]
    assert [one.id for one in made] == ["s/caption-0", "b", "c"] and len(theatre.asked) == 3


def test_other_rows_pass_untouched_and_ask_nobody(theatre: Theatre, picture: Path) -> None:
    box = Part("region", region=Box((0, 0, 5, 5), "pixel", "ship"))
    pointing = row(picture)
    pointing = Sample(**{**vars(pointing), "messages": (pointing.messages[0], Message("assistant", (box,)))})
    rows = [row(picture, task="count"), pointing]
    assert step(theatre)(rows).rows == rows and theatre.asked == [] and theatre.listed == 0


def test_a_row_whose_picture_is_gone_is_dropped_with_the_reason(theatre: Theatre, picture: Path) -> None:
    theatre.script = [says(GOOD)]
    outcome = step(theatre)([row(picture), row(picture.with_name("gone.png"), name="b")])
    assert [one.id for one in outcome.rows] == ["s/caption-0"]
    assert [(one.id, one.filter) for one in outcome.dropped] == [("b", "recaption")]
    assert "gone.png" in outcome.dropped[0].reason


def test_a_server_that_fails_stops_the_work(theatre: Theatre, picture: Path) -> None:
    theatre.script = [status(400)]
    with pytest.raises(LhrsError, match="status 400"):
        step(theatre)([row(picture)])


def test_no_try_at_all() -> None:
    with pytest.raises(DataError, match="once at least"):
        Recaption("lhrs-nano", tries=0)


def test_a_tiny_model_of_ours_is_asked_in_the_same_way(tmp_path: Path, picture: Path) -> None:
    model, processor = tiny.model_and_processor()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    _recaption._opened.cache_clear()
    rows = Recaption(str(tmp_path / "model"), tries=2, max_new_tokens=6)([row(picture)]).rows
    assert rows[0].meta["recaption"]["kept"] == "original" and len(rows[0].meta["recaption"]["faults"]) == 2
    assert rows[0].targets.answer == TEXT


def test_the_verb(theatre: Theatre, picture: Path, tmp_path: Path) -> None:
    theatre.script = [says(GOOD)]
    samples.write(tmp_path / "rows.jsonl", [row(picture)])
    out = tmp_path / "out"
    words = [str(tmp_path / "rows.jsonl"), "--out", str(out), "--model", f"openai:{theatre.url}#tiny", "--workers", "1"]
    assert main(["recaption", *words]) == 0
    (made,) = samples.read(out)
    assert made.targets.answer == GOOD
    assert json.loads((out / "manifest.json").read_text())
