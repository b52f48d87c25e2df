"""1 where the words are the same, without capitals, spaces and full stops."""

from __future__ import annotations

from . import Wanted, each


def worth(answer: str, wanted: Wanted) -> float:
    """Compare an answer with that of the row."""
    said = _plain(answer)
    return float(bool(said) and said == _plain(wanted.answer))


def _plain(text: str) -> str:
    return "".join(text.lower().replace(".", "").split())


REWARD = each(worth)
