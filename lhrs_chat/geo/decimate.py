"""Making a small view of a large raster piece by piece, so that memory stays small whatever the file looks like.

GDAL can decimate by itself, but on tiled JPEG files without overviews it decodes the same tiles again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

Extent = tuple[int, int, int, int]
Reader = Callable[[Extent], "np.ma.MaskedArray[tuple[int, ...], np.dtype[np.generic]]"]
_CHUNK_BYTES = 16 * 2**20
_SAMPLES = 2  # pixels looked at in each direction of an output cell; more is not visible


def chunks(window: Extent, block_px: tuple[int, int], bytes_per_pixel: int) -> Iterator[Extent]:
    """Cut a window into pieces that follow the stored blocks and stay under a fixed number of bytes.

    Args:
        window: (x0, y0, x1, y1).
        block_px: width and height of a stored block.
        bytes_per_pixel: of all bands that are read.
    """
    x0, y0, x1, y1 = window
    wide, high = block_px
    pixels = max(wide * high, _CHUNK_BYTES // bytes_per_pixel)
    columns = max(1, min(-(-(x1 - x0) // wide) + 1, pixels // (wide * high)))
    rows = max(1, pixels // (wide * high * columns))
    step_x, step_y = columns * wide, rows * high
    for top in range(y0 - y0 % high, y1, step_y):
        for left in range(x0 - x0 % wide, x1, step_x):
            yield (max(left, x0), max(top, y0), min(left + step_x, x1), min(top + step_y, y1))


def average(
    read: Reader,
    pieces: Iterator[Extent],
    window: Extent,
    out_px: tuple[int, int],
    count: int,
    dtype: np.dtype[np.generic],
) -> np.ma.MaskedArray:
    """Average the valid pixels of every output cell (at least 2 x 2 samples where the cell has them).

    Args:
        read: reads one piece as (C, h, w), masked.
        pieces: extents that together cover the window once.
        window: (x0, y0, x1, y1).
        out_px: width and height of the result, not larger than the window.
        count: number of bands C.
        dtype: type of the result; integers are rounded.

    Returns:
        (C, H, W), masked where a cell has no valid sample.
    """
    x0, y0, x1, y1 = window
    width, height = out_px
    x_edges = x0 + np.arange(width + 1) * (x1 - x0) // width
    y_edges = y0 + np.arange(height + 1) * (y1 - y0) // height
    step_x = max(1, (x1 - x0) // width // _SAMPLES)
    step_y = max(1, (y1 - y0) // height // _SAMPLES)
    total = np.zeros((count, height, width), dtype=np.float64)
    seen = np.zeros((count, height, width), dtype=np.int64)
    for piece in pieces:
        xs = np.arange(-(-piece[0] // step_x) * step_x, piece[2], step_x)
        ys = np.arange(-(-piece[1] // step_y) * step_y, piece[3], step_y)
        if not xs.size or not ys.size:
            continue
        values = read(piece)[:, ys[0] - piece[1] :: step_y, xs[0] - piece[0] :: step_x]
        columns, left = _cells(xs, x_edges)
        rows, top = _cells(ys, y_edges)
        good = ~np.ma.getmaskarray(values)
        plain = np.where(good, values.data, 0).astype(np.float32 if dtype.itemsize <= 2 else np.float64)
        cells = np.ix_(np.arange(count), rows, columns)
        total[cells] += np.add.reduceat(np.add.reduceat(plain, top, axis=1), left, axis=2)
        seen[cells] += np.add.reduceat(np.add.reduceat(good.view(np.uint8), top, axis=1, dtype=np.int32), left, axis=2)
    mean = total / np.maximum(seen, 1)
    if dtype.kind in "iu":
        mean = np.rint(mean)
    return np.ma.MaskedArray(mean.astype(dtype), seen == 0)


def pick(
    read: Reader,
    pieces: Iterator[Extent],
    window: Extent,
    out_px: tuple[int, int],
    count: int,
    dtype: np.dtype[np.generic],
) -> np.ma.MaskedArray:
    """Take the middle pixel of every output cell: for class numbers, which have no average. See `average`."""
    x0, y0, x1, y1 = window
    width, height = out_px
    middle_x = x0 + (2 * np.arange(width) + 1) * (x1 - x0) // (2 * width)
    middle_y = y0 + (2 * np.arange(height) + 1) * (y1 - y0) // (2 * height)
    out = np.ma.MaskedArray(np.zeros((count, height, width), dtype=dtype), np.ones((count, height, width), dtype=bool))
    for piece in pieces:
        columns = np.flatnonzero((middle_x >= piece[0]) & (middle_x < piece[2]))
        rows = np.flatnonzero((middle_y >= piece[1]) & (middle_y < piece[3]))
        if columns.size and rows.size:
            values = read(piece)
            inside = np.ix_(np.arange(count), middle_y[rows] - piece[1], middle_x[columns] - piece[0])
            out[np.ix_(np.arange(count), rows, columns)] = values[inside]
    return out


def _cells(positions: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The output cells that sorted positions fall into, and where each begins among them."""
    index = np.searchsorted(edges, positions, side="right") - 1
    cells, first = np.unique(index, return_index=True)
    return cells, first
