"""EuroSAT: 64-pixel pieces of Sentinel-2 in ten classes, as 13-band GeoTIFF or as colour JPEG.

One folder a class, `AnnualCrop/AnnualCrop_1.tif` or `.jpg`, wherever they unpack to. Splits are read from files such as
`eurosat-train.txt` with one name a line; without them all pieces train.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Image, Sample, Targets

from . import SPLITS, Source, SourceOptions, _chips, _published

LICENCE = "MIT (EuroSAT; contains modified Copernicus Sentinel data)"
GET = "zenodo.org/records/7711810: one folder a class, with .tif (13 bands) or .jpg"

CLASSES = {
    "AnnualCrop": "annual crop",
    "Forest": "forest",
    "HerbaceousVegetation": "herbaceous vegetation",
    "Highway": "highway",
    "Industrial": "industrial buildings",
    "Pasture": "pasture",
    "PermanentCrop": "permanent crop",
    "Residential": "residential buildings",
    "River": "river",
    "SeaLake": "sea or lake",
}
# the GeoTIFFs hold B8A last, after B12
BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11", "B12", "B8A")
GSD_M = 10.0


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a piece with its class.

    Raises:
        DataError: no folder is given, or it holds no class folders.
    """
    root = _published.root("eurosat", folder, GET)
    files = sorted(
        path
        for name in CLASSES
        for path in root.rglob(f"{name}/{name}_*")
        if path.suffix.lower() in (".tif", ".tiff", ".jpg", ".jpeg", ".png")
    )
    if not files:
        raise _published.incomplete("eurosat", root, "AnnualCrop/AnnualCrop_1.tif or .jpg", GET)
    splits = {
        stem: split for split in SPLITS for path in root.rglob(f"*{split}.txt") for stem in _published.listed(path)
    }
    entries = ((str(path.relative_to(root)), path) for path in files)
    yield from _published.rows(entries, lambda path: _row(path, splits, root), options)


def _row(path: Path, splits: dict[str, str], root: Path) -> Sample:
    many = path.suffix.lower() in (".tif", ".tiff")
    given = Image(path=str(path), bands=BANDS if many else _published.RGB, sensor="sentinel2", gsd_m=GSD_M)
    with Raster.open(given) as raster:
        image = raster.image
    label = CLASSES[path.parent.name]
    return Sample(
        id=f"eurosat/{path.stem}/{'ms' if many else 'rgb'}",
        images=(image,),
        task="facts",
        source="eurosat",
        licence=LICENCE,
        scene_id=f"eurosat/{path.stem}",
        targets=Targets(labels=(label,)),
        split=splits.get(path.stem, "train"),
        footprint=_chips.footprint(image),
        meta={"image_file": path.relative_to(root).as_posix(), "tile": path.stem, "classes": list(CLASSES.values())},
    )


SOURCE = Source(LICENCE, read, GET)
