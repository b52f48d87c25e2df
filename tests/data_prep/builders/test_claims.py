"""What a text claims: rewordings that say the same pass, and each kind of loss, invention and exchange is seen."""

from __future__ import annotations

import pytest

from data_prep.builders._claims import Claims

SHIPS = "The image shows three ships, two cars and a harbor. Most ships lie in the left half."
COVER = "The scene is mostly cropland (about 60%), with tree cover (about 25%). The upper left is mostly tree cover."


def faults(first: str, second: str) -> list[str]:
    return Claims.of(first).faults(Claims.of(second))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (SHIPS, SHIPS),
        (SHIPS, "Two white cars, 3 grey ships and one harbor are visible. Most of the ships lie in the left half."),
        (SHIPS, "There are three ships and two cars beside a harbor; the majority of the ships is on the left side."),
        (COVER, "About 60 % of the land is cropland, making up most of it. Tree cover (25%) dominates the top-left."),
        ("A park (about 2.3 ha) lies in the lower middle.", "In the bottom center lies a green park of about 2.3 ha."),
        ("There are no ships.", "Ships are not visible."),
        ("One building.", "A large red building."),
    ],
)
def test_the_same_in_other_words(first: str, second: str) -> None:
    assert faults(first, second) == []
    assert faults(second, first) == []


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        (SHIPS, "The image shows three ships and a harbor. Most ships lie in the left half.", "leaves out 'car'"),
        (SHIPS, SHIPS.replace("a harbor", "a harbor with a crane"), "adds 'crane'"),
        (SHIPS, SHIPS.replace("three", "four"), "numbers"),
        (SHIPS, "The image shows two ships, three cars and a harbor. Most ships lie in the left half.", "numbers"),
        (SHIPS, SHIPS.replace("left", "right"), "places"),
        (SHIPS, SHIPS.replace("Most ships", "Most cars"), "places"),
        (SHIPS, SHIPS.replace("Most", "All"), "leaves out 'most'"),
        (SHIPS, SHIPS.replace("a harbor", "no harbor"), "adds 'harbor'"),
        (SHIPS, SHIPS.replace("a harbor", "harbors"), "numbers"),
        (COVER, COVER.replace("25%", "20%"), "numbers"),
        (COVER, COVER.replace("upper left", "upper right"), "places"),
        (COVER, "Mostly tree cover (about 60%), with cropland (about 25%). The upper left is tree cover.", "numbers"),
        (COVER, COVER + " The river runs to the north.", "adds 'river'"),
        (COVER, COVER + " Cropland stretches to the north.", "places"),
        ("A ship.", "A ship near three buoys.", "numbers"),
        ("There are no ships.", "There are ships.", "leaves out 'ship'"),
        ("A lake of about 2 ha.", "A lake of about 2 km2.", "numbers"),
    ],
)
def test_a_loss_an_invention_or_an_exchange_is_seen(first: str, second: str, fault: str) -> None:
    assert fault in "; ".join(faults(first, second))


def test_names_of_the_row_count_beside_those_of_the_lexicon() -> None:
    first, second = "An A220 stands here.", "An aeroplane stands here."
    assert Claims.of(first, ["A220"]).things == frozenset()  # names are compared in small letters
    assert Claims.of(first, ["a220"]).faults(Claims.of(second, ["a220"]))


def test_a_longer_name_is_not_a_shorter_one_too() -> None:
    assert Claims.of("Apartment buildings and a church.").things == {"apartment building", "church"}
    assert Claims.of("Two cemeteries.").things == {"cemetery"}
