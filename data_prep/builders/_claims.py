"""What a description claims: things, things denied, numbers and places with what they are said of, words of amount.

Two texts say the same when their claims are equal. The reading is careful: what it cannot tie to a thing, or ties to
another one than before, counts as a difference, so that a true rewording may be refused, but a false one hardly passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from lhrs_chat.schema import Sample
from lhrs_chat.text import answers

from ..sources import _osm_kinds
from ..sources.worldcover import WORLDCOVER
from . import _nouns

Mark = str
Tied = frozenset[tuple[Mark, str]]
"""Numbers, or places, each with the thing it is said of."""

_MORE_THINGS = (
    "airplane", "airport", "aircraft", "bare land", "bare soil", "baseball field", "basketball court", "beach", "boat",
    "bridge", "bus", "car", "chimney", "city", "container", "crane", "dam", "desert", "factory", "farm", "fence",
    "field", "grass", "ground track field", "gravel", "greenhouse", "harbor", "harbour", "helicopter", "hill", "house",
    "intersection", "island", "lawn", "mountain", "ocean", "overpass", "palm", "parking lot", "pavement", "people",
    "person", "plane", "playground", "pool", "port", "rail", "railway", "rice field", "road", "rock", "roundabout",
    "runway", "sand", "sea", "ship", "shrub", "snow", "soccer field", "solar panel", "stadium", "storage tank",
    "street", "swimming pool", "tennis court", "tent", "town", "tower", "track", "train", "tree", "truck", "van",
    "vegetation", "vehicle", "vessel", "viaduct", "village", "water", "wind turbine", "windmill", "yacht",
)  # fmt: skip
LEXICON = frozenset(
    [
        *_MORE_THINGS,
        *WORLDCOVER.values(),
        *(name for kinds in _osm_kinds.AREAS.values() for name in kinds.values()),
        *(name for kinds in _osm_kinds.LINES.values() for name, _ in kinds.values()),
    ]
)
"""Things that a picture from above may show: a text that names one of them claims that it is there."""

_AMOUNTS = {
    "most": r"most|mostly|mainly|majority|predominantly|primarily|chiefly|dominated|dominates|dominate|main",
    "all": r"all|every|each|entire|entirely|whole|only|throughout|completely",
    "almost": r"almost|nearly|hardly",
    "several": r"several|some|multiple|various",
    "many": r"many|numerous|countless|lots|plenty|dozens|hundreds",
    "few": r"few|couple|pair",
    "largest": r"largest|biggest|greatest",
    "smallest": r"smallest|tiniest",
    "more": r"more",
    "less": r"less|fewer",
    "least": r"least",
    "not": r"no|not|none|never|without|neither|nor|cannot|absent|missing|lacks?|\w+n't",
}
_SIDES = {
    "left": r"left|leftmost|left-hand",
    "right": r"right|rightmost|right-hand",
    "upper": r"upper|top|topmost",
    "lower": r"lower|bottom|bottommost",
    "middle": r"middle|centre|center|central",
    "above": r"above",
    "below": r"below|beneath",
    "north": r"north|northern",
    "south": r"south|southern",
    "east": r"east|eastern",
    "west": r"west|western",
    "north east": r"north-?east(?:ern)?",
    "north west": r"north-?west(?:ern)?",
    "south east": r"south-?east(?:ern)?",
    "south west": r"south-?west(?:ern)?",
}
_SIDE = re.compile(r"\b(?:" + "|".join(f"(?:{words})" for words in _SIDES.values()) + r")\b")
_PLACE = re.compile(rf"{_SIDE.pattern}(?:(?:\s+|-){_SIDE.pattern})*")
_NUMBER_WORD = (
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    r"|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|dozen|half|third"
    r"|quarter)s?"
)
_NUMBER = re.compile(
    rf"(?<![\w.])(?:\d[\d,.]*|{_NUMBER_WORD}\b(?:[\s-]+(?:and\s+)?{_NUMBER_WORD}\b)*)(?:\s?%|\s(?:\w+)(?:\s\w+)?)?"
)
_PART = re.compile(rf"{_SIDE.pattern}(?:\s+|-)(?:hal(?:f|ves)|quarters?|thirds?)\b")  # of the picture: no number
_DENIED_AFTER = r"(?:\s+\w+)?\s+(?:is|are|was|were|can|could)(?:\s+(?:not|never|absent|missing|nowhere)\b|n't\b|not\b)"
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")


@dataclass(frozen=True)
class Claims:
    """What a text claims.

    Args:
        things: named in it.
        denied: of these, what is said not to be there.
        amounts: words of amount, by their meaning.
        numbers: ways to read its numbers.
        places: ways to read its places.
    """

    things: frozenset[str]
    denied: frozenset[str]
    amounts: frozenset[str]
    numbers: frozenset[Tied]
    places: frozenset[Tied]

    @staticmethod
    def of(text: str, vocabulary: Iterable[str] = ()) -> Claims:
        """Read a text. `vocabulary`: names of things beside those of the lexicon."""
        words = sorted(LEXICON.union(vocabulary), key=lambda name: (-len(name), name))
        plain = re.sub(r"\s+", " ", text.lower()).strip()
        sentences = [(sentence, _mentions(sentence, words)) for sentence in _SENTENCE.split(plain) if sentence]
        named = [(name, sentence) for sentence, found in sentences for _, _, name in found]
        return Claims(
            frozenset(name for name, _ in named),
            frozenset(name for name, sentence in named if _is_denied(sentence, name)),
            frozenset(meaning for meaning, words in _AMOUNTS.items() if re.search(rf"\b(?:{words})\b", plain)),
            _readings([(_numbers(sentence, found), found) for sentence, found in sentences]),
            _readings([(_places(sentence), found) for sentence, found in sentences]),
        )

    def faults(self, reworded: Claims) -> list[str]:
        """Tell what a rewording lost, invented or moved; nothing where it says the same."""
        told = []
        for what in ("things", "denied", "amounts"):
            was, now = getattr(self, what), getattr(reworded, what)
            told += [f"it leaves out {word!r}" for word in sorted(was - now)]
            told += [f"it adds {word!r}" for word in sorted(now - was)]
        if not self.numbers & reworded.numbers:
            told.append("its numbers differ, or are said of something else")
        if not self.places & reworded.places:
            told.append("its places differ, or are said of something else")
        return told


def vocabulary_of(row: Sample) -> set[str]:
    """The names of all things that a row speaks of."""
    targets = row.targets
    labels = [box.label for box in targets.boxes] + [mask.label for mask in targets.masks]
    return {name for name in (*targets.labels, *(number.label for number in targets.numbers), *labels) if name}


_Mention = tuple[int, int, str]


def _mentions(sentence: str, names: Sequence[str]) -> list[_Mention]:
    """Where things are named, longer names first: a church building is no building besides."""
    found = []
    left = sentence
    for name in names:
        if name.split()[-1] not in left and _nouns.plural(name).split()[-1] not in left:
            continue
        pattern = rf"(?<![\w-])(?:{re.escape(name)}|{re.escape(_nouns.plural(name))})(?![\w-])"
        for match in re.finditer(pattern, left):
            found.append((match.start(), match.end(), name))
        left = re.sub(pattern, lambda match: "\0" * len(match[0]), left)
    return sorted(found)


def _is_denied(sentence: str, name: str) -> bool:
    """Whether a sentence names a thing only to say that it is not there."""
    names = [name, _nouns.plural(name)]
    if any(re.search(re.escape(form) + _DENIED_AFTER, sentence) for form in names):
        return True
    return answers.label(sentence, [name], {name: names}) is None


def _numbers(sentence: str, found: Sequence[_Mention]) -> list[tuple[int, int, Mark]]:
    """The numbers of a sentence; `a ship` is one ship."""
    marks = []
    for match in _NUMBER.finditer(_PART.sub(lambda part: "\0" * len(part[0]), sentence)):
        number = answers.number(match[0])
        if number is not None:
            start = match.start()
            marks.append((start, start + len(match[0].split(" ")[0]), f"{number.value:g} {number.unit}".strip()))
    for start, _, name in found:
        article = re.search(r"\b(?:an?|a single|the only)\s+(?:[a-z-]+\s+){0,2}$", sentence[:start])
        if article and _nouns.is_counted(name) and not sentence.startswith(_nouns.plural(name), start):
            marks.append((article.start(), article.start() + 1, "1"))
    return sorted(set(marks))


def _places(sentence: str) -> list[tuple[int, int, Mark]]:
    return [(match.start(), match.end(), _side(match[0])) for match in _PLACE.finditer(sentence)]


def _side(words: str) -> str:
    """`top-left`, `upper left` and `left upper` are one place."""
    names = {name for piece in _SIDE.findall(words) for name, form in _SIDES.items() if re.fullmatch(form, piece)}
    return " ".join(sorted(names))


def _readings(sentences: Sequence[tuple[list[tuple[int, int, Mark]], list[_Mention]]]) -> frozenset[Tied]:
    """All ways to tie the marks of a text to things: in a sentence, all of them to what is before, or to what is after.

    Where neither works, each is tied to the nearest thing; to none, where the sentence names none.
    """
    choices = [list(_tied(marks, found)) for marks, found in sentences if marks]
    return frozenset(frozenset().union(*chosen) for chosen in product(*choices))


def _tied(marks: Sequence[tuple[int, int, Mark]], found: Sequence[_Mention]) -> Iterator[Tied]:
    if not found:
        yield frozenset((mark, "") for _, _, mark in marks)
        return
    before = [(mark, [name for _, end, name in found if end <= start]) for start, _, mark in marks]
    after = [(mark, [name for start, _, name in found if start >= end]) for _, end, mark in marks]
    ways = [
        frozenset((mark, names[place]) for mark, names in way)
        for way, place in ((before, -1), (after, 0))
        if all(names for _, names in way)
    ]
    yield from ways
    if not ways:
        yield frozenset(
            (mark, min(found, key=lambda one: max(one[0] - end, start - one[1]))[2]) for start, end, mark in marks
        )
