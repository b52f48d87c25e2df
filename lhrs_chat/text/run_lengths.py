"""Masks as COCO writes them: `{"size": [height, width], "counts": [...]}`, or the counts packed into a text."""

from __future__ import annotations

from collections.abc import Sequence

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Mask

_FIRST = 48  # the character `0` stands for the value 0


def from_coco(value: object) -> Mask:
    """Read one mask.

    Args:
        value: the object, its counts packed or not.

    Raises:
        DataError: it is no such object, or its counts do not fill the size.
    """
    if not isinstance(value, dict):
        raise DataError("a mask is an object with size and counts", found=repr(value)[:80])
    size, counts = value.get("size"), value.get("counts")
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(_is_count(side) and side for side in size)):
        raise DataError("a mask needs its size", found=repr(size)[:80], allowed="[height, width]")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", errors="replace")
    runs = unpack(counts) if isinstance(counts, str) else counts
    if not (isinstance(runs, list | tuple) and all(_is_count(run) for run in runs)):
        raise DataError("a mask needs its counts", found=repr(counts)[:80], allowed="numbers, or their packed text")
    return Mask("pixel", rle=tuple(runs), shape_px=(size[0], size[1]))


def to_coco(mask: Mask) -> dict[str, object]:
    """Write a mask that is stored as run lengths, counts packed.

    Raises:
        DataError: it is stored as polygons.
    """
    if mask.rle is None or mask.shape_px is None:
        raise DataError("only run lengths are written this way", found="polygons")
    return {"size": list(mask.shape_px), "counts": pack(mask.rle)}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def pack(counts: Sequence[int]) -> str:
    """Pack counts as COCO does: differences to the count before the last, five bits a character, lowest first."""
    text = []
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append(chr((bits | 0x20 if more else bits) + _FIRST))
    return "".join(text)


def unpack(text: str) -> list[int]:
    """Undo `pack`.

    Raises:
        DataError: the text is none that `pack` could have written.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - _FIRST
        if not 0 <= bits < 64:
            raise DataError("packed counts hold a wrong character", found=repr(character))
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise DataError("packed counts end within a number", found=text[-10:])
    return counts
