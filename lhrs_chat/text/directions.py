"""Words about directions, turned and mirrored together with a picture.

A word has one partner for each quarter turn, so that four single turns give the text back:

- left, bottom, right, top; leftmost, left-most, leftward, leftwards and their likes
- "to the left of" and "below"; "left of", whose partner is "lower down than"
- upper and lower, whose partners are left-hand and right-hand
- ninths of the picture: "upper middle", "middle left"
- corners: "upper left", "top-right", "left bottom", "north-east", "southwestern", "NE"
- north, west, south and east, also with -ern, -erly, -ward, -wards, -bound and -ernmost
- horizontal and vertical, which change places

What does not speak of places in the picture stays as it is:

- other meanings: "all right", "..., right?", "right now", "right angle", "turn left", "is left empty", "on top of",
  "top view", "bottom line", "vertical height"
- upper, lower, left-hand and right-hand, unless they begin the text, follow "the" or precede a word such as "part" or
  "side": "lower than", "a lower density"
- "above" and "below" where no thing follows: "above 50 m", "none of the above", "the image below"
- names: a capitalised compass word before another capitalised word, "North America"
- up and down, rows and columns, and coordinates
"""

from __future__ import annotations

import re
from typing import NamedTuple

Circle = tuple[str, str, str, str]


class Step(NamedTuple):
    """What was done to the picture: mirrored left to right or not, then turned counter-clockwise."""

    turns: int
    mirrored: bool


# Counter-clockwise: a quarter turn makes each word the next one, and the last one the first.
WORDS: tuple[Circle, ...] = (
    ("top", "left", "bottom", "right"),
    ("topmost", "leftmost", "bottommost", "rightmost"),
    ("uppermost", "left-most", "lowermost", "right-most"),
    ("upward", "leftward", "downward", "rightward"),
    ("upwards", "leftwards", "downwards", "rightwards"),
    ("horizontal", "vertical", "horizontal", "vertical"),
    ("horizontally", "vertically", "horizontally", "vertically"),
)
MIDDLES: Circle = ("upper middle", "middle left", "lower middle", "middle right")
HALVES: Circle = ("upper", "left-hand", "lower", "right-hand")
RELATIONS: Circle = ("above", "to the left of", "below", "to the right of")
BARE_RELATIONS: Circle = ("higher up than", "left of", "lower down than", "right of")
COMPASS: Circle = ("north", "west", "south", "east")
PAIRS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("upper", "left"), ("lower", "left"), ("lower", "right"), ("upper", "right")),
    (("top", "left"), ("bottom", "left"), ("bottom", "right"), ("top", "right")),
    (("north", "west"), ("south", "west"), ("south", "east"), ("north", "east")),
    (("n", "w"), ("s", "w"), ("s", "e"), ("n", "e")),
)

ENDING = r"(?P<{}>ernmost|erly|ern|wards|ward|bound|)"
IMAGE = r" (?:(?:the|this|that|each|an?) )?(?:\w+ )?(?:image|picture|photo|photograph|scene|view)s?\b"
PART = (
    r" (?:middle |central |outer )?(?:part|hal(?:f|ves)|third|quarter|section|portion|side|edge|corner|area|region"
    r"|quadrant|end|border|boundar(?:y|ies)|cent(?:re|er)|middle|zone|margin|row|column|one)s?\b"
)
NO_THING = r" (?:\d|average|ground|sea level|zero|all\b|and|or|is|are|was|were|shows?|wh\w+|how|to|in|on|for|with)"
HIGH = r"hill|mountain|building|roof|tower|ridge|slope|dam|tree|cliff|chimney|pole|structure|list|page"
DEEP = r"sea|ocean|lake|river|valley|pool|hill|slope|mountain|pit|mine|canyon|list|page"

IDIOMS = (
    r"all right",
    r"(?:(?<!left)(?<!right)(?<!top)(?<!bottom), |(?:that|this|it|that's|it's|are you) )right(?= ?\?)",
    r"(?<!the )(?<!on )(?<!at )(?<!to )(?<!or )(?<!and )(?<!far )right (?:now|away|next to|in|on|at|beside|behind"
    r"|after|before|there|here|along|through|by)",
    r"right[ -](?:angle[ds]?|of[ -]way|triangles?)",
    r"right (?:answer|option|choice|order)",
    r"(?:left|right)[ -](?:turns?|turning|wing)",
    r"turn(?:s|ed|ing)? (?:left|right)",
    r"(?<!the )left[ -]?(?:over|behind|untouched|unused|undeveloped|alone|blank|open|empty|bare|fallow|vacant"
    r"|uncultivated|intact)",
    r"(?:has|have|had|having|been|be|what is|nothing is|nothing|anything) left(?! of)",
    r"on top of",
    r"(?:roof|hill|tree|mountain|table|flat) top",
    r"top[ -](?:down|views?|\d+|level|floor|layer|speed|quality)",
    rf"top of (?:(?:the|an?|its|their) )?(?:\w+ )?(?:{HIGH})s?",
    r"bottom[ -](?:line|up|lands?)",
    rf"bottom of (?:(?:the|an?|its|their) )?(?:\w+ )?(?:{DEEP})s?",
    r"vertical (?:views?|aerial|photo\w*|imag\w+|heights?|accuracy|datum|structures?|distances?|resolution)",
    r"horizontal (?:accuracy|datum|distances?|resolution)",
    r"(?:upper|lower) (?:limits?|bounds?|class|deck|floors?|levels?|stor\w+)",
    r"(?:images?|pictures?|photos?|scene|figure|table|map|options?|list|answers?|choices|questions?|shown|given"
    r"|listed|described|mentioned|stated|see|as|from|the|over and) (?:above|below)",
    r"(?-i:(?:North|South|East|West)(?:[ -]?(?:[Ee]ast|[Ww]est))?(?:ern)?(?= (?!North|South|East|West)[A-Z][a-z]))",
)


def _one_of(words: tuple[str, ...]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


HALF = r"(?:upper|lower|left[ -]hand|right[ -]hand)"
OTHER_HALF = rf"(?:,|/|,? (?:or|and|to)) ?(?:{HALF}|middle|central)\b"
PATTERN = re.compile(
    rf"(?:(?<!\w)(?:an? )?|(?=,))(?P<idiom>{'|'.join(IDIOMS)})(?!\w)"
    rf"|(?<!\w)(?P<article>an? )?(?:"
    rf"(?P<v>upper|lower|top|bottom)(?P<v_h>[ -])(?P<h>left|right)"
    rf"|(?P<h2>left|right)(?P<h_v>[ -])(?P<v2>upper|lower|top|bottom)(?! than)"
    rf"|(?P<ns>north|south)(?P<ns_ew>[ -]?)(?P<ew>east|west){ENDING.format('corner_ending')}"
    rf"|(?-i:(?P<n>[NS])(?P<e>[EW]))"
    rf"|(?P<compass>{_one_of(COMPASS)}){ENDING.format('ending')}"
    rf"|(?P<relation>{_one_of(RELATIONS)})(?= \w)(?!{IMAGE})(?!{NO_THING})"
    rf"|(?<!the )(?<!on )(?<!at )(?<!in )(?<!to )(?P<bare>{_one_of(BARE_RELATIONS)})(?= \w)(?!{IMAGE})"
    rf"|(?P<middle>{_one_of(MIDDLES)})"
    rf"|(?P<half>\A{HALF}(?=\W*\Z)|(?<=the ){HALF}(?! than| the)|{HALF}(?={PART}|{OTHER_HALF}))"
    rf"|(?P<word>{_one_of(tuple(word for circle in WORDS for word in circle))})"
    rf")(?!\w)",
    re.IGNORECASE,
)
CIRCLE_OF = {
    word: circle for circle in (*WORDS, MIDDLES, HALVES, RELATIONS, BARE_RELATIONS, COMPASS) for word in circle
}
PAIRS_OF = {pair: pairs for pairs in PAIRS for pair in pairs}


def rewrite_directions(text: str, quarter_turns: int, *, mirrored: bool = False) -> str:
    """Rewrite a text about a picture so that it is true of the turned picture.

    Args:
        text: a question, an answer or a choice, in English.
        quarter_turns: how often the picture was turned by 90 degrees counter-clockwise; negative is clockwise.
        mirrored: whether left and right changed places before that. Top and bottom changed places where the picture
            was mirrored and made two quarter turns.

    Returns:
        The text with the words about directions exchanged, upper and lower case kept; "a" and "an" follow.
    """
    step = Step(quarter_turns % 4, mirrored)
    return text if step == Step(0, False) else PATTERN.sub(lambda match: _turned(match, step), text)


def _turned(match: re.Match[str], step: Step) -> str:
    found = match.groupdict(default="")
    if found["idiom"]:
        return match.group()
    if found["v"]:
        vertical, horizontal = _corner(found["v"], found["h"], step)
        made = vertical + found["v_h"] + horizontal
    elif found["v2"]:
        vertical, horizontal = _corner(found["v2"], found["h2"], step)
        made = horizontal + found["h_v"] + vertical
    elif found["ns"]:
        vertical, horizontal = _corner(found["ns"], found["ew"], step)
        made = vertical + found["ns_ew"] + horizontal + found["corner_ending"]
    elif found["n"]:
        return found["article"] + "".join(_corner(found["n"], found["e"], step))
    else:
        single = ("compass", "relation", "bare", "middle", "half", "word")
        made = _word(next(found[kind] for kind in single if found[kind]), step) + found["ending"]
    return _article(found["article"], made) + made


def _word(word: str, step: Step) -> str:
    plain = word.lower().replace("t hand", "t-hand")
    circle = CIRCLE_OF[plain]
    place = circle.index(plain)
    return _cased(word, circle[(step.turns + (-place if step.mirrored else place)) % 4])


def _corner(vertical: str, horizontal: str, step: Step) -> tuple[str, str]:
    pair = (vertical.lower(), horizontal.lower())
    pairs = PAIRS_OF[pair]
    place = pairs.index(pair)
    turned = pairs[(step.turns + (3 - place if step.mirrored else place)) % 4]
    return _cased(vertical, turned[0]), _cased(horizontal, turned[1])


def _cased(old: str, new: str) -> str:
    """Write `new` in the case of `old`: all capitals, a capital first, or small."""
    if old.isupper():
        return new.upper()
    return new[0].upper() + new[1:] if old[0].isupper() else new


def _article(old: str, word: str) -> str:
    """Return "a " or "an ", as `word` needs it; a capital "A" stays, for it may be the letter of a choice."""
    if old not in ("a ", "an "):
        return old
    return "an " if word[0].lower() in "aeiou" else "a "
