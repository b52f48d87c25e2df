"""Cutting a large scene into overlapping tiles, and making one list out of what was found in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lhrs_chat.errors import GeoError
from lhrs_chat.schema import XYXY, Box

_EDGE_PX = 1.5  # a box that ends this near to a tile's edge is taken as cut by it


@dataclass(frozen=True)
class Tile:
    """A part of the scene, in its pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def window(self) -> tuple[int, int, int, int]:
        """The extent as `Raster.read` takes it."""
        return (self.x0, self.y0, self.x1, self.y1)

    def to_scene(self, box: Box) -> Box:
        """Move a box in pixels of the tile to pixels of the scene."""
        if box.frame != "pixel":
            raise GeoError("a tile moves boxes in pixels", found=box.frame, allowed="pixel")
        x1, y1, x2, y2 = box.xyxy
        moved: XYXY = (x1 + self.x0, y1 + self.y0, x2 + self.x0, y2 + self.y0)
        points = None if box.points is None else tuple((x + self.x0, y + self.y0) for x, y in box.points)
        return replace(box, xyxy=moved, points=points)


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    if length <= tile:
        return [0]
    starts = list(range(0, length - tile, tile - overlap))
    return [*starts, length - tile]


def plan(size_px: tuple[int, int], tile_px: int, overlap_px: int) -> list[Tile]:
    """Cover an image with tiles of one size; the last ones are moved back so that they end at the edge.

    Neighbours overlap by at least `overlap_px`. An image smaller than a tile gives one tile of its own size.

    Args:
        size_px: width and height of the image.
        tile_px: side of a tile.
        overlap_px: pixels shared by neighbours, less than `tile_px`.

    Raises:
        GeoError: a size is not positive, or the overlap is not smaller than the tile.
    """
    if min(size_px) < 1 or tile_px < 1:
        raise GeoError("tiles need a positive size", found=(size_px, tile_px))
    if not 0 <= overlap_px < tile_px:
        raise GeoError("the overlap does not fit the tile", found=overlap_px, allowed=f"0 to {tile_px - 1}")
    width, height = size_px
    return [
        Tile(x, y, min(x + tile_px, width), min(y + tile_px, height))
        for y in _starts(height, tile_px, overlap_px)
        for x in _starts(width, tile_px, overlap_px)
    ]


def _cut(box: XYXY, other: XYXY) -> XYXY | None:
    x1, y1 = max(box[0], other[0]), max(box[1], other[1])
    x2, y2 = min(box[2], other[2]), min(box[3], other[3])
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _area(box: XYXY) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _same(first: tuple[Tile, Box], second: tuple[Tile, Box], iou: float) -> bool:
    """Whether two tiles found one thing: in the part that both could see, the boxes agree."""
    (tile_a, box_a), (tile_b, box_b) = first, second
    if tile_a == tile_b or box_a.label != box_b.label:
        return False
    window_a: XYXY = tile_a.window
    both = _cut(window_a, tile_b.window)
    if both is None:
        return False
    seen_a, seen_b = _cut(box_a.xyxy, both), _cut(box_b.xyxy, both)
    if seen_a is None or seen_b is None:
        return False
    common = _cut(seen_a, seen_b)
    if common is None:
        return False
    return _area(common) >= iou * (_area(seen_a) + _area(seen_b) - _area(common))


def _is_cut(tile: Tile, box: Box, size_px: tuple[int, int]) -> bool:
    """Whether a box ends at an edge of its tile that is not an edge of the image."""
    x1, y1, x2, y2 = box.xyxy
    left = tile.x0 > 0 and x1 <= tile.x0 + _EDGE_PX
    top = tile.y0 > 0 and y1 <= tile.y0 + _EDGE_PX
    right = tile.x1 < size_px[0] and x2 >= tile.x1 - _EDGE_PX
    bottom = tile.y1 < size_px[1] and y2 >= tile.y1 - _EDGE_PX
    return left or top or right or bottom


def merge(found: Sequence[tuple[Tile, Box]], size_px: tuple[int, int], *, iou: float = 0.5) -> list[Box]:
    """Make one box of every thing that several tiles saw.

    Two boxes of one label from different tiles are the same thing when they agree (IoU) inside the part that both
    tiles cover. Of a group, the best scored box that no tile edge cuts is kept; when all are cut, their envelope.

    Args:
        found: tile and box in pixels of the scene, as `Tile.to_scene` gives it.
        size_px: width and height of the scene.
        iou: agreement from which on two boxes are one.

    Raises:
        GeoError: a box is not in the frame `pixel`.
    """
    for _, box in found:
        if box.frame != "pixel":
            raise GeoError("boxes are merged in pixels of the scene", found=box.frame, allowed="pixel")
    groups: list[list[tuple[Tile, Box]]] = []
    for item in sorted(found, key=lambda pair: -(pair[1].score or 0.0)):
        near = [g for g in groups if all(t != item[0] for t, _ in g) and any(_same(item, held, iou) for held in g)]
        merged = [item]
        for group in near:
            if {t for t, _ in group}.isdisjoint({t for t, _ in merged}):
                merged += group
                groups.remove(group)
        groups.append(merged)
    return [_one(group, size_px) for group in groups]


def _one(group: list[tuple[Tile, Box]], size_px: tuple[int, int]) -> Box:
    best = max((box for _, box in group), key=lambda box: box.score or 0.0)
    whole = [box for tile, box in group if not _is_cut(tile, box, size_px)]
    if whole:
        return replace(max(whole, key=lambda box: box.score or 0.0), score=best.score)
    if len(group) == 1:
        return best
    boxes = [box.xyxy for _, box in group]
    envelope: XYXY = (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )
    return Box(envelope, "pixel", best.label, best.score)
