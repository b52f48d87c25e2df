from __future__ import annotations

from dataclasses import replace

import pytest

from data_prep.filters import FILTERS, FilterOptions
from lhrs_chat.schema import Box, Image, Message, Number, Part, Sample, Targets

OPTIONS = FilterOptions()
GOOD = "The harbour lies in the north of the town, and many ships are at the quays of it."


def talk(*turns: str, task: str = "vqa", **more: object) -> Sample:
    messages = [
        Message.of("assistant" if number % 2 else "user", text, () if number else (0,))
        for number, text in enumerate(turns)
    ]
    image = Image(path="a.png", size_px=(100, 100))
    return Sample("r", (image,), task, "s", "CC0-1.0", "s", tuple(messages), **more)  # type: ignore[arg-type]


def facts(*captions: str, **targets: object) -> Sample:
    meta = targets.pop("meta", {})
    held = Targets(captions=captions, **targets)  # type: ignore[arg-type]
    return replace(talk(task="facts"), targets=held, meta=meta)


def judge(name: str, row: Sample, **bounds: object) -> str | None:
    return FILTERS.get(name).check(row, replace(OPTIONS, **bounds))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["length", "language", "markup", "turns", "repetition", "caption_facts"])
def test_good_texts_pass(name: str) -> None:
    for row in (
        talk("Where is the harbour?", GOOD),
        talk("Ships?", "Yes."),
        facts(GOOD, "A harbour (with 3 ships)."),
        facts(),
    ):
        assert judge(name, row) is None


def test_length() -> None:
    assert judge("length", talk("Ships?", " ")) == "turn 2 (assistant) is empty"
    assert judge("length", facts("Harbour.")) == "caption 1 has 1 words, fewer than 2"
    assert judge("length", talk("Describe it.", "Harbour.", task="caption")) == "answer 1 has 1 words, fewer than 2"
    assert judge("length", talk("Ships?", "so " * 9), most_words=8) == "turn 2 (assistant) has 9 words, more than 8"
    only_region = replace(
        talk("Where?", ""),
        messages=(
            Message.of("user", "Where?", (0,)),
            Message("assistant", (Part("region", region=Box((1, 1, 2, 2), "pixel")),)),
        ),
    )
    assert judge("length", only_region) is None


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("这是一个有很多船的港口。", "en", "has 0% of its letters in the script of 'en'"),
        ("这是一个有很多船的港口。", "zh", None),
        ("Die Brücke liegt auf der linken Seite und ist nicht sehr breit.", "en", "reads like 'de'"),
        ("Die Brücke liegt auf der linken Seite und ist nicht sehr breit.", "de", None),
        ("La ville est au bord de la mer avec des bateaux dans le port.", "en", "reads like 'fr'"),
        ("Los barcos están en el puerto de la ciudad con las casas al lado.", "en", "reads like 'es'"),
        ("Порт и большие корабли.", "en", "has 0%"),
        ("Порт и большие корабли.", "ru", None),
        ("12, 13, 14", "en", None),
        ("Aéroport São Paulo", "en", None),
        (GOOD, "de", "reads like 'en'"),
    ],
)  # fmt: skip
def test_language(text: str, language: str, reason: str | None) -> None:
    by_option = judge("language", facts(text), language=language)
    by_row = judge("language", facts(text, meta={"language": language}))
    assert by_option == by_row
    assert by_option is None if reason is None else by_option and reason in by_option


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<image>\nA port.", "left-over '<image>'"),
        ("A {label} near a road.", "left-over '{label}'"),
        ("A port.</s>", "left-over '</s>'"),
        ("A <p>port near a road.", "does not close <p>"),
        ("A port</ref> near a road.", "closes </ref>"),
        ("A port (with ships.", "does not close '('"),
        ("A port] with ships.", "closes ']'"),
        ("nan", "is 'nan'"),
        ("```json", "code block"),
        ("Fewer than 3 < 4 ships [1, 2, 3, 4].", None),
        ("1) ships b) cars :)", None),
        ("(1) ships (b) cars", None),
        ("The pond (about 6500 m2) lies north of 1) a road and 2) a wood.", None),
        ("The pond (about 6500 m2 lies north.", "does not close '('"),
        ("A port 6500m2) with ships.", "closes ')'"),
        ("<p>ship</p> (left)", None),
    ],
)
def test_markup(text: str, reason: str | None) -> None:
    found = judge("markup", facts(text))
    assert found is None if reason is None else found and reason in found


def test_none_is_an_answer() -> None:
    assert judge("markup", talk("Which ships are there?", "None.")) is None


def test_turns() -> None:
    good = talk("Ships?", "Yes.", "How many?", "2")
    user, assistant, *_ = good.messages
    system = Message.of("system", "Be brief.")

    def turns(*messages: Message) -> str | None:
        return judge("turns", replace(good, messages=messages))

    assert turns(system, *good.messages) is None
    assert turns(assistant, user) == "turn 1 is of the assistant, expected user"
    assert turns(user, assistant, assistant) == "turn 3 is of the assistant, expected user"
    assert turns(user, system, assistant) == "turn 2 is of the system, expected assistant"
    assert turns(user) == "the last question has no answer"
    assert turns(system) == "a system turn alone"
    assert turns(Message.of("user", "Ships?"), assistant) == "never shows its image"
    assert turns(Message.of("user", "Ships?", (0, 1)), assistant) == "shows image 1, but has 1"
    two = replace(good, images=good.images * 2)
    assert judge("turns", two) == "never shows image 1"
    unnumbered = Message("user", (Part("image"), Part("image"), Part("text", text="Ships?")))
    assert judge("turns", replace(two, messages=(unnumbered, assistant))) is None


def test_repetition() -> None:
    assert judge("repetition", facts("many many many many ships")) == "caption 1 says 'many' 4 times in a row"
    loop = "there are ships in the port and " * 5
    assert (judge("repetition", talk("What?", loop)) or "").startswith("answer 1 repeats 7")
    assert judge("repetition", talk("What?", loop), most_repeated=0.9) is None
    assert judge("repetition", talk(loop, "Yes.")) is None


def test_score_threshold() -> None:
    row = talk("Ships?", "Yes.")
    assert judge("score_threshold", row) is None
    assert judge("score_threshold", row, least_score=0.5) == "has no score"
    assert judge("score_threshold", replace(row, score=0.4), least_score=0.5) == "score 0.4 is below 0.5"
    assert judge("score_threshold", replace(row, score=float("nan")), least_score=0.5) == "score nan is below 0.5"
    assert judge("score_threshold", replace(row, score=0.5), least_score=0.5) is None


SHIPS = (Box((5, 5, 15, 15), "pixel", "ship"), Box((10, 70, 20, 80), "pixel", "ship"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Two ships at the quay.", None),
        ("Three ships at the quay.", "says 3 ship, the facts count 2"),
        ("There are 12 white ships.", "says 12 ship, the facts count 2"),
        ("More than one ship at the quay.", None),
        ("Some ships and three houses.", None),
        ("Ships, no airplanes.", None),
        ("Ships and airplanes.", "names 'airplane', which the facts exclude"),
        ("Ships without airplanes.", None),
        ("Ships on the left.", None),
        ("Ships in the upper left corner.", None),
        ("Ships in the right half of the image.", "puts 'ship' in the right half of the image, where"),
        ("There is a ship in the centre.", "puts 'ship' in the centre"),
        ("A ship on the left and houses.", None),
        ("A ship in the right of way.", None),
    ],
)  # fmt: skip
def test_captions_against_facts(text: str, reason: str | None) -> None:
    row = facts(text, boxes=SHIPS, meta={"complete": ["ship", "airplane"]})
    found = judge("caption_facts", row)
    assert found is None if reason is None else found and reason in found


def test_what_is_not_complete_is_not_judged() -> None:
    assert judge("caption_facts", facts("Three ships and an airplane.", boxes=SHIPS)) is None
    counted = facts("Three ships.", numbers=(Number(2, "", "computed", "ship"),))
    assert judge("caption_facts", counted) == "caption 1 says 3 ship, the facts count 2"


def test_places_in_other_frames() -> None:
    box = Box((900, 100, 950, 200), "per1000", "ship")
    assert judge("caption_facts", facts("A ship on the right.", boxes=(box,))) is None
    assert "puts 'ship' on the left" in (judge("caption_facts", facts("A ship on the left.", boxes=(box,))) or "")
    unsized = replace(facts("A ship on the left.", boxes=SHIPS[:1]), images=(Image(path="a.png"),))
    assert judge("caption_facts", unsized) is None


def test_answers_of_counting_questions() -> None:
    targets = Targets("3", numbers=(Number(2, "", "computed", "ship"),))
    assert judge("caption_facts", talk("How many ships?", "3", task="count", targets=targets)) == (
        "the answer is 3, the facts count 2"
    )
    assert judge("caption_facts", talk("How many ships?", "2", task="count", targets=targets)) is None
