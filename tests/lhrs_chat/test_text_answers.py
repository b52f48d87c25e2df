from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhrs_chat.schema import Number
from lhrs_chat.text import answers

COVERS = ("water", "forest", "bare land", "urban area")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("B", "forest"),
        ("b", "forest"),
        ("(B)", "forest"),
        (" (b) ", "forest"),
        ("B.", "forest"),
        ("B)", "forest"),
        ("**B**", "forest"),
        ("[B]", "forest"),
        ("B. forest", "forest"),
        ("B: forest", "forest"),
        ("(B) There are three cars", "forest"),
        ("B. There are three cars", "forest"),
        ("A. A is right", "water"),
        ("Answer: B", "forest"),
        ("answer: b", "forest"),
        ("Answer:\nB", "forest"),
        ("**Answer:** B", "forest"),
        ("The answer is B", "forest"),
        ("The answer is B) forest", "forest"),
        ("The correct answer is (D).", "urban area"),
        ("The correct option is C because A is too dark.", "bare land"),
        ("I would choose option C", "bare land"),
        ("It is B.", "forest"),
        ("It must be A", "water"),
        ("A", "water"),
        ("<think>A or B?</think> B", "forest"),
        ("<answer>C</answer>", "bare land"),
        ("The image shows a forest.", "forest"),
        ("It is bare-land", "bare land"),
        ("bareland", "bare land"),
        ("It is not water but forest.", "forest"),
        ("B, because it is green", "forest"),
        ("Reasoning: A seems dark.\nAnswer: C", "bare land"),
        # nothing, two things, or something else
        ("", None),
        ("   ", None),
        ("...", None),
        ("-", None),
        ("A or B", None),
        ("(A) or (B)", None),
        ("A, B", None),
        ("A/B", None),
        ("A. water B. forest C. bare land D. urban area", None),
        ("A. water\nB. forest", None),
        ("water or forest", None),
        ("A. forest", None),
        ("The answer is B) water", None),
        ("A ship is seen", None),
        ("Able bodies", None),
        ("E", None),
        ("G.", None),
        ("I see nothing", None),
        ("I think so", None),
        ("It is 20 °C", None),
        ("a", "water"),
        ("a lake", None),
        ("water? forest?", None),
        ("It is not water.", None),
        ("Answer: unknown", None),
        ("The answer is unclear, C perhaps or D", None),
        ("waterfall", None),
    ],
)
def test_choice(text: str, wanted: str | None) -> None:
    assert answers.choice(text, COVERS) == wanted


def test_letters_of_the_options_are_used_where_they_are_written() -> None:
    lettered = ("C. water", "D. forest")
    assert answers.choice("D", lettered) == "D. forest"
    assert answers.choice("A", lettered) is None
    assert answers.choice("forest", lettered) == "D. forest"
    assert answers.choice("(b)", ("A", "B", "C")) == "B"
    assert answers.choice("The answer is B. There are three", ("A", "B", "C", "D", "E")) == "B"
    assert answers.choice("There are three cars and a ship", ("A", "B", "C", "D", "E")) is None


def test_numbers_as_options_are_compared_as_numbers() -> None:
    counts = ("1", "10", "100", "1.5", "-10")
    assert answers.choice("There are 10 ships", counts) == "10"
    assert answers.choice("ten", counts) == "10"
    assert answers.choice("1", counts) == "1"
    assert answers.choice("15", counts) is None
    assert answers.choice("1.5", counts) == "1.5"
    assert answers.choice("-10", counts) == "-10"
    assert answers.choice("0", counts) is None
    assert answers.choice("10 %", ("10 %", "10 m")) == "10 %"
    assert answers.choice("10", ("0-10", "10-20")) is None
    assert answers.choice("10-20", ("0-10", "10-20")) == "10-20"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Yes", True),
        ("yes.", True),
        ("**Yes**", True),
        ("Yes, there is no cloud.", True),
        ("YES!", True),
        ("yeah", True),
        ("True", True),
        ("No", False),
        ("no.", False),
        ("No, yes-men are not seen.", False),
        ("No there is not.", False),
        ("Nope", False),
        ("Answer: no", False),
        ("The answer is yes.", True),
        ("The answer is no, there is none.", False),
        ("I would say yes.", True),
        ("I would say no.", False),
        ("No ships are visible.", False),
        ("<think>no</think>yes", True),
        ("", None),
        (" ", None),
        ("maybe", None),
        ("yes or no", None),
        ("Yes and no", None),
        ("Yes/No", None),
        ("There is no cloud.", None),
        ("No doubt about it", None),
        ("nothing", None),
        ("Nowhere", None),
        ("yesterday", None),
        ("not", None),
        ("know", None),
        ("Yes. No.", None),
        ("Certainly not yes", None),
    ],
)
def test_yes_no(text: str, wanted: bool | None) -> None:
    assert answers.yes_no(text) is wanted


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5", 5, ""),
        ("There are 5 ships in the image.", 5, ""),
        ("5.", 5, ""),
        ("-3.5 m", -3.5, "m"),
        ("\u22123.5 m", -3.5, "m"),
        ("1,234", 1234, ""),
        ("1,234,567.5 m2", 1234567.5, "m2"),
        ("3.5 km2", 3.5, "km2"),
        ("3.5 km\u00b2", 3.5, "km2"),
        ("3.5 square kilometers", 3.5, "km2"),
        ("200 sq m", 200, "m2"),
        ("200 m^2", 200, "m2"),
        ("12 hectares", 12, "ha"),
        ("35 %", 35, "%"),
        ("35%", 35, "%"),
        ("35 percent", 35, "%"),
        ("about 35 per cent of the scene", 35, "%"),
        ("5m", 5, "m"),
        ("5 meters", 5, "m"),
        ("five metres", 5, "m"),
        ("30 cm", 30, "cm"),
        ("2 km", 2, "km"),
        ("10 ft", 10, "ft"),
        ("45 degrees", 45, "deg"),
        ("128 px", 128, "px"),
        ("thirty-two", 32, ""),
        ("Thirty two ships", 32, ""),
        ("one hundred and five", 105, ""),
        ("two thousand three hundred", 2300, ""),
        ("a hundred", 100, ""),
        ("a dozen", 12, ""),
        ("two dozen cars", 24, ""),
        ("1.2 million", 1.2e6, ""),
        ("1e3", 1000, ""),
        ("zero", 0, ""),
        ("none", 0, ""),
        ("There are no ships in the image.", 0, ""),
        ("No ships are visible.", 0, ""),
        ("about a third", 100 / 3, "%"),
        ("About one third of the scene is water.", 100 / 3, "%"),
        ("two-thirds of the area", 200 / 3, "%"),
        ("half of it", 50, "%"),
        ("three quarters", 75, "%"),
        ("Answer: 5. There are 2 rows.", 5, ""),
        ("The answer is approx. 35 %.", 35, "%"),
        ("35 % (thirty-five percent)", 35, "%"),
        ("10 ha (100,000 m2)", 10, "ha"),
        ("There is one ship.", 1, ""),
        ("Sentinel-2 shows 4 ships", 4, ""),
        ("<think>3 or 4</think> 4", 4, ""),
    ],
)
def test_number(text: str, value: float, unit: str) -> None:
    found = answers.number(text)
    assert found is not None
    assert found.value == pytest.approx(value)
    assert (found.unit, found.evidence) == (unit, "model")


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "many", "several", "a few ships", "dozens", "hundreds of trees"),
        *("between 10 and 20", "10 to 20", "10-20", "10 \u2013 20 m", "between ten and twenty", "two or three"),
        *("more than 10", "at least 5 ships", "up to 20 %", "over 30", "> 5", "less than two meters"),
        *("3,5", "1,2,3", "1.2.3", "1/3", "12:30", "2024-05-01", "10 x 10 m", "10 m x 10 m", "5 \u00b1 2"),
        *(
            "3 ships and 4 docks",
            "5 M",
            "5x",
            "the 2nd image",
            "B4",
            "Landsat-8",
            "Landsat 8",
            "1 200 m2",
            "one of the ships",
        ),
        *("the one on the left", "the third ship", "two and a half", "twenty and five", "one two", "thirty fourteen"),
        *("There are no signs of life.", "no idea", "5 m/s", "9" * 400, "10 m (12 m)", "3 m (3)", "zero five"),
    ],
)
def test_what_is_not_one_number(text: str) -> None:
    assert answers.number(text) is None


@given(st.integers(0, 10**6))
@settings(deadline=None)
def test_integers_are_read_in_every_way_of_writing(value: int) -> None:
    for text in (str(value), f"{value:,}", f"There are {value} ships.", f"Answer: {value}", f"**{value}**"):
        assert answers.number(text) == Number(float(value))
    assert answers.number(f"It is {value} % here") == Number(float(value), "%")
    assert answers.number(f"{value} and {value + 1}") is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("airport", "Airport"),
        ("It is an AIRPORT.", "Airport"),
        ("airports", "Airport"),
        ("dense residential area", "DenseResidential"),
        ("DenseResidential", "DenseResidential"),
        ("dense_residential", "DenseResidential"),
        ("A residential area", "Residential"),
        ("It is residential: dense residential.", "DenseResidential"),
        ("bare land", "BareLand"),
        ("bareland", "BareLand"),
        ("storage tank", "StorageTanks"),
        ("Answer: park. Not an airport.", "Park"),
        ("not an airport but a park", "Park"),
        ("a lake", "water"),
        ("lakes and water", "water"),
        ("", None),
        ("parking", None),
        ("airport or park", None),
        ("not an airport", None),
        ("dense park residential", None),
        ("bare, wide land", None),
    ],
)
def test_label(text: str, wanted: str | None) -> None:
    labels = ("Airport", "DenseResidential", "Residential", "BareLand", "StorageTanks", "Park", "water")
    assert answers.label(text, labels, {"water": ("lake", "river")}) == wanted


@given(st.sampled_from(COVERS), st.sampled_from(["{}", "It is {}.", "Answer: {}", "a {}!", "**{}**", '"{}"']))
@settings(deadline=None)
def test_each_label_is_found_in_every_frame_of_words(name: str, frame: str) -> None:
    assert answers.label(frame.format(name), COVERS) == name
    assert answers.label(frame.format(name.upper()), COVERS) == name
    assert answers.choice(frame.format(name), COVERS) == name


def test_boxes_come_from_the_dialect() -> None:
    assert [box.xyxy for box in answers.boxes("<think>[1, 2, 3, 4]</think> at [5, 6, 7, 8]")] == [(5, 6, 7, 8)]
    assert answers.boxes("{<1><2><3><4>}", "angles100")[0].frame == "per100"


PIECES = (
    *(" ", ".", ",", "-", "(", ")", ":", "\n", "%", "A", "b", "B.", "(C)", "or", "and", "not", "answer is", "Answer:"),
    *("yes", "no", "5", "1,234", "3.5", "m", "km2", "twenty", "one", "hundred", "a third", "half of", "of", "water"),
    *(
        "forest",
        "<think>",
        "</think>",
        "<answer>",
        "more than",
        "to",
        "\u0663",
        "\u00b2",
        "\u0130",
        "-3",
        "e5",
        "dozen",
    ),
)
ANY = st.text(max_size=80) | st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join)


@given(ANY)
@settings(deadline=None, max_examples=300)
def test_no_text_raises_and_answers_are_among_the_allowed(text: str) -> None:
    assert answers.choice(text, COVERS) in (None, *COVERS)
    assert answers.label(text, COVERS) in (None, *COVERS)
    assert answers.yes_no(text) in (None, True, False)
    found = answers.number(text)
    assert found is None or found.unit in answers.UNITS
    assert isinstance(answers.boxes(text), list)


@pytest.mark.parametrize(
    "unit", ["a ", "one ", "1,", "1 2 ", "answer is ", "no ", "(", "twenty-", "no a ", "<think>", "water "]
)
def test_long_repetitions_end(unit: str) -> None:
    text = unit * (6000 // len(unit))
    assert answers.number(text) is None
    assert answers.choice(text, ("x", "y")) is None
    assert answers.yes_no(text) in (None, False)
    assert answers.label(text, ("x", "y")) is None


def test_mentions_of_labels() -> None:
    text = "Two ships, no storage tanks, and bare land instead of a BareLand; not ship."
    found = [(m.label, text[m.start : m.end], m.denied) for m in answers.mentions(text, ["ship", "bare land", "tank"])]
    assert found == [
        ("bare land", "bare land", False),
        ("bare land", "BareLand", True),
        ("ship", "ships", False),
        ("ship", "ship", True),
        ("tank", "tanks", True),
    ]
    longest = answers.mentions("a dense residential area", ["residential", "dense residential"])
    assert [m.label for m in longest] == ["dense residential"]
