"""Labels as nouns: in the plural, with an article, counted, listed. Sources give labels as one says them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from . import _wordings

_MORE_UNCOUNTED = frozenset(
    {
        "tree cover",
        "shrubland",
        "grassland",
        "cropland",
        "built-up land",
        "bare or sparsely vegetated land",
        "snow and ice",
        "herbaceous wetland",
        "moss and lichen",
        "permanent water",
        "mangrove forest",
        "scrub",
        "scree",
        "bare rock",
        "hospital grounds",
        "school grounds",
        "wetland",
        "heath",
        "ice",
    }
)
_ALIKE_IN_PLURAL = ("aircraft", "works", "series", "barracks", "lights")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def is_counted(name: str) -> bool:
    """Tell whether one can count it: ships, but not water."""
    return name not in _wordings.UNCOUNTED and name not in _MORE_UNCOUNTED


def plural(name: str) -> str:
    """More than one of a thing."""
    known = _wordings.plural(name)
    if not is_counted(name) or name.endswith(_ALIKE_IN_PLURAL):
        return name
    if known != f"{name}s":
        return known
    if re.search(r"(?:s|x|z|ch|sh)$", name):
        return f"{name}es"
    if re.search(r"[^aeiou]y$", name):
        return f"{name[:-1]}ies"
    return known


def one(name: str) -> str:
    """One of a thing with its article; what is not counted has none."""
    if not is_counted(name):
        return name
    return f"a {name}" if re.match(r"uni|use|euro", name) else _wordings.indefinite(name)


def counted(number: int, name: str) -> str:
    """So many of a thing: `one ship`, `three ships`, `14 ships`, `no ships`."""
    words = _NUMBERS[number] if number < len(_NUMBERS) else str(number)
    return f"{words} {name if number == 1 else plural(name)}"


def is_head(name: str, others: Iterable[str]) -> bool:
    """Tell whether one of the others is of that kind by its name: a `small vehicle` is a `vehicle`."""
    return any(other.endswith(f" {name}") for other in others)


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def sentence(text: str) -> str:
    """A capital at the start and a full stop at the end."""
    return f"{text[0].upper()}{text[1:]}."
