"""What the words of RSICD captions say about a picture, and what a scene class rules out.

A caption names some of the things in a picture and never all, so a thing that no caption names may still be there.
Absence is therefore told only from `RULED_OUT`: for each scene class, things that such a scene cannot hold by what the
class means or that, being large, would have given the picture another class. A thing named in any caption of the
picture is never called absent.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

# thing -> the word forms (regular expressions, matched as whole words) that name it
FORMS: dict[str, str] = {
    "airplane": "(air|aero)?planes?|aircrafts?",
    "bare land": "bare ?lands?",
    "baseball field": "baseball ?(fields?|diamonds?)",
    "basketball court": "basketball ?(courts?|fields?)",
    "beach": "beach(es)?",
    "boat": "boats?",
    "bridge": "bridges?",
    "building": "buildings?|skyscrapers?",
    "car": "cars?",
    "church": "church(es)?",
    "desert": "deserts?",
    "farmland": "farm ?lands?",
    "football field": "(football|soccer) ?(fields?|pitch(es)?)",
    "forest": "forests?|woods",
    "house": "houses?|villas?",
    "lake": "lakes?",
    "meadow": "meadows?|grasslands?",
    "mountain": "mountains?",
    "parking lot": "parking ?lots?",
    "playground": "playgrounds?",
    "pond": "ponds?",
    "railway": "railways?|railroads?|rails",
    "river": "rivers?",
    "road": "roads?|streets?|highways?|freeways?",
    "runway": "runways?",
    "sea": "seas?|oceans?",
    "ship": "ships?",
    "snow": "snows?",
    "stadium": "stadiums?",
    "storage tank": "(storage|oil) ?tanks?|tanks?",
    "swimming pool": "(swimming )?pools?",
    "tennis court": "tennis ?(courts?|fields?)",
    "train": "trains?",
    "tree": "trees?|woods",
    "viaduct": "viaducts?|overpass(es)?",
}
WORDS = {thing: re.compile(rf"\b({forms})\b") for thing, forms in FORMS.items()}

# Small things are named by captions written at 600 px and are often lost at 150 px; `runway` also means the track of a
# stadium. They are taken as seen in these classes alone.
SEEN_ONLY_IN: dict[str, tuple[str, ...]] = {
    "airplane": ("airport",),
    "boat": ("port",),
    "car": ("parking",),
    "runway": ("airport",),
    "ship": ("port",),
    "train": ("railway station",),
}

# the class itself says that these are in the picture
CLASS_HOLDS: dict[str, tuple[str, ...]] = {
    "bare land": ("bare land",),
    "baseball field": ("baseball field",),
    "beach": ("beach",),
    "bridge": ("bridge",),
    "center": ("building",),
    "church": ("church", "building"),
    "commercial": ("building", "road"),
    "dense residential": ("building", "house"),
    "desert": ("desert",),
    "farmland": ("farmland",),
    "forest": ("forest", "tree"),
    "industrial": ("building",),
    "meadow": ("meadow",),
    "medium residential": ("building", "house"),
    "mountain": ("mountain",),
    "parking": ("parking lot", "car"),
    "playground": ("playground",),
    "pond": ("pond",),
    "railway station": ("railway", "building"),
    "river": ("river",),
    "school": ("building",),
    "sparse residential": ("building", "house", "tree"),
    "stadium": ("stadium",),
    "storage tanks": ("storage tank",),
    "viaduct": ("viaduct", "road"),
}

_AIR = ("airplane", "runway")
_SPORT = ("stadium", "swimming pool", "tennis court", "basketball court", "football field", "playground")
_WILD = (*_AIR, *_SPORT, "boat", "ship", "storage tank", "train", "parking lot", "viaduct")
_BARE = ("building", "car", "house", "lake", "meadow", "pond", "railway", "river", "road", "tree")
_TOWN = (*_AIR, "beach", "desert", "ship", "snow", "storage tank", "farmland")
_GREEN_TOWN = (*_AIR, "beach", "desert", "ship", "snow", "storage tank", "train")
_WATERS = ("lake", "pond", "river", "bridge", "boat")
RULED_OUT: dict[str, tuple[str, ...]] = {
    "airport": (
        "ship",
        "beach",
        "lake",
        "river",
        "pond",
        "bridge",
        "desert",
        "snow",
        "swimming pool",
        "stadium",
        "train",
    ),
    "bare land": (*_WILD, "baseball field", "beach", "sea", "church"),
    "baseball field": (*_AIR, *_WATERS, "ship", "beach", "desert", "snow", "storage tank", "sea", "train"),
    "beach": (*_AIR, "stadium", "train", "railway", "snow", "storage tank", "farmland", "baseball field", "viaduct"),
    "bridge": (*_AIR, "desert", "stadium", "snow", "swimming pool", "baseball field"),
    "center": _TOWN,
    "church": (*_TOWN, "lake", "pond", "bridge", "forest"),
    "commercial": (*_TOWN, "forest", "meadow"),
    "dense residential": (*_TOWN, *_WATERS, "mountain", "forest", "meadow"),
    "desert": (*_WILD, *_BARE, "baseball field", "forest", "bridge", "farmland", "sea", "snow", "church"),
    "farmland": (*_AIR, "ship", "stadium", "train", "beach", "sea", "desert", "swimming pool", "tennis court", "snow"),
    "forest": (
        *_WILD,
        "desert",
        "beach",
        "baseball field",
        "sea",
        "snow",
        "church",
        "building",
        "house",
        "railway",
        "lake",
    ),
    "industrial": (*_AIR, "beach", "desert", "snow", "stadium", "swimming pool", "tennis court", "mountain"),
    "meadow": (*_WILD, "desert", "beach", "sea", "snow", "church", "railway", "mountain", *_WATERS),
    "medium residential": (*_TOWN, "mountain"),
    "mountain": (*_WILD, "baseball field", "beach", "church", "building", "house", "car", "sea"),
    "park": (*_AIR, "desert", "snow", "storage tank", "train", "farmland"),
    "parking": (*_AIR, "beach", "boat", "desert", "forest", *_WATERS, "snow", "stadium", "mountain", "farmland", "sea"),
    "playground": (*_TOWN, *_WATERS),
    "pond": (*_AIR, "ship", "desert", "stadium", "train", "snow"),
    "port": (*_AIR, "desert", "snow", "stadium", "baseball field", "farmland", "forest"),
    "railway station": (*_AIR, "beach", "desert", "ship", "snow", "swimming pool", "mountain", "sea"),
    "resort": (*_AIR, "desert", "storage tank", "train", "railway", "snow", "stadium"),
    "river": (*_AIR, "desert", "stadium", "swimming pool", "storage tank", "train"),
    "school": (*_GREEN_TOWN, "bridge", "mountain"),
    "sparse residential": (*_GREEN_TOWN, "stadium", "railway"),
    "square": _TOWN,
    "stadium": (*_AIR, *_WATERS, "forest", "beach", "desert", "ship", "snow", "storage tank", "train", "farmland"),
    "storage tanks": (*_AIR, "beach", "desert", "snow", "stadium", "swimming pool", "tennis court", "baseball field"),
    "viaduct": (*_AIR, "beach", "desert", "ship", "snow", "stadium"),
}

# a sentence that denies or compares does not say that its nouns are there
_NOT_PLAIN = re.compile(r"\b(no|not|without|nothing|never|hardly|like|looks?|what)\b|n't\b")
_SPELLING = {
    r"bare ?lands?\b": "bare land",
    r"\bbaseballfields?\b": "baseball field",
    r"\bstoragetanks?\b": "storage tanks",
    r"\btermial\b": "terminal",
    r"\bcon?er\b": "corner",
    r"\bploygon(al)?\b": r"polygon\1",
    r"\bbesides\b": "beside",
    r"\bthe the\b": "the",
    r"\ba a\b": "a",
    r"\bmeadowes\b": "meadows",
    r"\bcrowed\b": "crowded",
}


def clean_captions(captions: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct sentences in writing form: spelling of frequent slips, capital letter, full stop.

    Sentences of fewer than four words and those that ask or deny are left out.
    """
    kept: list[str] = []
    for caption in captions:
        text = " ".join(caption.lower().split())
        for slip, word in _SPELLING.items():
            text = re.sub(slip, word, text)
        text = re.sub(r"\s+([.,;!?'])", r"\1", text).strip(" .,;")
        if len(text.split()) < 4 or re.search(r"\b(no|not|nothing|never|what)\b", text):
            continue
        sentence = text[0].upper() + text[1:] + "."
        if sentence not in kept:
            kept.append(sentence)
    return tuple(kept)


def named(captions: Sequence[str], *, plain_only: bool) -> set[str]:
    """Return the things named in the captions; `plain_only` passes over sentences that deny or compare."""
    texts = [caption.lower() for caption in captions]
    if plain_only:
        texts = [text for text in texts if not _NOT_PLAIN.search(text)]
    return {thing for thing, words in WORDS.items() if any(words.search(text) for text in texts)}


def present(label: str, captions: Sequence[str]) -> list[str]:
    """Return what is in the picture: named in a plain sentence and large enough to be seen, or held by the class."""
    seen = {t for t in named(captions, plain_only=True) if label in SEEN_ONLY_IN.get(t, (label,))}
    seen.update(CLASS_HOLDS.get(label, ()))
    if seen & {"house", "church"}:
        seen.add("building")
    if "forest" in seen:
        seen.add("tree")
    return sorted(seen)


def absent(label: str, captions: Sequence[str]) -> list[str]:
    """Return what is certainly not in the picture: ruled out by the class and named in no caption."""
    blocked = named(captions, plain_only=False) | set(present(label, captions))
    return sorted(set(RULED_OUT.get(label, ())) - blocked)


Presence = tuple[list[str], list[str]]  # things that are there, things that are not


def balanced(pictures: Sequence[Presence], seed: int, most_absent: int = 3, ratio: float = 1.3) -> list[Presence]:
    """Thin out both lists over all pictures, so that no thing is told one way much oftener than the other.

    Without this the name of a thing would tell the answer: most things are absent far more often than present, trees
    the other way round. Each picture keeps the absent things that were told least so far, measured by how often they
    are present elsewhere; then the present things are thinned to `ratio` times what is told of them as absent.
    """
    draw = random.Random(seed)
    yes = Counter(thing for there, _ in pictures for thing in there)
    told: Counter[str] = Counter()
    gone_kept: list[list[str]] = []
    for _, gone in pictures:
        options = [
            (told[thing] / yes[thing], draw.random(), thing) for thing in gone if told[thing] < ratio * yes[thing]
        ]
        chosen = [thing for *_, thing in sorted(options)[:most_absent]]
        told.update(chosen)
        gone_kept.append(chosen)
    return [
        ([thing for thing in there if draw.random() * yes[thing] < ratio * told[thing]], gone)
        for (there, _), gone in zip(pictures, gone_kept, strict=True)
    ]
