"""The most memory that reading a 20,000 x 20,000 raster window by window takes, in a process of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from bench.peak import peak_mb
from bench.row import Row
from lhrs_chat.errors import LhrsError

SIDE_PX = 20_000
WINDOW_PX = 1024
BLOCK_PX = 512
BANDS = 3
TARGET_MB = 500.0

READER = """
import sys
from lhrs_chat.geo.raster import Raster
side, window, total = int(sys.argv[2]), int(sys.argv[3]), 0
with Raster.open(sys.argv[1]) as raster:
    for y in range(0, side, window):
        for x in range(0, side, window):
            part = raster.rgb(window=(x, y, min(x + window, side), min(y + window, side)))
            total += part.shape[0] * part.shape[1]
print(total)
"""


def measure() -> Row:
    """Write the raster, read all of it through `Raster` in windows of 1024, and look at the peak.

    Raises:
        LhrsError: the reader failed, or did not see every pixel.
    """
    with tempfile.TemporaryDirectory(prefix="lhrs-bench-") as folder:
        path = Path(folder) / "large.tif"
        write_raster(path, SIDE_PX)
        peak, said = peak_mb(READER, [str(path), str(SIDE_PX), str(WINDOW_PX)])
    if int(said) != SIDE_PX * SIDE_PX:
        raise LhrsError("the windows did not cover the raster", found=said, allowed=SIDE_PX * SIDE_PX)
    whole_mb = SIDE_PX * SIDE_PX * BANDS / 2**20
    return Row(
        what=f"peak memory, {SIDE_PX} x {SIDE_PX} x {BANDS} read in windows of {WINDOW_PX}",
        ours=f"{peak:.0f} MB",
        against=f"{whole_mb:.0f} MB (all pixels at once)",
        ratio=peak / whole_mb,
        target=f"under {TARGET_MB:.0f} MB",
        passed=peak < TARGET_MB,
    )


def write_raster(path: Path, side_px: int) -> None:
    """Write a tiled, compressed, georeferenced RGB raster of smooth hills, block by block."""
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    profile = {
        "driver": "GTiff",
        "width": side_px,
        "height": side_px,
        "count": BANDS,
        "dtype": "uint8",
        "crs": "EPSG:32631",
        "transform": from_origin(500_000.0, 5_000_000.0, 0.5, 0.5),
        "tiled": True,
        "blockxsize": BLOCK_PX,
        "blockysize": BLOCK_PX,
        "compress": "deflate",
        "zlevel": 1,
        "photometric": "rgb",
    }
    steps = np.arange(BLOCK_PX, dtype=np.float32) * (2 * np.pi / BLOCK_PX)
    hills = np.sin(steps)[:, None] * np.cos(2 * steps)[None, :]
    block = np.stack([(127 + 100 * hills * factor).astype(np.uint8) for factor in (1.0, 0.7, 0.4)])
    with rasterio.open(path, "w", **profile) as target:
        for y in range(0, side_px, BLOCK_PX):
            for x in range(0, side_px, BLOCK_PX):
                width, height = min(BLOCK_PX, side_px - x), min(BLOCK_PX, side_px - y)
                target.write(block[:, :height, :width], window=Window(x, y, width, height))
