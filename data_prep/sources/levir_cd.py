"""LEVIR-CD: pairs of aerial pictures of 0.5 m a pixel, years apart, with a mask of the buildings that changed.

`train/A/train_1.png` before, `train/B/train_1.png` after, `train/label/train_1.png` the mask (white: changed), and
`val` and `test` likewise; or one folder with `A`, `B` and `label` whose file names begin with the split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lhrs_chat.schema import Mask, Sample, Targets

from . import SPLITS, Source, SourceOptions, _chips, _pairs, _published

LICENCE = "academic use only (LEVIR-CD; imagery of Google Earth)"
GET = "justchenhao.github.io/LEVIR: A/, B/ and label/ of train, val and test"
CHANGED = "changed building"
GSD_M = 0.5


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a pair with the mask of change and its share.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("levir_cd", folder, GET)
    if not any(path.is_dir() for path in root.rglob("A")):
        raise _published.incomplete("levir_cd", root, "folder A beside B and label", GET)
    pictures = _published.PictureFiles(root)
    pairs = _pairs.find(root, "A", "B", (("label", "mask", "OUT"),))
    yield from _published.rows(pairs, lambda pair: _row(pair, pictures, root), options)


def _row(pair: _pairs.Pair, pictures: _published.PictureFiles, root: Path) -> Sample:
    images = _pairs.images(pair, pictures, GSD_M)
    grey = _pairs.pixels(pair.labels[0], "L", images[0].size_px)
    changed = grey > 127 if grey.max(initial=0) > 1 else grey > 0
    named = re.match(r"(train|val|test)_(\d+)", pair.before.stem)
    tile = named[0] if named else pair.name
    split = named[1] if named and _names_no_split(pair.before, root) else _published.split_of(pair.before, root)
    return Sample(
        id=f"levir_cd/{pair.name}",
        images=images,
        task="facts",
        source="levir_cd",
        licence=LICENCE,
        scene_id=f"levir_cd/{tile}",  # crops of one picture are one scene
        targets=Targets(
            masks=(Mask.from_array(changed, CHANGED),) if changed.any() else (),
            numbers=(_chips.share(changed, CHANGED),),
        ),
        split=split,
        meta={
            "image_roles": ["before", "after"],
            "image_file": pictures.relative(pair.before),
            "tile": f"LEVIR-CD {tile}",
            "mask_images": [1] if changed.any() else [],
            "masks_tell": "changed things",
            "complete": [CHANGED],
        },
    )


def _names_no_split(path: Path, root: Path) -> bool:
    return not any(part in SPLITS for part in path.relative_to(root).parts[:-1])


SOURCE = Source(LICENCE, read, GET)
