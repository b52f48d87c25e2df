"""Plain lines for a terminal of 80 columns: a name at the left, wrapped words at the right."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

COLUMNS = 80
NAME_COLUMNS = 13


def entry(name: str, text: str) -> list[str]:
    """Lay out one entry; line breaks in `text` are kept."""
    indent = NAME_COLUMNS + 2
    wrapped = [piece for line in text.splitlines() for piece in textwrap.wrap(line, COLUMNS - indent) or [""]]
    heads = [name, *[""] * (len(wrapped) - 1)]
    return [f"  {head:<{NAME_COLUMNS}}{piece}".rstrip() for head, piece in zip(heads, wrapped, strict=True)]


def entries(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Lay out several entries."""
    return [line for name, text in pairs for line in entry(name, text)]


def paragraph(text: str, first: str = "", other: str = "") -> list[str]:
    """Wrap one paragraph; `first` and `other` indent its first and its other lines."""
    return textwrap.wrap(text, COLUMNS, initial_indent=first, subsequent_indent=other, break_on_hyphens=False)
