"""AID pictures of 30 scene classes with RSICD captions, as read from a folder with `annotations.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lhrs_chat.schema import Sample, Targets

from . import Source, SourceOptions, _aid_words, _chips, _published

LICENCE = "research use only, not to be published (Google Earth imagery; AID and RSICD ask to be cited)"


def read(root: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a picture: its class, distinct captions, and what is there and what is not.

    `meta`: `things` are all things known to be there; `present` and `complete` (absent for certain) are thinned out so
    that questions about a thing have both answers.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("aid_rsicd", root, _chips.NEEDS)
    rows = _chips.shuffled(_chips.read_rows(root), options.seed)
    presence = _aid_words.balanced([_presence(row) for row in rows], options.seed)
    yield from _chips.take((_sample(root, row, facts) for row, facts in zip(rows, presence, strict=True)), options)


def _presence(row: dict[str, Any]) -> _aid_words.Presence:
    label, captions = str(_chips.field(row, "label")), _chips.field(row, "captions")
    return _aid_words.present(label, captions), _aid_words.absent(label, captions)


def _sample(root: Path, row: dict[str, Any], presence: _aid_words.Presence) -> Sample:
    label = str(_chips.field(row, "label"))
    captions = [str(text) for text in _chips.field(row, "captions")]
    targets = Targets(labels=(label,), captions=_aid_words.clean_captions(captions))
    things = _aid_words.present(label, captions)
    meta = {"things": things, "present": presence[0], "complete": presence[1]}
    return _chips.whole_picture(root, row, "aid_rsicd", LICENCE, targets, meta)


SOURCE = Source(LICENCE, read, _chips.NEEDS)
