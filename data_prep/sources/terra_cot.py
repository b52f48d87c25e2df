"""Terra-CoT (Shu et al. 2026): reasoning in which each `[SEG]` stands for a mask; one picture, a pair, or two dates.

`train_json/*.json` are lists of {image, conversations, masks}: one entry of `masks` a `[SEG]`, each a list of COCO run
lengths that belong together. Rows of two dates have `pre_image` and `post_image`, and one mask or null a `[SEG]`; rows
of optical and SAR pictures (`*_sar_rgb.json`) have one name for both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Pictures, Row, stream
from lhrs_chat.schema import Image, Mask, Message, Part, Sample
from lhrs_chat.text.run_lengths import from_coco

from . import Source, SourceOptions, _conversations, _published
from ._conversations import IMAGE, Told, Turn

GET = "the data folder of TerraScope (github.com/shuyansy/Earth-Observation-VLMs): train_json and the pictures it names"
LICENCE = "no licence stated: research use (ChatEarthNet, BigEarthNet, xBD, RSVQA-LR and others)"
MARK = "[SEG]"
MOST_PX = 1 << 26
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a conversation; `meta["final"]` is what stands in the answer tags.

    The answer is cut at its marks: each piece is one text part, and `meta["steps"]` tells its mask.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("terra_cot", folder, GET)
    paths = sorted((root / "train_json").glob("*.json"))
    if not paths:
        raise _published.incomplete("terra_cot", root, "train_json/*.json", GET)
    optical = Pictures([root / "images", root / "s2", root])
    radar = Pictures([root / "s1"])

    def make(entry: tuple[Path, Row]) -> Sample:
        path, row = entry
        pair = path.stem.endswith("_sar_rgb")
        return _sample(path, row, _pictures(row, optical, radar if pair else None))

    rows = ((row.where, (path, row)) for path in paths for row in stream(path, reject=options.reject))
    yield from _published.rows(rows, make, options)


def _pictures(row: Row, optical: Pictures, radar: Pictures | None) -> dict[str, Path]:
    """The pictures of a row by their roles."""
    if "pre_image" in row.values:
        names = {"before": row.text("pre_image"), "after": row.text("post_image")}
        return {role: optical.path(name, row.where) for role, name in names.items()}
    name = row.text("image")
    found = {"optical": optical.path(name, row.where)}
    return found if radar is None else {**found, "sar": radar.path(name, row.where)}


def _sample(path: Path, row: Row, pictures: dict[str, Path]) -> Sample:
    said = _conversations.said(row)
    if any(MARK in text for _, text in said[:-1]):
        raise DataError(f"{row.where}: a mask before the last answer", allowed=f"{MARK} in the last turn alone")
    pieces = said[-1][1].split(MARK)
    masks = _masks(row, len(pieces) - 1)
    file = row.text("image" if "image" in row.values else "pre_image")
    final = _ANSWER.search(said[-1][1])
    told = Told(
        id=f"terra_cot/{path.stem}#{row.place}",
        source="terra_cot",
        licence=LICENCE,
        scene_id=f"terra_cot/{Path(file).stem}",
        images=tuple(Image(path=str(picture)) for picture in pictures.values()),
        meta={
            "image_file": file,
            "image_roles": list(pictures),
            "steps": [_step(piece, place, len(masks)) for place, piece in enumerate(pieces)],
            **({"final": final[1].strip()} if final else {}),
        },
    )
    turns = [
        Turn(speaker, _conversations.words(text.replace(IMAGE, "").replace(MARK, "").strip())) for speaker, text in said
    ]
    made = _conversations.sample(turns, told, row.where)
    answer = Message("assistant", tuple(Part("text", text=piece) for piece in pieces))
    return replace(made, messages=(*made.messages[:-1], answer), targets=replace(made.targets, masks=masks))


def _step(text: str, place: int, masks: int) -> dict[str, object]:
    """A piece of the answer; its mask is the one whose mark stood behind it."""
    behind = place < masks
    return {"text": text, "mask": place if behind else None, "image": 0 if behind else None}


def _masks(row: Row, marks: int) -> tuple[Mask, ...]:
    """One mask a mark; the run lengths of one entry are laid together, null is an empty mask.

    Raises:
        DataError: there are more or fewer than marks, or one is broken.
    """
    entries = row.values.get("masks", [])
    if not isinstance(entries, list) or len(entries) != marks:
        raise row.bad("masks", f"a list of {marks}, one for each {MARK}")
    found = [_mask(entry, row) for entry in entries]
    shape = next((mask.shape_px for mask in found if mask is not None), None)
    if shape is None:
        if found:
            raise row.bad("masks", "at least one that is not null")
        return ()
    empty = Mask("pixel", rle=(shape[0] * shape[1],), shape_px=shape)
    return tuple(mask or empty for mask in found)


def _mask(entry: object, row: Row) -> Mask | None:
    pieces = entry if isinstance(entry, list) else [entry]
    masks = [from_coco(piece) for piece in pieces if piece is not None]
    if len(masks) < 2:
        return masks[0] if masks else None
    shapes = {mask.shape_px for mask in masks}
    if len(shapes) > 1 or masks[0].shape_px is None or math.prod(masks[0].shape_px) > MOST_PX:
        found = ", ".join(map(str, shapes))
        raise DataError(f"{row.where}: masks of one {MARK}", found=found, allowed=f"one size, {MOST_PX} pixels at most")
    return Mask.from_array(np.any([mask.to_array() for mask in masks], axis=0))


SOURCE = Source(LICENCE, read, GET)
