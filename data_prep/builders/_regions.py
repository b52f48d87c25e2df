"""Where things lie in a picture: region words, and the box of a cover that lies together."""

from __future__ import annotations

from collections import deque

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Mask

REGIONS = (
    "upper left",
    "upper middle",
    "upper right",
    "middle left",
    "centre",
    "middle right",
    "lower left",
    "lower middle",
    "lower right",
)
_CELLS = 64  # side of the coarse grid that a mask is followed on
_LEAST_SHARE = 0.015  # of the picture
_LEAST_TOGETHER = 0.7  # of the cover, in one piece
_LEAST_FILLED = 0.35  # of the box
_LARGEST_BOX = 0.7  # of the picture; a larger one says nothing of where


def region_of(box: Box) -> str:
    """Name the ninth of the picture that holds the centre of a box given in per cent.

    Raises:
        DataError: the box is in another frame.
    """
    if box.frame != "per100":
        raise DataError("regions are named for boxes in per cent", found=box.frame, allowed="per100")
    x, y = (box.xyxy[0] + box.xyxy[2]) / 2, (box.xyxy[1] + box.xyxy[3]) / 2
    row, column = min(2, int(3 * y / 100)), min(2, int(3 * x / 100))
    return REGIONS[3 * row + column]


def region_shares(mask: np.ndarray) -> np.ndarray:
    """Share of each ninth of the picture that is set in `mask`: (H, W), bool; (9,) in the order of `REGIONS`."""
    height, width = mask.shape
    rows, columns = [0, height // 3, 2 * height // 3, height], [0, width // 3, 2 * width // 3, width]
    return np.array(
        [mask[rows[k // 3] : rows[k // 3 + 1], columns[k % 3] : columns[k % 3 + 1]].mean() for k in range(9)]
    )


def compact_box(mask: Mask, size_px: tuple[int, int]) -> Box | None:
    """Box of the main piece of a cover, in pixels of the image; None where the cover is scattered or everywhere.

    Args:
        mask: run lengths.
        size_px: (width, height) of the image.
    """
    array = mask.to_array()
    height, width = array.shape
    share = array.mean()
    if share < _LEAST_SHARE or min(array.shape) < 2:
        return None
    step = max(1, -(-max(array.shape) // _CELLS))
    piece = _largest_piece(_coarse(array, step))
    fine = array & np.repeat(np.repeat(piece, step, axis=0), step, axis=1)[:height, :width]
    if fine.sum() < _LEAST_TOGETHER * array.sum():
        return None
    rows, columns = np.flatnonzero(fine.any(axis=1)), np.flatnonzero(fine.any(axis=0))
    x1, x2, y1, y2 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    boxed = (x2 - x1) * (y2 - y1)
    if boxed > _LARGEST_BOX * array.size or fine.sum() < _LEAST_FILLED * boxed:
        return None
    sx, sy = size_px[0] / width, size_px[1] / height
    return Box((float(x1 * sx), float(y1 * sy), float(x2 * sx), float(y2 * sy)), "pixel", mask.label)


def _coarse(array: np.ndarray, step: int) -> np.ndarray:
    """Cells of `step` x `step` pixels at least half of which are set."""
    height, width = array.shape
    padded = np.pad(array, ((0, -height % step), (0, -width % step)))
    cells = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    return np.asarray(cells.mean(axis=(1, 3)) >= 0.5)


def _largest_piece(cells: np.ndarray) -> np.ndarray:
    """The largest set of cells that hang together by their sides: (H, W), bool."""
    left = cells.copy()
    best: list[tuple[int, int]] = []
    height, width = cells.shape
    for start in zip(*np.nonzero(cells), strict=True):
        if not left[start]:
            continue
        left[start] = False
        piece, queue = [], deque([(int(start[0]), int(start[1]))])
        while queue:
            row, column = queue.popleft()
            piece.append((row, column))
            for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= r < height and 0 <= c < width and left[r, c]:
                    left[r, c] = False
                    queue.append((r, c))
        best = max(best, piece, key=len)
    found = np.zeros_like(cells)
    if best:
        rows, columns = zip(*best, strict=True)
        found[list(rows), list(columns)] = True
    return found
