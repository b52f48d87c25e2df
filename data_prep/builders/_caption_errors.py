"""Errors put into captions that people wrote: one word or more is changed, the rest stays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from . import _nouns
from ._beside import COLOURS, NUMBERS, Beside, wrong_numbers
from ._facts import Facts, pick
from ._statements import Wrong, absent_in

_NEAR = {
    "white": "gray", "black": "gray", "gray": "white", "grey": "white", "red": "orange", "green": "yellow",
    "blue": "green", "yellow": "orange", "brown": "red", "orange": "red",
}  # fmt: skip
_COLOUR = re.compile(rf"(?:\b(?P<article>an?) )?\b(?P<colour>{'|'.join(COLOURS)})\b(?= (?P<word>\w+))?", re.IGNORECASE)
_NUMBER = re.compile(rf"\b({'|'.join(NUMBERS)})(?= (?!sides?\b|parts?\b|rows?\b|lines?\b)(\w+))")
_VALUES = {word: value for value, word in enumerate(NUMBERS, 2)}
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
    yield from _colours(caption, beside, rng)
    yield from _numbers(caption, beside, rng)
    sides = len(_SIDE.findall(caption))
    if sides:
        yield Wrong(_SIDE.sub(lambda match: _OPPOSITE[match[0]], caption), "wrong_relation", min(3, 1 + sides))
    yield from _things(caption, facts, beside, rng)


def _colours(caption: str, beside: Beside, rng: np.random.Generator) -> Iterator[Wrong]:
    """Recolour one thing, and everything that has a colour."""
    words = {match["colour"].lower(): (match["word"] or "").lower() for match in _COLOUR.finditer(caption)}
    named, change = {_spelt(colour) for colour in words}, {}
    for colour, word in words.items():
        others = [said for said in beside.named(word) if said in COLOURS]
        new = pick(rng, others) if others else colour
        if _spelt(new) not in named:
            change[colour] = new
    if not change:
        return
    one = pick(rng, list(change))
    yield Wrong(
        _COLOUR.sub(partial(_recoloured, {one: change[one]}), caption),
        "wrong_colour",
        1 if _NEAR[one] == change[one] or _NEAR[change[one]] == one else 2,
    )
    if len(change) > 1:
        yield Wrong(_COLOUR.sub(partial(_recoloured, change), caption), "wrong_colour", 3)


def _spelt(colour: str) -> str:
    return "gray" if colour == "grey" else colour


def _recoloured(change: Mapping[str, str], match: re.Match[str]) -> str:
    return _named(match["article"], match["colour"], change.get(match["colour"].lower(), match["colour"]))


def _named(article: str | None, old: str, new: str) -> str:
    """Write a word in the place of another, with the article that it needs."""
    word = new.capitalize() if old[0].isupper() else new
    if not article:
        return word
    right = "an" if new[0] in "aeiou" else "a"
    return f"{right.capitalize() if article[0] == 'A' else right} {word}"


def _numbers(caption: str, beside: Beside, rng: np.random.Generator) -> Iterator[Wrong]:
    found = list(_NUMBER.finditer(caption))
    if not found:
        return
    match = found[int(rng.integers(len(found)))]
    others = [_VALUES[said] for said in beside.named(match[2].lower()) if said in _VALUES]
    for other, severity in wrong_numbers(_VALUES[match[1]], others, rng):
        yield Wrong(f"{caption[: match.start()]}{NUMBERS[other - 2]}{caption[match.end() :]}", "wrong_count", severity)


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
