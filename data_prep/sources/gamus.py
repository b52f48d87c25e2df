"""GAMUS: aerial pictures of American cities with the height above ground and the land cover of every pixel.

`images/train/DC_01_25_RGB.h5`, `heights/train/DC_01_25_AGL.h5` (metres) and `classes/train/DC_01_25_CLS.h5`; each file
holds one array named `image`. The tile names end in `_IMG` in part of the cities.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lhrs_chat.errors import DataError, MissingExtraError
from lhrs_chat.schema import Image, Mask, Number, Sample, Targets

from . import Source, SourceOptions, _chips, _published

LICENCE = "CC BY 4.0 (GAMUS)"
GET = "huggingface.co/datasets/earthflow/GAMUS: images/, heights/ and classes/, each with train, val and test"
COVERS = ("other", "ground", "low vegetation", "building", "water", "road", "tree")
_ENDINGS = ("_RGB", "_IMG")


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a tile: the picture, its heights, masks and shares of the covers, greatest and mean height.

    Raises:
        DataError: no folder is given, or it does not hold the set.
        MissingExtraError: h5py is not installed.
    """
    root = _published.root("gamus", folder, GET)
    files = [path for path in sorted((root / "images").rglob("*.h5")) if path.stem.endswith(_ENDINGS)]
    if not files:
        raise _published.incomplete("gamus", root, "images/*/*_RGB.h5", GET)
    entries = ((str(path.relative_to(root)), path) for path in files)
    yield from _published.rows(entries, lambda path: _row(path, root), options)


def _row(path: Path, root: Path) -> Sample:
    tile, part = path.stem[:-4], path.parent.relative_to(root / "images")
    rgb = _array(path)
    height = _array(root / "heights" / part / f"{tile}_AGL.h5").astype(np.float32)
    codes = _array(root / "classes" / part / f"{tile}_CLS.h5")
    if rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.shape[:2] == height.shape == codes.shape:
        raise DataError("the arrays of a tile do not fit together", found=(rgb.shape, height.shape, codes.shape))
    if not np.isin(codes, np.arange(len(COVERS))).all():
        raise DataError("a class number is not known", found=sorted(np.unique(codes).tolist())[:12], allowed="0 to 6")
    size = (rgb.shape[1], rgb.shape[0])
    covers = {label: codes == code for code, label in enumerate(COVERS) if code and (codes == code).any()}
    known = height[np.isfinite(height)]
    if known.size == 0:
        raise DataError("no height is known", found=f"{tile}_AGL.h5")
    numbers = [_chips.share(mask, label) for label, mask in covers.items()]
    return Sample(
        id=f"gamus/{tile}",
        images=(
            Image(
                array=np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.uint8), size_px=size, bands=_published.RGB
            ),
            Image(array=height[None], size_px=size, bands=("nDSM",), sensor="height"),
        ),
        task="facts",
        source="gamus",
        licence=LICENCE,
        scene_id=f"gamus/{tile}",
        targets=Targets(
            masks=tuple(Mask.from_array(mask, label) for label, mask in covers.items()),
            numbers=(
                *numbers,
                Number(round(float(known.max()), 2), "m", "computed", "maximum height"),
                Number(round(float(known.mean()), 2), "m", "computed", "mean height"),
            ),
        ),
        split=_published.split_of(path, root),
        meta={
            "image_roles": ["optical", "height"],
            "image_file": path.relative_to(root).as_posix(),
            "tile": tile,
            "complete": list(COVERS[1:]),
        },
    )


def _array(path: Path) -> np.ndarray:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "prep", "reading GAMUS") from error
    try:
        with h5py.File(path, "r") as opened:
            return np.asarray(opened["image"])
    except (OSError, KeyError) as error:
        raise DataError(
            f"{path.name} cannot be read", found=str(error), allowed="HDF5 with an array `image`"
        ) from error


SOURCE = Source(LICENCE, read, GET)
