"""RSSCN7: aerial scenes of seven classes at four scales."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lhrs_chat.schema import Sample, Targets

from . import Source, SourceOptions, _chips, _published

LICENCE = "research use only, not to be published (Google Earth imagery, no terms stated)"

# class -> what it holds by its meaning, what it cannot hold; the class labels are noisy, so both lists are short, and
# they hold only what is there in some class and ruled out in another
HOLDS: dict[str, tuple[str, ...]] = {"parking": ("parking lot",)}
RULED_OUT: dict[str, tuple[str, ...]] = {"field": ("parking lot",), "forest": ("parking lot",)}


def read(root: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a picture with its class.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("rsscn7", root, _chips.NEEDS)
    yield from _chips.take(
        (_sample(root, row) for row in _chips.shuffled(_chips.read_rows(root), options.seed)), options
    )


def _sample(root: Path, row: dict[str, object]) -> Sample:
    label = str(_chips.field(row, "label"))
    meta = {
        "scale_level": row.get("scale_level"),
        "present": list(HOLDS.get(label, ())),
        "complete": list(RULED_OUT.get(label, ())),
    }
    return _chips.whole_picture(root, row, "rsscn7", LICENCE, Targets(labels=(label,)), meta)


SOURCE = Source(LICENCE, read, _chips.NEEDS)
