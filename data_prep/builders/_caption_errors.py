"""Errors put into captions that people wrote: one word or more is changed, the rest stays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from lhrs_chat.text import answers

from . import _nouns
from ._facts import Facts, pick
from ._statements import Beside, Wrong, absent_in, other_numbers

_COLOURS = ("white", "black", "gray", "grey", "red", "green", "blue", "yellow", "brown", "orange")
_NEAR = {
    "white": "gray", "black": "gray", "gray": "white", "grey": "white", "red": "orange", "green": "yellow",
    "blue": "green", "yellow": "orange", "brown": "red", "orange": "red",
}  # fmt: skip
_COLOUR = re.compile(rf"(?:\b(?P<article>an?) )?\b(?P<colour>{'|'.join(_COLOURS)})\b", re.IGNORECASE)
_NUMBER = re.compile(r"\b(two|three|four|five|six|seven|eight|nine|ten)(?= (?!sides?\b|parts?\b|rows?\b|lines?\b)\w)")
_MOST_IN_WORDS = 12
_OPPOSITE = {"left": "right", "right": "left", "upper": "lower", "lower": "upper"}
_SIDE = re.compile(rf"\b({'|'.join(_OPPOSITE)})\b")


def errors(caption: str, facts: Facts, beside: Beside, rng: np.random.Generator) -> Iterator[Wrong]:
    """Yield false versions of a caption, of the kinds that its words allow.

    Args:
        caption: a true sentence, tidy.
        facts: of its picture.
        beside: what other pictures show.
        rng: draws what is put in.
    """
    yield from _colours(caption, rng)
    yield from _numbers(caption, rng)
    sides = len(_SIDE.findall(caption))
    if sides:
        yield Wrong(_SIDE.sub(lambda match: _OPPOSITE[match[0]], caption), "wrong_relation", min(3, 1 + sides))
    yield from _things(caption, facts, beside, rng)


def _colours(caption: str, rng: np.random.Generator) -> Iterator[Wrong]:
    named = [match["colour"].lower() for match in _COLOUR.finditer(caption)]
    if not named:
        return
    near = {name: _NEAR[name] for name in named}
    far = {name: pick(rng, _unlike(name, named)) for name in dict.fromkeys(named)}
    one = pick(rng, named)
    for change, severity in (({one: near[one]}, 1), ({one: far[one]}, 2), (far, 3 if len(far) > 1 else 2)):
        if not set(change.values()) & set(named):
            yield Wrong(_COLOUR.sub(partial(_recoloured, change), caption), "wrong_colour", severity)


def _unlike(colour: str, named: list[str]) -> list[str]:
    """Colours that are neither near to one nor named as well."""
    alike = {colour, _NEAR[colour], *named, *(name for name, near in _NEAR.items() if near == colour)}
    if alike & {"gray", "grey"}:
        alike |= {"gray", "grey"}
    return [name for name in _COLOURS if name not in alike] or ["purple"]


def _recoloured(change: Mapping[str, str], match: re.Match[str]) -> str:
    return _named(match["article"], match["colour"], change.get(match["colour"].lower(), match["colour"]))


def _named(article: str | None, old: str, new: str) -> str:
    """Write a word in the place of another, with the article that it needs."""
    word = new.capitalize() if old[0].isupper() else new
    if not article:
        return word
    right = "an" if new[0] in "aeiou" else "a"
    return f"{right.capitalize() if article[0] == 'A' else right} {word}"


def _numbers(caption: str, rng: np.random.Generator) -> Iterator[Wrong]:
    found = list(_NUMBER.finditer(caption))
    if not found:
        return
    match = found[int(rng.integers(len(found)))]
    number = answers.number(match[0])
    if number is None:
        return
    for other, severity in dict(other_numbers(round(number.value))).items():
        if 2 <= other <= _MOST_IN_WORDS:
            words = _nouns.counted(other, "x").split()[0]
            yield Wrong(f"{caption[: match.start()]}{words}{caption[match.end() :]}", "wrong_count", severity)


def _things(caption: str, facts: Facts, beside: Beside, rng: np.random.Generator) -> Iterator[Wrong]:
    """Name something that is not there in the place of something that is."""
    present = [
        name for name in dict.fromkeys([*facts.present, *facts.sample.targets.labels]) if _nouns.is_counted(name)
    ]
    said = " ".join(facts.sample.targets.captions).lower()
    absent = [name for name in absent_in(facts, beside) if _nouns.is_counted(name) and name not in said]
    if not absent:
        return
    for name in present:
        new = pick(rng, absent)
        for old_form, new_form in ((_nouns.plural(name), _nouns.plural(new)), (name, new)):
            changed = _renamed(caption, old_form, new_form)
            if changed != caption:
                yield Wrong(changed, "swapped_object", 3 if name in facts.sample.targets.labels else 2)
                break


def _renamed(caption: str, old: str, new: str) -> str:
    """Put the name of a thing in the place of another."""
    pattern = rf"(?<![\w-])(?:(?P<article>an?) )?(?P<name>{re.escape(old)})(?![\w-])"
    return re.sub(pattern, lambda match: _named(match["article"], match["name"], new), caption, flags=re.IGNORECASE)
