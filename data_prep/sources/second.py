"""SECOND: pairs of aerial pictures with the land cover of what changed, at both dates; CDVQA asks about these pairs.

`im1` and `im2` hold the pictures, `label1` and `label2` the covers of the changed pixels, as colours or as class
numbers (0 unchanged), in the folders `train` and `test` or directly below the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Mask, Sample, Targets

from . import Source, SourceOptions, _chips, _pairs, _published

LICENCE = "academic use only (SECOND; its authors state no other licence)"
GET = "captain-whu.github.io/SCD (SECOND): im1/, im2/, label1/ and label2/"

# cover -> its colour; the place in this list, from 1, is the class number of copies without colours
COLOURS: dict[str, tuple[int, int, int]] = {
    "water": (0, 0, 255),
    "bare ground": (128, 128, 128),  # the set's "non-vegetated ground surface": roads and paving too
    "low vegetation": (0, 128, 0),
    "tree": (0, 255, 0),
    "building": (128, 0, 0),
    "playground": (255, 0, 0),
}
UNCHANGED = (255, 255, 255)


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a pair: masks of the covers that changed pixels had and have, the share of change.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("second", folder, GET)
    if not any(path.is_dir() for path in root.rglob("im1")):
        raise _published.incomplete("second", root, "folder im1 beside im2, label1 and label2", GET)
    pictures = _published.PictureFiles(root)
    pairs = _pairs.find(root, "im1", "im2", (("label1", "label1_rgb"), ("label2", "label2_rgb")))
    yield from _published.rows(pairs, lambda pair: _row(pair, pictures, root), options)


def _row(pair: _pairs.Pair, pictures: _published.PictureFiles, root: Path) -> Sample:
    images = _pairs.images(pair, pictures)
    codes = [classes(_pairs.pixels(path, "RGB", images[0].size_px), path) for path in pair.labels]
    changed = (codes[0] > 0) | (codes[1] > 0)
    masks: list[Mask] = []
    place: list[int] = []
    for number, code in enumerate(codes):
        for value, label in enumerate(COLOURS, start=1):
            if (code == value).any():
                masks.append(Mask.from_array(code == value, label))
                place.append(number)
    return Sample(
        id=f"second/{pair.name}",
        images=images,
        task="facts",
        source="second",
        licence=LICENCE,
        scene_id=f"second/{pair.before.stem}",
        targets=Targets(masks=tuple(masks), numbers=(_chips.share(changed, "changed"),)),
        split=_published.split_of(pair.before, root),
        meta={
            "image_roles": ["before", "after"],
            "image_file": pictures.relative(pair.before),
            "tile": f"SECOND {pair.before.stem}",
            "mask_images": place,
            "masks_tell": "changed pixels only",
            "complete": [],
        },
    )


def classes(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Class numbers (H, W) of a label picture: (H, W, 3) uint8, in colours or with the numbers themselves.

    Raises:
        DataError: it holds a colour of no class.
    """
    if pixels.max(initial=0) <= len(COLOURS):
        return pixels[..., 0].astype(np.uint8)
    code = np.full(pixels.shape[:2], 255, dtype=np.uint8)
    for value, colour in enumerate((UNCHANGED, *COLOURS.values())):
        code[(pixels == colour).all(axis=-1)] = value
    if (code == 255).any():
        found = tuple(int(v) for v in pixels[code == 255][0])
        raise DataError(f"{path.name}: a colour of no class", found=found, allowed=list(COLOURS.values()))
    return code


SOURCE = Source(LICENCE, read, GET)
