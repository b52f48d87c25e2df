"""Optical scenes with a land cover map of the same ground: ESA WorldCover, or any raster of classes with a legend.

The folder holds `optical/` (one raster a scene, any sensor), `landcover/` (class rasters in any CRS and grid; those
that lie over a scene are brought to its grid, pixel by pixel, the nearest value wins) and, for classes other than
WorldCover's, `legend.json` ({"1": "forest", ...}; 0 is no data). Scenes are cut into square pictures side by side.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from lhrs_chat.errors import DataError, GeoError, RasterError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Mask, Sample, Targets

from . import Source, SourceOptions, _chips, _scenes
from ._grounds import inner_bounds

LICENCE = "land cover: ESA WorldCover, CC BY 4.0; optical: as its owner gives it"
WORLDCOVER = {
    10: "tree cover",
    20: "shrubland",
    30: "grassland",
    40: "cropland",
    50: "built-up land",
    60: "bare or sparsely vegetated land",
    70: "snow and ice",
    80: "permanent water",
    90: "herbaceous wetland",
    95: "mangrove forest",
    100: "moss and lichen",
}
MOST_UNKNOWN = 0.05  # of a picture; with more ground that the map or the scene does not know, it is left out


def read(root: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield the pictures of all scenes with their covers: masks, shares and what is absent.

    Raises:
        DataError: the folder is not given or not laid out as told above, or its legend cannot be read.
    """
    if root is None:
        raise DataError("worldcover needs a folder", allowed="a folder with optical/ and landcover/")
    scenes, maps = (_rasters(root / name) for name in ("optical", "landcover"))
    yield from _chips.take(_all(scenes, maps, _legend(root / "legend.json"), options), options)


def _rasters(folder: Path) -> list[Path]:
    found = _scenes.rasters(folder)
    if not found:
        raise DataError(
            "there are no rasters here",
            found=str(folder),
            allowed=", ".join(_scenes.SUFFIXES),
            next_step="put scenes into optical/ and WorldCover tiles (esa-worldcover.org) into landcover/",
        )
    return found


def _legend(path: Path) -> dict[int, str]:
    if not path.exists():
        return WORLDCOVER
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        legend = {int(code): name for code, name in given.items()}
    except (ValueError, AttributeError) as error:
        raise DataError("this is no legend", found=f"{path}: {error}", allowed='{"1": "forest", ...}') from error
    if not all(isinstance(name, str) and name for name in legend.values()) or 0 in legend:
        raise DataError("a legend names the codes above 0", found=str(path), allowed='{"1": "forest", ...}')
    return legend


def _all(
    scenes: Sequence[Path], maps: Sequence[Path], legend: dict[int, str], options: SourceOptions
) -> Iterator[Sample]:
    for path in scenes:
        try:
            with Raster.open(path) as scene:
                yield from _scene(scene, path, maps, legend, options)
        except (RasterError, GeoError, rasterio.errors.RasterioError) as error:
            options.reject(str(path), str(error))


def _scene(
    scene: Raster, path: Path, maps: Sequence[Path], legend: dict[int, str], options: SourceOptions
) -> Iterator[Sample]:
    with ExitStack() as opened:
        views = [opened.enter_context(_over(given, scene, opened)) for given in maps]
        for chip in _scenes.chips(scene, path, options.size_px):
            codes = _codes(views, chip.window)
            valid = scene.valid(chip.window)
            strange = sorted(set(np.unique(codes).tolist()) - {0, *legend})
            if strange:
                options.reject(f"{path} {chip.window}", f"the land cover map holds codes without a name: {strange[:5]}")
            elif float(((codes == 0) | ~valid).mean()) <= MOST_UNKNOWN:
                yield _sample(chip, np.where(valid, codes, 0), legend)


def _over(path: Path, scene: Raster, opened: ExitStack) -> WarpedVRT:
    """See a map on the grid of a scene."""
    source = opened.enter_context(rasterio.open(path))
    georef = _scenes.placed(scene)
    width, height = scene.size_px
    return WarpedVRT(
        source,
        crs=georef.crs,
        transform=Affine(*georef.transform),
        width=width,
        height=height,
        resampling=Resampling.nearest,
        src_nodata=0 if source.nodata is None else source.nodata,
        nodata=0,
    )


def _codes(views: Sequence[WarpedVRT], window: _chips.Window) -> np.ndarray:
    """The codes of a window (H, W) of the first map that knows each pixel; 0 where none does."""
    x0, y0, x1, y1 = window
    codes = np.zeros((y1 - y0, x1 - x0), dtype=np.int32)
    for view in views:
        if (codes == 0).any():
            codes = np.where(codes == 0, view.read(1, window=Window(x0, y0, x1 - x0, y1 - y0)), codes)
    return codes


def _sample(chip: _scenes.Chip, codes: np.ndarray, legend: dict[int, str]) -> Sample:
    known = codes != 0
    present = [code for code in legend if (codes == code).any()]
    image = chip.image()
    return Sample(
        id=chip.id,
        images=(image,),
        task="facts",
        source="worldcover",
        licence=LICENCE,
        scene_id=chip.path.stem,
        targets=Targets(
            masks=tuple(Mask.from_array(codes == code, legend[code]) for code in present),
            numbers=tuple(_chips.share((codes == code)[known], legend[code]) for code in present),
        ),
        footprint=inner_bounds(image),
        meta={**chip.meta, "complete": list(legend.values()) if known.all() else []},
    )


SOURCE = Source(LICENCE, read, "optical/ with scenes, landcover/ with class rasters, perhaps legend.json")
