"""What may be asked, and what a question asks for: which image, which thing, an amount, a cover that can be measured.

A cover is told only from questions whose every word is understood: a measure that answers another question than the
one that was asked is worse than none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lhrs_chat.errors import LhrsError

MAX_CHARS = 4000
MAX_TEMPERATURE = 10.0
MAX_SEED = 2**63 - 1
_GENERAL = {"water": {"water"}, "vegetation": {"vegetation", "vegetated", "greenery", "plant"}}
_NARROWER = {  # kinds of a cover, which no index tells from its other kinds
    "water": {
        *("lake", "river", "sea", "ocean", "pond", "reservoir", "lagoon", "bay", "canal", "stream", "waterway"),
        *("flood", "flooding", "flooded", "floodwater", "inundation", "inundated"),
    },
    "vegetation": {
        *("forest", "forested", "woodland", "wood", "wooded", "tree", "grass", "grassland", "crop", "meadow"),
        *("canopy", "shrub", "shrubland"),
    },
}
_IMAGE = r"(?:image|scene|picture|photo|photograph|raster|tile|view|map|chip|frame)s?"
_PLACE = rf"(?:{_IMAGE}|area|region|land|ground|surface|terrain|landscape)"
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_THE = r"(?:the|this|that|these|my|a|an)"
_WHICH = rf"(?:satellite|aerial|radar|optical|whole|entire|full|complete|total|last|{'|'.join(_ORDINALS)})"
_IN_SCENE = re.compile(
    rf"\b(?:in|on|within|of|from|inside|across|throughout|over)\s+"
    rf"(?:(?:{_THE}\s+)?(?:{_WHICH}\s+)*{_PLACE}(?:\s+\d+)?|it|this|here|there)\b(?!\s+(?:near|around|along|of|at|by))"
)
_VERB = re.compile(r"\b(?:is|are|was|were|do|does|did|can|could|has|have)\b")
_SHARE = re.compile(
    r"\b(?:how\s+(?:much|large|big|extensive)"
    r"|how\s+many\s+(?:hectares?|ha|acres?|km2|m2|percent|(?:square|sq)\s+\w+)"
    r"|(?:what|which)\s+(?:percentage|percent|share|fraction|proportion|portion|amount|part|area|extent|region|place)s?"
    r"|(?:percentage|percent|share|fraction|proportion|portion|amount|area|extent|size|coverage)s?\s+of)\b"
)
_WHERE = re.compile(
    r"\b(?:where(?:'s|\s+(?:is|are|do\s+you\s+see|can\s+(?:i|you)\s+(?:see|find)))|locate|find|point\s+(?:to|at|out)"
    r"|detect|outline|segment|delineate|show(?:\s+me)?|(?:^|(?<=please\s))map|mark|highlight"
    r"|(?:bounding\s+)?box(?:es)?\s+(?:of|for|around)|(?:coordinates|position|location)\s+of)\s+(?P<thing>.+)",
    re.IGNORECASE,
)
_WHERE_LAST = re.compile(r"\bwhere\s+(?P<thing>.+?)\s+(?:is|are)$")
_HOW_MANY = re.compile(r"\b(?:how\s+many|number\s+of|count)\s+(?:the\s+|all\s+)*(?P<thing>.+)", re.IGNORECASE)
_PRESENCE = re.compile(
    r"\b(?:(?:is|are|was|were)\s+there"
    r"|(?:do|does|did|can|could)\s+(?:it|this|you|we|i|one|(?:the|this|that)\s+(?:\w+\s+)?\w+)\s+(?:see|show|contain|have"
    r"|include|spot|recogni[sz]e|make\s+out))\s+(?P<thing>.+)",
    re.IGNORECASE,
)
_VISIBLE = re.compile(
    r"^(?:is|are)\s+(?P<thing>.+?)\s+(?:visible|present|shown|(?:to\s+be\s+)?seen|there)$", re.IGNORECASE
)
_STATE = re.compile(
    rf"^(?:is|are|was|were)\s+(?:(?:most|much|some|any|parts?|half|all)\b\s*)?(?:of\s+)?(?:{_THE}\s+(?:{_WHICH}\s+)*{_PLACE}\s+)?"
    r"(?P<thing>(?:mostly|mainly|largely|partly|partially|completely|entirely|covered|flooded|inundated|under|vegetated"
    r"|forested|wooded)\b.*)$"
)
_MEASURE_OF = re.compile(
    r"^(?:(?:what\s+is|what's|tell|give|estimate|measure|compute|calculate|determine|me|the)\s+)*"
    r"(?P<thing>\w+(?:\s+\w+)?\s+(?:percentage|share|fraction|proportion|coverage|cover|extent|area|surface))$"
)
_COMPARED = re.compile(
    r"\b(?:compare\s+|(?:which|what)\s+(?:is|are|covers?|takes?|occup\w+)\b.*?\b(?:larger|bigger|more|greater|smaller|less)\b)"
    r"(?P<thing>.+)$"
)
_COVERED = re.compile(r"\b(?:covered|occupied|taken\s+up|made\s+up|overgrown|under)\b(?:\s+(?:by|with|in|of)\b)?")
_JOINED = re.compile(r"\b(?:and|or|than|versus|vs|nor|plus)\b|[/,;:]")
_CLAUSE = re.compile(r"[?.!;]+|,?\s*\band\s+(?=(?:how|what|where|which|is|are|does|do|can)\b)")
_FILLERS = {
    *("the", "a", "an", "any", "some", "all", "every", "each", "this", "that", "these", "those", "its", "of", "by"),
    *("much", "many", "more", "most", "less", "lot", "amount", "total", "open", "visible", "present", "shown", "seen"),
    *("there", "here", "located", "please", "body", "area", "region", "zone", "surface", "part", "place", "patch"),
    *("cover", "covered", "coverage", "covering", "land", "extent", "percentage", "share", "fraction", "proportion"),
    *("portion", "mostly", "mainly", "largely", "partly", "partially", "completely", "entirely", "currently", "now"),
    *("is", "are", "be", "to"),
}
_EXISTS = {
    *("there", "visible", "present", "shown", "seen", "see", "find", "you", "we", "i", "it", "be", "to", "the", "this"),
    *(
        "image",
        "scene",
        "picture",
        "contain",
        "have",
        "show",
        "include",
        "located",
        "here",
        "in",
        "total",
        "altogether",
    ),
}
_AMOUNT = re.compile(
    r"\b(?:how\s+(?:many|much|high|tall|long|wide|big|large|far|deep)|number\s+of|count|percent(?:age)?|share|fraction"
    r"|proportion|area|height|length|width|distance|size|extent)\b",
    re.IGNORECASE,
)
_TAIL = re.compile(
    rf"\s+(?:in|on|within|of|from|inside)\s+(?:the|this|that|these|an?|both)?\s*(?:\w+\s+){{0,2}}(?:{_IMAGE}|it)\b.*$"
    r"|\s+(?:are|is|do|can|does|were|was)\b.*$"
    r"|\s+(?:located|visible|shown|please|here|there)\b.*$",
    re.IGNORECASE,
)
_ARTICLE = re.compile(
    r"^(?:the|an?|any|all|some|every|each|me|of|(?:square\s+)?(?:hecta|ki?lo|me)\w+\s+of)\s+", re.IGNORECASE
)


@dataclass(frozen=True)
class AskedCover:
    """A cover that a question asks for, by the word `named`, which may be a kind of it, such as a lake."""

    cover: str
    named: str

    @property
    def is_kind(self) -> bool:
        """Tell whether a kind of the cover was named, and not the cover as such."""
        return not _forms(self.named) & _GENERAL[self.cover]


def check(question: str, *, max_new_tokens: int = 128, temperature: float | None = None, seed: int = 0) -> str:
    """Return the question without blanks around it.

    Raises:
        LhrsError: it is empty, too long or no text, or a setting is out of range.
    """
    asked = question.strip()
    if not asked:
        raise LhrsError("the question is empty", found=repr(question), next_step="ask something about the image")
    if len(asked) > MAX_CHARS:
        raise LhrsError("the question is too long", found=f"{len(asked)} characters", allowed=f"up to {MAX_CHARS}")
    if not asked.isascii() and any("\ud800" <= letter <= "\udfff" for letter in asked):
        raise LhrsError("the question is no text", found=ascii(asked[:80]), allowed="text in UTF-8")
    if max_new_tokens < 1:
        raise LhrsError("an answer needs room for a token", found=max_new_tokens, allowed="max_new_tokens >= 1")
    if temperature is not None and not 0.0 <= temperature <= MAX_TEMPERATURE:
        raise LhrsError("temperature out of range", found=temperature, allowed=f"0 to {MAX_TEMPERATURE:g}")
    if not 0 <= seed <= MAX_SEED:
        raise LhrsError("seed out of range", found=seed, allowed=f"0 to {MAX_SEED}")
    return asked


def about(question: str, count: int) -> int:
    """Return which of `count` images a question means: the one it names ('image 2', 'first image'), else the last."""
    named = re.search(r"\b(?:image|picture|scene)\s+(\d+)\b", question, re.IGNORECASE)
    if named is not None and 1 <= int(named[1]) <= count:
        return int(named[1]) - 1
    for number, word in enumerate(_ORDINALS[:count]):
        if re.search(rf"\b{word}\s+(?:image|picture|scene|one|date)\b", question, re.IGNORECASE):
            return number
    return count - 1


def asked_thing(question: str) -> str:
    """Return what a question asks for: 'Where is the lake?' -> 'lake', 'How many ships are there?' -> 'ships'."""
    found = _WHERE.search(question) or _HOW_MANY.search(question) or _PRESENCE.search(question)
    if found is None:
        covers = asked_covers(question)
        return covers[0].named if len(covers) == 1 else ""
    thing = re.split(r"[?.!,;:\n]", found["thing"], maxsplit=1)[0].strip()
    thing = _TAIL.sub("", thing).strip(" '\"")
    while (shorter := _ARTICLE.sub("", thing)) != thing:
        thing = shorter
    return thing[:60]


def asks_amount(question: str) -> bool:
    """Tell whether a question asks for a quantity, so that a number in the answer is its answer."""
    return _AMOUNT.search(question) is not None


def asked_covers(question: str) -> tuple[AskedCover, ...]:
    """Return the covers (`water`, `vegetation`) whose share, place or presence a question asks for."""
    plain = re.sub(r"\s+", " ", _IN_SCENE.sub(" ", question.lower())).strip()
    things = [found["thing"] for found in [_COMPARED.search(plain.rstrip(" ?.!"))] if found]
    for clause in _CLAUSE.split(plain):
        things += _things(re.sub(r"\s+", " ", clause).strip(" ,"))
    found = [_cover(part) for thing in things for part in _JOINED.split(_COVERED.sub(" ", thing))]
    covers: dict[str, AskedCover] = {}
    for asked in found:
        if asked is not None:
            covers.setdefault(asked.cover, asked)
    return tuple(covers.values())


def _things(clause: str) -> list[str]:
    """What one clause asks the share, place or presence of."""
    share = _SHARE.search(clause)
    if share is not None:
        return [_shared(clause[share.end() :].strip().removeprefix("of "))]
    for pattern in (_WHERE_LAST, _WHERE, _PRESENCE, _VISIBLE, _STATE, _MEASURE_OF):
        found = pattern.search(clause)
        if found is not None:
            return [found["thing"]]
    return [clause] if " " not in clause.removeprefix("any ") else []


def _shared(rest: str) -> str:
    """What a share is asked of, from the words after 'how much': 'water is there', 'is water', 'do trees cover'."""
    verb = _VERB.search(rest)
    if verb is None:
        return rest
    before, after = rest[: verb.start()].strip(), rest[verb.end() :].strip()
    if not before:
        return after
    return before if set(after.split()) <= _EXISTS else ""


def _cover(phrase: str) -> AskedCover | None:
    """The cover that a phrase names, where each of its words is understood and names the same one."""
    asked: dict[str, str] = {}
    for word in re.findall(r"[^\W_]+", phrase):
        forms = _forms(word)
        if forms & _FILLERS:
            continue
        cover = next((name for name in _GENERAL if forms & (_GENERAL[name] | _NARROWER[name])), None)
        if cover is None:
            return None
        if cover not in asked or forms & _NARROWER[cover]:
            asked[cover] = word
    return AskedCover(*asked.popitem()) if len(asked) == 1 else None


def _forms(word: str) -> set[str]:
    """A word and what it may be the plural of."""
    return {word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"}
