"""Sentences about a procedural scene, made from its facts."""

from __future__ import annotations

from collections.abc import Mapping

_NOUNS = {
    "airport": "an airport",
    "bare land": "bare land",
    "beach": "a beach",
    "city": "a city quarter",
    "dense residential": "a dense residential area",
    "desert": "a desert",
    "farmland": "farmland",
    "forest": "a forest",
    "industrial": "an industrial area",
    "lake": "a lake",
    "meadow": "a meadow",
    "parking": "a parking lot",
    "port": "a port",
    "river": "a river",
    "sea": "open sea",
    "sparse residential": "a sparse residential area",
    "storage tanks": "storage tanks",
    "town": "a town",
}
_COVER_WORDS = {"field": "fields", "building": "buildings", "road": "roads", "built-up area": "built-up area"}
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_VIEWS = {
    "panchromatic": "grey image",
    "sar": "radar image",
    "sentinel-1": "radar image",
    "sentinel-2": "satellite image",
}


def _counted(thing: str, count: int) -> str:
    if count == 1:
        return f"one {thing}"
    if count < len(_NUMBERS):
        return f"{_NUMBERS[count]} {thing}s"
    return f"many {thing}s"


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _where_most(shares: Mapping[str, float]) -> tuple[str, list[str]]:
    """The largest cover, and the others of at least 5 %, largest first."""
    ranked = sorted(shares, key=lambda cover: -shares[cover])
    return ranked[0], [cover for cover in ranked[1:4] if shares[cover] >= 5]


def captions(label: str, shares: Mapping[str, float], counts: Mapping[str, int], sensor: str) -> tuple[str, ...]:
    """Write captions of a scene.

    Args:
        label: the scene class.
        shares: percent of the picture for each cover that can be told; empty leaves the covers out.
        counts: how many there are of each thing that was counted for certain.
        sensor: name of the sensor.
    """
    noun = _NOUNS[label]
    view = _VIEWS.get(sensor, "aerial image")
    things = [_counted(thing, n) for thing, n in counts.items() if n > 0]
    subject = noun[0].upper() + noun[1:]
    with_things = f" with {_joined(things)}" if things else ""
    article = "An" if view[0] in "aeiou" else "A"
    made = [f"{subject}{with_things}.", f"{article} {view} of {noun}{with_things}."]
    if shares:
        main, others = _where_most(shares)
        cover = _COVER_WORDS.get(main, main)
        rest = _joined([_COVER_WORDS.get(other, other) for other in others]) if others else ""
        if not rest:
            made.append(f"{subject}, almost all of it {cover}.")
        else:
            made.append(f"{subject}, mostly {cover}, with {rest}." if shares[main] > 50 else
                        f"{subject} with {cover}, {rest}.")  # fmt: skip
            verb = "cover" if cover.endswith("s") and cover != "grass" else "covers"
            if shares[main] > 50:
                made.append(f"{cover.capitalize()} {verb} most of the scene, next to {rest}.")
    return tuple(dict.fromkeys(made))
