"""Georeferenced rasters of the user's own, cut into square pictures side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.reference import part_of
from lhrs_chat.geo.tiles import plan
from lhrs_chat.schema import Georef, Image

from . import _chips

LEAST_NEW = 0.5  # of the side of a square
SUFFIXES = (".tif", ".tiff", ".jp2")


@dataclass(frozen=True)
class Chip:
    """A square of a scene. The pixels are read when they are asked for."""

    scene: Raster
    path: Path
    window: _chips.Window
    georef: Georef

    @property
    def id(self) -> str:
        """Name of the scene and upper left corner."""
        return f"{self.path.stem}_{self.window[0]}_{self.window[1]}"

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        x0, y0, x1, y1 = self.window
        return x1 - x0, y1 - y0

    def image(self) -> Image:
        """Read the pixels, in colour and with the stretch of the whole scene."""
        known = self.scene.image
        return Image(
            array=self.scene.rgb(self.window).transpose(2, 0, 1),
            size_px=self.size_px,
            bands=("red", "green", "blue"),
            sensor="rgb",  # what the pixels are now; meta tells the sensor they come from
            gsd_m=known.gsd_m,
            date=known.date,
            georef=self.georef,
        )

    @property
    def meta(self) -> dict[str, object]:
        """What a row of facts notes about its picture."""
        known = self.scene.image
        return {
            "image_file": self.path.name,
            "window": list(self.window),
            "gsd_m": known.gsd_m,
            "sensor": known.sensor,
        }


def rasters(folder: Path) -> list[Path]:
    """The rasters of a folder, in order of their names."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)


def placed(scene: Raster) -> Georef:
    """Where a scene lies.

    Raises:
        GeoError: it has no georeference.
    """
    if scene.image.georef is None:
        raise GeoError(
            "this scene has no georeference",
            found=scene.image.path,
            next_step="give it one, for instance with gdal_translate -a_srs -a_ullr",
        )
    return scene.image.georef


def chips(scene: Raster, path: Path, size_px: int) -> Iterator[Chip]:
    """Cut a scene. The last squares of a line and column touch its edge; those that show little new are left out.

    Raises:
        GeoError: the scene has no georeference.
    """
    georef = placed(scene)
    for tile in plan(scene.size_px, size_px, 0):
        new = [start % size_px or size_px for start in (tile.x0, tile.y0)]
        if min(new) >= LEAST_NEW * size_px:
            yield Chip(scene, path, tile.window, part_of(georef, tile.x0, tile.y0))
