"""The one answer parser: a choice, yes or no, a number with its unit, a label, boxes, masks, read from free text.

Every function returns None where the text is blank, says nothing of the kind, or says two things. None is never a
guess: letters are not looked for inside words, a part of an answer is not the answer, a range is not a number.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Mask, Number
from lhrs_chat.text import grounding, run_lengths

_THINKING = re.compile(r"<think>.*?(?:</think>|$)", re.DOTALL | re.IGNORECASE)
_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL | re.IGNORECASE)
_MARKER = re.compile(r"\b(?:answer|choice|option)[*_]*\s*(?::|\bis\b\s*:?|\bwould\s+be\b)[*_]*\s*(?=\S)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<!approx)(?<!\bca)(?<!\bsq)[.!?;](?=\s|$)")
_PLAIN = str.maketrans({0x2019: "'", 0x2013: "-", 0x2014: "-", 0x2212: "-", 0xD7: "x", 0xA0: " ", 0x202F: " "})


def _said(text: str) -> str:
    """The text without its thinking and with plain dashes; where a part names itself the answer, the line of it."""
    plain = _THINKING.sub(" ", text).translate(_PLAIN).strip()
    tagged = _TAGGED.findall(plain)
    if tagged:
        plain = tagged[-1].strip()
    ends = [match.end() for match in _MARKER.finditer(plain)]
    return plain[ends[-1] :].split("\n", 1)[0] if ends else plain


def _said_sentence(text: str) -> str:
    """As `_said`; of a line that names itself the answer, its first sentence."""
    said = _said(text)
    whole = _THINKING.sub(" ", text).translate(_PLAIN).strip()
    end = _SENTENCE_END.search(said)
    return said[: end.start()] if end is not None and said != whole and said[: end.start()].strip() else said


# ---------------------------------------------------------------- choices


@dataclass(frozen=True)
class _Option:
    letter: str
    words: str
    given: str


_LETTERED = re.compile(r"\s*\(?([A-Za-z])[).:]\s*(.*)", re.DOTALL)


def _options(options: Sequence[str]) -> list[_Option]:
    """Letters of the options: their own (`A. water`, `B`), else by position."""
    found = [_LETTERED.fullmatch(option) for option in options]
    own = [match[1].upper() for match in found if match]
    if len(own) == len(options) == len(set(own)):
        return [_Option(m[1].upper(), m[2].strip(), o) for m, o in zip(found, options, strict=True) if m]
    if all(len(option.strip()) == 1 and option.strip().isalpha() for option in options):
        return [_Option(option.strip().upper(), "", option) for option in options]
    return [_Option(letter, option, option) for letter, option in zip(string.ascii_uppercase, options, strict=False)]


def choice(text: str, options: Sequence[str]) -> str | None:
    """Return the option that the text chooses, as it stands in `options`.

    Taken: `B`, `(b)`, `B. water`, `Answer: B`, `The answer is B) water`, `option B`, `It is B.`, and the words of one
    option. None where the text is blank, names two options, or gives a letter with the words of another option.

    Args:
        text: what the model said.
        options: `water`, `A. water` or bare letters; letters count by position where they are not written.
    """
    found = _choose(_said(text), _options(options))
    return None if found is None else found.given


def several(text: str, options: Sequence[str]) -> tuple[str, ...] | None:
    """Return the options that the text chooses where more than one may be right, in the order of `options`.

    Taken: a list of letters (`A C`, `AC`, `B, D`, `(a) and (c)`), else what `choice` takes. None where the text is
    blank, names an unknown letter, or says anything else.
    """
    known = _options(options)
    said = _said(text)
    if re.fullmatch(r"\W*[A-Z]{2,}\W*", said) and len(said) <= len(known) + 2:
        said = " ".join(re.findall("[A-Z]", said))
    if re.fullmatch(r"\W*(?:\(?[A-Za-z]\)?[.)]?(?:\s*(?:,|;|/|&|\band\b)\s*|\s+|\W*$))+", said):
        letters = set(re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", said.upper()))
        unknown = letters - {option.letter for option in known}
        return None if unknown else tuple(option.given for option in known if option.letter in letters)
    found = _choose(said, known)
    return None if found is None else (found.given,)


def _choose(text: str, known: Sequence[_Option]) -> _Option | None:
    by_letter = {option.letter: option for option in known}
    worded = _by_words(text, known)
    lone = re.fullmatch(r"[\W_]*([A-Za-z])[\W_]*", text)
    if lone is not None and lone[1].isascii():
        return by_letter.get(lone[1].upper())
    lead = re.match(r"[\s*_\"'`]*(?:\(\s*([A-Za-z])\s*\)|\[\s*([A-Za-z])\s*\]|([A-Za-z])[*_]*\s?[).:])[\s*_]*", text)
    if lead is None:
        lead = re.match(r"[\s*_\"'`]*()()([A-Z])(?:\s+-\s+|\s*\n|\s*,\s+(?=because|since|as\b))", text)
    if lead is not None:
        letter = next(group for group in lead.groups() if group).upper()
        rest = text[lead.end() :]
        others = {found.upper() for found in re.findall(r"(?<![\w'])\(?([A-Za-z])[).:](?=\s|$)", rest)}
        joined = re.match(r"\s*(?:or|and|/|&|,)\s*\(?[A-Za-z]\b(?!['\w])", rest)
        named = _by_words(rest.split("\n")[0], known)
        if joined or (others & by_letter.keys()) - {letter} or (named is not None and named.letter != letter):
            return None
        return by_letter.get(letter)
    letters = {found.upper() for found in re.findall(r"\(([A-Za-z])\)", text)}
    letters |= set(re.findall(r"(?i:\b(?:option|choice|answer))\s+([A-Z])\b", text))
    letters |= set(re.findall(r"(?<![\w'.°-])([B-HJ-Z])(?![\w'-])", text))
    letters |= set(re.findall(r"(?<![\w'.°-])([AI])(?=[\s*\"'.!)]*$)", text))
    letters |= set(re.findall(r"(?<![\w'.°-])([AI])(?=\s*(?:[/,&]|or\b|and\b)\s*\(?[A-Z]\b)", text))
    letters &= by_letter.keys()
    if worded is not None:
        letters.add(worded.letter)
    return by_letter[letters.pop()] if len(letters) == 1 else None


def _by_words(text: str, known: Sequence[_Option]) -> _Option | None:
    """The option whose words the text says; where all options are numbers, the one of that value."""
    worded = [option for option in known if option.words]
    values = [_number(option.words) for option in worded]
    if values and None not in values:
        said = _number(text)
        same = [o for o, value in zip(worded, values, strict=True) if said and value and _equal(said, value)]
        return same[0] if len(same) == 1 else None
    found = label(text, [option.words for option in worded])
    return next((option for option in worded if option.words == found), None)


# ---------------------------------------------------------------- yes or no

_YES = r"(?:yes|yeah|yep|true)"
_NO = r"(?:no|nope|false)"


def yes_no(text: str) -> bool | None:
    """Return True for yes, False for no, None where the text says neither or both.

    The word must open or close what is said. `There is no cloud` is neither: what it means depends on the question.
    """
    plain = re.sub(r"[*_\"'`()\[\]]", " ", _said(text).lower()).strip()
    if re.search(rf"\b(?:{_YES}|{_NO})\s*(?:/|or|and)\s*(?:{_YES}|{_NO})\b", plain):
        return None
    found = set()
    if re.match(rf"\W*{_YES}\b", plain) or re.search(rf"(?<!not )\b{_YES}\W*$", plain):
        found.add(True)
    opens = re.match(rf"\W*{_NO}\b(?=\s*(?:[.,;:!\-\n]|$)|\s+(?:there|it|this|that|the|i|we|they)\b)", plain)
    if opens or re.search(rf"(?<!not )\b{_NO}\W*$", plain):
        found.add(False)
    if re.match(r"\W*no\s+[\w\s-]+?\b(?:is|are|can\s+be)\s+(?:visible|present|seen|shown|detected|found)\b", plain):
        found.add(False)
    return found.pop() if len(found) == 1 else None


# ---------------------------------------------------------------- numbers

_UNITS: dict[str, tuple[str, float, str]] = {
    "%": (r"%|(?:per\s?cent|percentage\s+points|percent)\b", 1.0, "%"),
    "m2": (r"(?:m\^?2|m²|sq\.?\s?m|sqm|square\s+met(?:er|re)s?)(?!\w)", 1.0, "m2"),
    "km2": (r"(?:km\^?2|km²|sq\.?\s?km|square\s+kilomet(?:er|re)s?)(?!\w)", 1e6, "m2"),
    "ft2": (r"(?:ft\^?2|ft²|sq\.?\s?ft|square\s+feet)(?!\w)", 0.09290304, "m2"),
    "ha": (r"(?:ha|hectares?)(?!\w)", 1e4, "m2"),
    "acre": (r"acres?(?!\w)", 4046.8564224, "m2"),
    "km": (r"(?:km|kilomet(?:er|re)s?)(?![\w/])", 1000.0, "m"),
    "cm": (r"(?:cm|centimet(?:er|re)s?)(?!\w)", 0.01, "m"),
    "mm": (r"(?:mm|millimet(?:er|re)s?)(?!\w)", 0.001, "m"),
    "ft": (r"(?:ft|feet|foot)(?!\w)", 0.3048, "m"),
    "m": (r"(?:m|met(?:er|re)s?)(?![\w/])", 1.0, "m"),
    "deg": (r"(?:°(?!\s?[cf]\b)|deg(?:rees?)?\b)", 1.0, "deg"),
    "px": (r"(?:px|pixels?)(?!\w)", 1.0, "px"),
}
UNITS: tuple[str, ...] = ("", *_UNITS)
_UNIT = re.compile(
    r"[\s-]{0,2}(?:" + "|".join(f"(?P<u{i}>{pattern})" for i, (pattern, _, _) in enumerate(_UNITS.values())) + ")"
)
_DIGITS = re.compile(
    r"(?P<minus>(?<![\w)\]])-)?(?P<body>(?<![\w.,])\d[\d.,]*(?:e[-+]?\d+)?)(?P<scale>\s+(?:thousand|million|billion)\b)?"
)
_PLAIN_NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-+]?\d+)?")
_NEAR = 40  # characters before and after a number that can change what it says
_GLUED = re.compile(r"\s?k?m/[a-z]|[^\W\d_]|\s*(?:-|to|x|\*|/|:|\^|±|\+/?-)\s*\d")
_NAMED = re.compile(r"[^\W\d_][-/]?$|\b(?:landsat|sentinel|worldview|band|zone|figure|fig\.)\s$")
_BOUND = re.compile(
    r"(?:\b(?:(?:more|less|fewer|greater|larger|higher|lower|smaller)\s+than|at\s+(?:least|most)|up\s+to|over|under|above"
    r"|below|exceed(?:s|ing)?|no\s+(?:more|less|fewer)\s+than|minimum\s+of|maximum\s+of)|[<>≤≥]=?)\s*$"
)
_SMALL = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
_SMALL |= {"ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16}
_SMALL |= {"seventeen": 17, "eighteen": 18, "nineteen": 19}
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_WORD = rf"(?:{'|'.join([*sorted(_SMALL, key=len, reverse=True), *_TENS, 'hundred', *_SCALES, 'dozen'])})"
_WORDS = re.compile(
    rf"\b(?:a\s+(?=hundred|thousand|million|billion|dozen))?{_WORD}(?:(?:\s?-\s?|\s+and\s+|\s+){_WORD})*\b(?!-)"
)
_PARTS = {"hal": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
_FRACTION = re.compile(
    r"\b(?:(?P<count>an?|one|two|three|four|five|seven|nine)[\s-]+)?(?P<half>half|halves)\b(?=\s+of\b|\s*[.,;!)]|\s*$)"
    r"|\b(?P<many>an?|one|two|three|four|five|seven|nine)[\s-]+(?P<part>third|quarter|fourth|fifth|sixth|eighth|tenth)s?\b"
    r"(?=\s+of\b|\s*[.,;!)]|\s*$)"
)
_NOT_A_COUNT = re.compile(r"\b(?:the|this|that|which|each|every|any|no|another|last|first|next)\s+(?:\w+\s+)?$")
_NOTHING = re.compile(
    r"\W*(?:none|nothing)\W*|\W*there\s+(?:are\s+no|aren't\s+any|are\s+not\s+any)\s+(?!(?:\w+\s+)?(?:way|idea|information"
    r"|evidence|indications?|signs?|details?|clues?|doubt|data|numbers?)\b)[a-z][^.;,]*\W*"
    r"|\W*no\s+[a-z][a-z\s-]*\s(?:is|are|can\s+be)\s+(?:visible|present|seen|shown|detected|found)\b[^.;,]*\W*"
)


def number(text: str) -> Number | None:
    """Return the one number that the text says, with its unit as written: '' for a count, or a name of `UNITS`.

    Taken: `35 %`, `1,234`, `3.5 km2`, `thirty-two`, `about a third` (33.3 %), `1.2 million`, `there are no ships` (0).
    None where there is no number, a bound (`more than 10`), a range, a decimal comma, or two numbers that differ.
    """
    return _number(_said_sentence(text))


def in_unit(number: Number, unit: str) -> float | None:
    """Return the value of a number in another unit of its kind; None where the two do not fit (m and %)."""
    if number.unit == unit:
        return number.value
    if number.unit not in _UNITS or unit not in _UNITS or _UNITS[number.unit][2] != _UNITS[unit][2]:
        return None
    return number.value * _UNITS[number.unit][1] / _UNITS[unit][1]


def _number(text: str) -> Number | None:
    if re.search(r"\d\s?[MKB]\b", text):
        return None  # 5 M may be millions
    text = text.lower()
    if _NOTHING.fullmatch(text):
        return Number(0.0)
    found: list[Number] = []
    left = text
    for read in (_fractions, _digits, _words):
        mentions = read(left)
        if mentions is None:
            return None
        for start, end, mention in mentions:
            if _BOUND.search(text[max(0, start - _NEAR) : start].rstrip(" ~≈")):
                return None
            left = left[:start] + "#" * (end - start) + left[end:]
            found.append(mention)
    if not found:
        return None
    return found[0] if all(_equal(found[0], other) for other in found) else None


_Mentions = list[tuple[int, int, Number]]


def _equal(one: Number, other: Number) -> bool:
    """Whether two numbers say the same in different units to within 1 %: 10 ha is 100,000 m2."""
    (value, base), (wanted, other_base) = (
        (number.value, "") if number.unit == "" else (number.value * _UNITS[number.unit][1], _UNITS[number.unit][2])
        for number in (one, other)
    )
    tolerance = 1e-9 if one.unit == other.unit else 0.01
    return base == other_base and math.isclose(value, wanted, rel_tol=tolerance, abs_tol=1e-12)


def _unit_at(text: str, at: int) -> tuple[str, int]:
    match = _UNIT.match(text, at)
    if match is None:
        return "", at
    index = next(i for i in range(len(_UNITS)) if match[f"u{i}"] is not None)
    return list(_UNITS)[index], match.end()


def _fractions(text: str) -> _Mentions | None:
    found: _Mentions = []
    for match in _FRACTION.finditer(text):
        if re.search(r"(?:\band|\d)\s*$", text[max(0, match.start() - _NEAR) : match.start()]):
            return None
        word = match["count"] or match["many"] or "a"
        count = 1 if word in ("a", "an") else _SMALL[word]
        part = 2 if match["half"] else _PARTS[match["part"]]
        if count <= part:
            found.append((match.start(), match.end(), Number(100.0 * count / part, "%")))
    return found


def _digits(text: str) -> _Mentions | None:
    found: _Mentions = []
    stop = 0
    for match in _DIGITS.finditer(text):
        if match.start() < stop:
            continue  # the 2 of m^2
        body = match["body"].rstrip(".,")
        end = match.start("body") + len(body) if match["scale"] is None or body != match["body"] else match.end()
        unit, stop = _unit_at(text, end)
        if _NAMED.search(text[max(0, match.start() - _NEAR) : match.start()]):
            continue  # the 2 of Sentinel-2
        if _PLAIN_NUMBER.fullmatch(body) is None or _GLUED.match(text, stop):
            return None
        value = float(body.replace(",", ""))
        if end == match.end() and match["scale"]:
            value *= _SCALES[match["scale"].strip()]
        value = -value if match["minus"] else value
        if not math.isfinite(value):
            return None
        found.append((match.start(), stop, Number(value, unit)))
    return found


def _words(text: str) -> _Mentions | None:
    found: _Mentions = []
    for match in _WORDS.finditer(text):
        words = re.split(r"[\s-]+", match[0])
        before, after = text[max(0, match.start() - _NEAR) : match.start()], text[match.end() : match.end() + _NEAR]
        if words == ["one"] and (_NOT_A_COUNT.search(before) or re.match(r"\s+(?:of|another|by|or|can|may)\b", after)):
            continue
        value = _value(words)
        if value is None or re.search(r"\bhalf\s+(?:an?\s+)?$", before):
            return None
        unit, stop = _unit_at(text, match.end())
        found.append((match.start(), stop, Number(float(value), unit)))
    return found


def _value(words: Iterable[str]) -> int | None:
    """Read number words; None where they are no single number (`ten and twenty`)."""
    total, current, last = 0, 0, 10**12
    for word in words:
        if last == 0:
            return None
        if word == "a":
            current = 1
        elif word == "and":
            if (current == 0 or current % 100) and not (total and current == 0):
                return None
        elif word in _SMALL or word in _TENS:
            value = _SMALL.get(word) or _TENS.get(word, 0)
            free = current % 100 if value >= 10 else current % 10 or (10 if current % 100 == 10 else 0)
            if free or (value == 0 and (total or current)):
                return None
            current += value
            if value == 0:
                last = 0
        elif word == "hundred" and 0 < current < 10:
            current *= 100
        elif word == "dozen" and current < 100 and not total:
            current = max(current, 1) * 12
            last = 0
        elif word in _SCALES and current > 0 and _SCALES[word] < last:
            last = _SCALES[word]
            total, current = total + current * last, 0
        else:
            return None
    return total + current


# ---------------------------------------------------------------- labels and boxes

_DENIED = re.compile(
    r"(?:\b(?:not|no|isn't|aren't|neither|nor|without|never)|\brather\s+than|\binstead\s+of)(?:\s+(?!but\b)\w+){0,2}\s*$"
)


@dataclass(frozen=True)
class Mention:
    """A label in a text: where its words stand, and whether the text denies it (`not water`, `without ships`)."""

    label: str
    start: int
    end: int
    denied: bool
    words: str


def label(text: str, labels: Sequence[str], synonyms: Mapping[str, Sequence[str]] | None = None) -> str | None:
    """Return the one label that the text names, as it stands in `labels`.

    Words are found as in `mentions`. None where none or two are named; of two the longer is taken if it holds the
    other (`dense residential`, `residential`). What the text denies (`not water`) is not named.

    Args:
        text: what the model said.
        labels: the labels.
        synonyms: other words for a label.
    """
    named: dict[str, str] = {}
    for mention in mentions(_said_sentence(text), labels, synonyms):
        if not mention.denied:
            named.setdefault(mention.label, mention.words)
    if not named:
        return None
    longest = max(named, key=lambda name: len(named[name].split()))
    return longest if all(f" {words} " in f" {named[longest]} " for words in named.values()) else None


def mentions(text: str, labels: Sequence[str], synonyms: Mapping[str, Sequence[str]] | None = None) -> list[Mention]:
    """Find every place where a text names a label, the longest labels first; no words are counted twice.

    Whole words only; case, `_`, `-`, joined words (`BareLand`) and a plural s make no difference. Arguments as in
    `label`.
    """
    words = [(_pieces(word), name) for name in labels for word in (name, *(synonyms or {}).get(name, ()))]
    known = sorted((row for row in words if row[0]), key=lambda row: -len("".join(row[0])))
    plain = text.lower()
    found = []
    for pieces, name in known:
        pattern = _pattern(pieces)
        for match in pattern.finditer(plain):
            clause = re.split(r"[.,;:!?\n\x00]|\bbut\b", plain[: match.start()])[-1]
            denied = _DENIED.search(clause) is not None
            found.append(Mention(name, match.start(), match.end(), denied, " ".join(pieces)))
        plain = pattern.sub(lambda match: "\x00" * len(match[0]), plain)
    return found


def _pieces(name: str) -> list[str]:
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W_]+", parted.lower())


def _pattern(pieces: Sequence[str]) -> re.Pattern[str]:
    """Find the words of a label: `bare land`, `BareLand`, `bare-lands`; a number only if it is no part of another."""
    last = pieces[-1]
    if last.isalpha() and len(last) > 3 and last.endswith("s") and not last.endswith("ss"):
        last = last[:-1]
    plural = "(?:e?s)?" if last.isalpha() and len(last) > 2 else ""
    body = re.escape(pieces[0] if len(pieces) > 1 else last)
    for before, piece in pairwise([*pieces[:-1], last]):
        least = 0 if before.isalpha() and piece.isalpha() else 1
        body += rf"[\W_]{{{least},3}}{re.escape(piece)}"
    start = r"(?<!\d[.,])(?<!-)" if pieces[0][0].isdigit() else ""
    end = r"(?![.,]\d)(?!-\d)" if last[-1].isdigit() else ""
    return re.compile(rf"{start}(?<![^\W_]){body}{plural}(?![^\W_]){end}")


def boxes(text: str, dialect: str = "brackets100", size_px: tuple[int, int] | None = None) -> list[Box]:
    """Return the valid boxes of the text; arguments and errors as in `grounding.parse`."""
    return grounding.parse(_THINKING.sub(" ", text), dialect, size_px)


# ---------------------------------------------------------------- short open answers

_LEAD = re.compile(
    r"(?:(?:yes|sure)\W+)?(?:(?:it|this|that|these|those|they|there|here)\s+(?:is|are|appears?\s+to\s+be|seems?\s+to\s+be)"
    r"|(?:it's|that's|there's|they're))\s+"
)


def phrase(text: str) -> str | None:
    """Return a short open answer so that two of them can be compared; None where nothing is said.

    Lower case, one space between words, no punctuation, no articles, no lead-in: `It is a Tennis-Court.` and
    `tennis court` are the same.
    """
    said = _LEAD.sub("", _said_sentence(text).strip().lower(), count=1)
    words = re.findall(r"[^\W_]+(?:[.,]\d+)*%?", said)
    return " ".join(word for word in words if word not in ("a", "an", "the")) or None


# ---------------------------------------------------------------- masks

_RUNS = re.compile(r"\{[^{}]*\"counts\"[^{}]*\}")


def masks(text: str) -> list[Mask]:
    """Return the masks of the text, written as COCO run lengths: `{"size": [height, width], "counts": ...}`.

    `counts` is a list or COCO's packed text. What is no mask is left out.
    """
    found = []
    for piece in _RUNS.findall(text):
        try:
            found.append(run_lengths.from_coco(json.loads(piece)))
        except (ValueError, DataError):
            continue
    return found
