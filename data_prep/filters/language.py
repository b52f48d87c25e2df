"""Texts in another language or script than the one stated."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from lhrs_chat.schema import Sample

from . import Filter, FilterOptions
from ._texts import everything, words

SCRIPTS: dict[str, tuple[str, ...]] = {
    "ar": ("ARABIC",),
    "hi": ("DEVANAGARI",),
    "ja": ("HIRAGANA", "KATAKANA", "CJK"),
    "ko": ("HANGUL", "CJK"),
    "ru": ("CYRILLIC",),
    "zh": ("CJK",),
}
"""The scripts of languages; all others are written in Latin letters."""
_SMALL_WORDS = {
    "en": "the of and a in is are to with on there this it from by an at near some many",
    "de": "der die das und ist ein eine mit auf im den von zu nicht sind es einem einer",
    "fr": "le la les de des et est un une dans avec sur du il sont par au aux plusieurs",
    "es": "el la los las de y es un una en con por del se al hay son muchos",
    "it": "il lo la gli di e un una in con del della sono per che nel molti è",
    "pt": "o os de e um uma em com da na por são há muitos que é ao à",
    "nl": "de het een en van is in met op zijn er dat voor te niet veel",
}
COMMON = {language: frozenset(text.split()) for language, text in _SMALL_WORDS.items()}
"""Small words by which languages in Latin letters are told apart."""
_LEAST_WORDS = 8  # a shorter text is judged by its script alone
_LEAST_HITS = 3


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge every text by the share of its letters in the script of the language, and by its small words."""
    language = str(sample.meta.get("language", options.language))
    for where, text in everything(sample):
        reason = _foreign(text, language, options.least_script_share)
        if reason:
            return f"{where} {reason}"
    return None


def _foreign(text: str, language: str, least_share: float) -> str | None:
    letters = [letter for letter in text if letter.isalpha()]
    if not letters:
        return None
    scripts = SCRIPTS.get(language, ("LATIN",))
    share = sum(unicodedata.name(letter, "").startswith(scripts) for letter in letters) / len(letters)
    if share < least_share:
        return f"has {share:.0%} of its letters in the script of {language!r}, less than {least_share:.0%}"
    said = words(text)
    if language not in COMMON or len(said) < _LEAST_WORDS:
        return None
    hits = {name: _hits(said, common) for name, common in COMMON.items()}
    other = max(hits, key=lambda name: (hits[name], name == language))
    if other != language and hits[other] >= _LEAST_HITS:
        return f"reads like {other!r}, not {language!r}"
    return None


def _hits(said: Iterable[str], common: frozenset[str]) -> int:
    return sum(word in common for word in said)


FILTER = Filter(check)
