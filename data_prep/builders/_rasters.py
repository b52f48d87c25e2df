"""Masks and heights of a row of facts as arrays, and what is measured in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from lhrs_chat.errors import DataError, MissingExtraError
from lhrs_chat.geo import shapes
from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Box, Image, Mask, Sample

from ._regions import region_of

try:
    from scipy import ndimage
except ImportError as error:
    raise MissingExtraError("scipy", "prep", "building rows from masks and heights") from error

ABOVE_GROUND = ("nDSM", "CHM")
GROUND = ("DEM", "DTM")
SURFACE = ("DSM",)
_TOUCHING = np.ones((3, 3), dtype=bool)


def array_of(mask: Mask, size_px: tuple[int, int]) -> np.ndarray:
    """A mask in pixels as (H, W) bool; rings that lie in an earlier ring are its holes, the others are more pieces.

    Raises:
        DataError: it is given by polygons in another frame.
    """
    if mask.polygons is None:
        return mask.to_array()
    if mask.frame != "pixel":
        raise DataError("masks of facts are in pixels", found=mask.frame, allowed="pixel")
    layer = PilImage.new("1", size_px)
    pen = ImageDraw.Draw(layer)
    for piece in shapes.polygons(mask, size_px=size_px):
        pen.polygon(list(piece.exterior.coords), fill=1)
        for hole in piece.interiors:
            pen.polygon(list(hole.coords), fill=0)
    return np.asarray(layer)


def read_band(image: Image) -> np.ndarray:
    """The first band of an image: (H, W) float32, NaN where nothing is known."""
    if image.array is not None:
        return np.asarray(image.array[0], dtype=np.float32)
    with Raster.open(image) as raster:
        return np.asarray(raster.read(bands=[0])[0].astype(np.float32).filled(np.nan))


@dataclass(frozen=True)
class Height:
    """One height raster of a row: its place among the images, its kind (nDSM, DEM ...), metres (H, W)."""

    image: int
    kind: str
    metres: np.ndarray


@dataclass
class Rasters:
    """The masks and heights of a row of facts, looked up by image."""

    sample: Sample

    @property
    def roles(self) -> list[str]:
        """What each image is."""
        return list(self.sample.meta.get("image_roles", ["optical"] * len(self.sample.images)))

    @cached_property
    def masks(self) -> list[tuple[int, Mask]]:
        """Every mask with the number of its image."""
        places = self.sample.meta.get("mask_images", [0] * len(self.sample.targets.masks))
        return list(zip(places, self.sample.targets.masks, strict=True))

    def covers(self, image: int) -> dict[str, np.ndarray]:
        """Masks of one image joined by label, (H, W) bool each."""
        found: dict[str, np.ndarray] = {}
        for place, mask in self.masks:
            if place == image:
                array = array_of(mask, self.size_px)
                found[mask.label] = found[mask.label] | array if mask.label in found else array
        return found

    @cached_property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the first image.

        Raises:
            DataError: it is not told.
        """
        image = self.sample.images[0]
        if image.size_px is not None:
            return image.size_px
        if image.array is not None:
            return image.array.shape[2], image.array.shape[1]
        for mask in self.sample.targets.masks:
            if mask.shape_px is not None:
                return mask.shape_px[1], mask.shape_px[0]
        raise DataError("a row with masks tells the size of its image", found=self.sample.id)

    @cached_property
    def gsd_m(self) -> float | None:
        """Side of a pixel, where it is known."""
        return self.sample.images[0].gsd_m

    @cached_property
    def heights(self) -> list[Height]:
        """The height images that lie on the grid of the first image; `bands` tells their kind, else it is an nDSM."""
        found = []
        for place, (role, image) in enumerate(zip(self.roles, self.sample.images, strict=True)):
            if role == "height":
                metres = read_band(image)
                if metres.shape == self.size_px[::-1]:
                    known = (*ABOVE_GROUND, *GROUND, *SURFACE)
                    kind = next((kind for kind in known if image.bands[:1] == (kind,)), ABOVE_GROUND[0])
                    found.append(Height(place, kind, metres))
        return found

    def height(self, kinds: Sequence[str]) -> Height | None:
        """The first height image of one of these kinds."""
        return next((height for height in self.heights if height.kind in kinds), None)


def components(mask: np.ndarray, least_px: int = 1) -> list[np.ndarray]:
    """Pieces of `mask`, (H, W) bool, that hang together over sides or corners and have `least_px` pixels."""
    labels, count = ndimage.label(mask, _TOUCHING)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    return [labels == number for number in range(1, count + 1) if sizes[number] >= least_px]


def touch(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two masks, (H, W) bool, meet when the first grows by a pixel over sides and corners."""
    return bool((ndimage.binary_dilation(one, _TOUCHING) & other).any())


def distance_px(one: np.ndarray, other: np.ndarray) -> float:
    """Shortest way between the centres of a pixel of one mask and a pixel of the other."""
    return float(ndimage.distance_transform_edt(~one)[other].min())


def connected_to(seeds: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The part of `mask` that hangs together, over sides, with a pixel of `seeds` in it: (H, W) bool each."""
    labels, _ = ndimage.label(mask)
    reached = np.unique(labels[seeds & mask])
    return np.isin(labels, reached[reached > 0])


def slope_deg(dem_m: np.ndarray, gsd_m: float) -> np.ndarray:
    """Steepness of the ground by Horn's weights, the border continued in a straight line: (H, W), degrees.

    Args:
        dem_m: (H, W), metres.
        gsd_m: side of a pixel.
    """
    z = np.pad(dem_m.astype(np.float64), 1, mode="reflect", reflect_type="odd")
    right = (z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:]) - (z[:-2, :-2] + 2 * z[1:-1, :-2] + z[2:, :-2])
    down = (z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:]) - (z[:-2, :-2] + 2 * z[:-2, 1:-1] + z[:-2, 2:])
    return np.asarray(np.degrees(np.arctan(np.hypot(right, down) / (8 * gsd_m))))


def even(metres: np.ndarray, spread_m: float) -> np.ndarray:
    """Pixels whose height is that of all around them that the same whole per cent could mean: (H, W) bool.

    Args:
        metres: (H, W); NaN is even with nothing.
        spread_m: how far apart their heights may be.
    """
    window = tuple(2 * math.ceil(side / 100) + 1 for side in metres.shape)
    known = ndimage.minimum_filter(np.isfinite(metres), window)
    filled = np.nan_to_num(metres)
    spread = ndimage.maximum_filter(filled, window) - ndimage.minimum_filter(filled, window)
    return np.asarray(known & (spread <= spread_m))


def box_of(mask: np.ndarray, label: str) -> Box:
    """Tight box of a mask, in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box((float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)), "pixel", label)


def inner_point(mask: np.ndarray) -> tuple[int, int]:
    """Column and row of the pixel of a mask that lies deepest in it."""
    padded = np.pad(mask, 1)
    row, column = np.unravel_index(int(ndimage.distance_transform_edt(padded).argmax()), padded.shape)
    return int(column) - 1, int(row) - 1


def spot(column: int, row: int, size_px: tuple[int, int]) -> str:
    """Say where a pixel lies, in per cent of the picture."""
    x, y = per_cent(column, row, size_px)
    return f"at {x} % from the left and {y} % from the top"


def per_cent(column: int, row: int, size_px: tuple[int, int]) -> tuple[int, int]:
    """The centre of a pixel in whole per cent of the picture's width and height."""
    return math.floor(100 * (column + 0.5) / size_px[0]), math.floor(100 * (row + 0.5) / size_px[1])


def region(mask: np.ndarray) -> str:
    """Name the ninth of the picture that holds the middle of a mask."""
    rows, columns = np.nonzero(mask)
    x, y = 100 * (columns.mean() + 0.5) / mask.shape[1], 100 * (rows.mean() + 0.5) / mask.shape[0]
    return region_of(Box((x, y, x, y), "per100"))
