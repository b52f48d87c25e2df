"""Tree crowns in airborne pictures of NEON forest sites, cut into squares. Test only, as the set says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rasterio

from lhrs_chat.schema import Box, Georef, Sample, Targets

from . import Source, SourceOptions, _chips, _published

LICENCE = "NEON data, free to use with attribution to the National Ecological Observatory Network"
CHIPS_PER_FRAME = 12
TRIES = 200
SIDES_PX = (90, 260)


def read(root: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield square chips with the boxes of all crowns, labelled `tree` (dead and living ones too).

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("neon_trees", root, _chips.NEEDS)
    rows = _chips.read_rows(root)
    yield from _chips.take((chip for row in rows for chip in _chips_of(root, row, options)), options)


def _chips_of(root: Path, row: dict[str, Any], options: SourceOptions) -> Iterator[Sample]:
    if options.split is not None and _chips.field(row, "split") != options.split:
        return
    path = root / str(_chips.field(row, "file"))
    boxes = [Box(tuple(entry["xyxy"]), "pixel", "tree") for entry in _chips.field(row, "boxes")]
    frame = _chips.Frame(_chips.picture(path), _georef(path), sensor="aerial RGB")
    for window, kept in crown_windows(
        frame, boxes, (CHIPS_PER_FRAME, 0), f"{options.seed}/{row['id']}", options.size_px
    ):
        image = _chips.chip_image(frame, window, options.size_px)
        yield Sample(
            id=f"{row['id']}_{window[0]}_{window[1]}_{window[2] - window[0]}",
            images=(image,),
            task="facts",
            source="neon_trees",
            licence=LICENCE,
            scene_id=str(row["id"]),
            targets=Targets(boxes=kept, numbers=_chips.counts(kept, ("tree",))),
            split=str(_chips.field(row, "split")),
            footprint=_chips.footprint(image),
            meta={"image_file": row["file"], "window": list(window), "present": [], "complete": []},
        )


def crown_windows(
    frame: _chips.Frame,
    boxes: list[Box],
    wanted: tuple[int, int],
    seed: str,
    size_px: int,
    area: _chips.Window | None = None,
) -> Iterator[tuple[_chips.Window, tuple[Box, ...]]]:
    """Draw windows inside `area` that cut through no crown in a way that leaves its counting open.

    `wanted`: how many with crowns, and how many without any, for frames in which every tree has its box.
    """
    height, width = frame.rgb.shape[:2]
    left, top, right, bottom = area or (0, 0, width, height)
    rng = random.Random(seed)
    left_over = {True: wanted[0], False: wanted[1]}
    seen: set[_chips.Window] = set()
    for _ in range(TRIES * sum(wanted)):
        side = min(rng.randint(*SIDES_PX), right - left, bottom - top)
        x, y = rng.randint(left, right - side), rng.randint(top, bottom - side)
        window = (x, y, x + side, y + side)
        kept, unclear = _chips.boxes_in(boxes, window, size_px)
        if window in seen or unclear or not left_over[bool(kept)]:
            continue
        seen.add(window)
        left_over[bool(kept)] -= 1
        yield window, kept
        if not any(left_over.values()):
            return


def _georef(path: Path) -> Georef | None:
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    with rasterio.open(path) as opened:
        crs = opened.crs.to_string() if opened.crs else ""
        return Georef(crs, tuple(opened.transform)[:6]) if crs else None


SOURCE = Source(LICENCE, read, _chips.NEEDS)
