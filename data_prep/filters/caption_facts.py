"""Texts that contradict the facts of their row: numbers, things that are not there, places in the picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.frames import convert
from lhrs_chat.schema import Box, Sample
from lhrs_chat.text import answers

from ..builders._facts import Facts
from . import Filter, FilterOptions
from ._texts import told

_BEFORE = 60  # characters before the name of a thing in which its number stands
_NUMBER_BEFORE = re.compile(
    r"(?<![\w.,-])(\d+|no|a single|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen"
    r"|fifteen|sixteen|seventeen|eighteen|nineteen|twenty)\s+(?:(?!and\b|or\b|of\b)[a-z-]+\s+){0,2}$"
)
_BOUND_BEFORE = re.compile(r"\b(?:than|least|most|about|around|over|nearly|almost|approximately|some|to|or)\s+$")
_SINGLE = {"no": 0, "a single": 1}
_PLACE_AFTER = re.compile(
    r"\s+(?:(?:is|are|lies?|can be seen|visible|located|situated)\s+){0,2}(?:in|on|at|to|near|towards?)\s+the\s+"
    r"(?:(upper|top|lower|bottom|northern|southern|north|south)[\s-]*)?"
    r"(left|right|western|eastern|west|east|centre|center|middle)?"
    r"(?:\s*(?:side|corner|part|edge|half|area|quadrant))?(?:\s+of\s+the\s+(?:image|picture|scene))?"
    r"\s*(?=[.,;!?]|$|and\b)"
)
_ROWS = {word: 0 for word in ("upper", "top", "northern", "north")} | {
    word: 1 for word in ("lower", "bottom", "southern", "south")
}
_COLUMNS = {word: 0 for word in ("left", "western", "west")} | {word: 1 for word in ("right", "eastern", "east")}
_REACH = 0.1  # of the picture, by which the halves are taken larger: places are said loosely


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge every answer, or every caption of a row of facts, by the targets of the row."""
    for where, text in told(sample):
        reason = next(contradictions(text, sample), None)
        if reason:
            return f"{where} {reason}"
    return _wrong_number(sample)


def contradictions(text: str, sample: Sample) -> Iterator[str]:
    """Yield what a text says against the facts: their numbers, what they exclude, and where they know things to lie."""
    facts = Facts(sample)
    counts = _counts(facts)
    absent = set(facts.absent)
    labels = list(dict.fromkeys([*counts, *absent, *facts.boxes]))
    plain = text.lower()
    for mention in answers.mentions(text, labels):
        said = _number_before(plain[: mention.start])
        known = counts.get(mention.label)
        if said is not None and known is not None and said != known:
            yield f"says {said} {mention.label}, the facts count {known}"
        elif mention.label in absent and not mention.denied and said != 0:
            yield f"names {mention.label!r}, which the facts exclude"
        elif mention.label in facts.boxes and not mention.denied:
            boxes = [box for _, box in facts.boxes[mention.label]]
            place = _PLACE_AFTER.match(plain, mention.end)
            if place and not any(_lies(box, place, sample) for box in boxes):
                yield f"puts {mention.label!r}{place[0].rstrip()}, where the facts have none"


def absent_named(sample: Sample) -> str | None:
    """Tell which class an answer names though the facts of its own row exclude it."""
    absent = Facts(sample).absent
    for where, text in told(sample):
        for mention in answers.mentions(text, absent):
            if not mention.denied and _number_before(text.lower()[: mention.start]) != 0:
                return f"{where} names the absent class {mention.label!r}"
    return None


def _counts(facts: Facts) -> Mapping[str, int]:
    """How many there are of each thing that is counted for certain."""
    boxed = {label: len(facts.boxes.get(label, ())) for label in facts.complete if label in facts.boxes}
    return {**boxed, **facts.counts}


def _number_before(text: str) -> int | None:
    """The number right before a thing: `three large ships`; None for a bound or an estimate."""
    match = _NUMBER_BEFORE.search(text[-_BEFORE:])
    if match is None or _BOUND_BEFORE.search(text[-_BEFORE:][: match.start()]):
        return None
    if match[1] in _SINGLE:
        return _SINGLE[match[1]]
    found = answers.number(match[1])
    return None if found is None else round(found.value)


def _lies(box: Box, place: re.Match[str], sample: Sample) -> bool:
    """Whether the centre of a box lies where the words put it, or cannot be told."""
    size_px = sample.images[0].size_px if sample.images else None
    if size_px is None and box.frame == "pixel":
        return True
    try:
        x1, y1, x2, y2 = convert(box, "unit", size_px=size_px or (1, 1), georef=sample.images[0].georef).xyxy
    except GeoError:
        return True
    row, column = place[1], place[2]
    fits = True
    for word, sides, centre in ((row, _ROWS, (y1 + y2) / 2), (column, _COLUMNS, (x1 + x2) / 2)):
        if word in sides:
            fits &= centre <= 0.5 + _REACH if sides[word] == 0 else centre >= 0.5 - _REACH
        elif word in ("centre", "center", "middle"):
            fits &= 1 / 3 - _REACH <= centre <= 2 / 3 + _REACH
    return fits


def _wrong_number(sample: Sample) -> str | None:
    """Compare the answer of a counting question with the one number of its targets."""
    numbers = sample.targets.numbers
    if sample.task != "count" or len(numbers) != 1 or not sample.messages:
        return None
    said = answers.number(sample.messages[-1].text)
    if said is not None and said.unit == numbers[0].unit and said.value != numbers[0].value:
        return f"the answer is {said.value:g}, the facts count {numbers[0].value:g}"
    return None


FILTER = Filter(check)
