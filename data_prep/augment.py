"""Flip, turn and crop a row: its pictures, boxes, masks and regions, and the words that say where something is.

Flips and turns keep all that is true of a row; "left", "upper", "north-east" change with the picture. The picture is no
map any more afterwards, north is not up: it loses its georeference, and keeps its footprint.

A crop stays a map. What a row tells of the whole picture cannot be known of a part of it, so a row of facts keeps
boxes, masks and points alone; a row with a conversation is only cropped where all its regions stay in sight and no word
speaks of a place in the picture or of a neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely

from lhrs_chat.corruptions import CORRUPTIONS, Motion
from lhrs_chat.errors import DataError
from lhrs_chat.geo.frames import convert
from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.reference import part_of
from lhrs_chat.geo.shapes import polygons
from lhrs_chat.schema import Box, Image, Mask, Message, Part, Sample, Targets
from lhrs_chat.text.directions import rewrite_directions

from .sources import _chips

Window = tuple[int, int, int, int]
TEXTS = ("expression", "options")  # entries of `meta` that speak of the picture
HALF_SEEN = 0.5  # a class of which a crop shows less of a thing is not told in full any more
REGION = (
    "\ua66e\u200b"  # stands for a region while its turn is rewritten: a word of its own, as those before it need one
)
CROPPED_TASKS = ("region_caption", "referring", "grounding")


@dataclass(frozen=True)
class Change:
    """What is done to a row.

    Args:
        name: what it is called in ids, in `meta["augmented"]` and on the command line.
        motion: takes width and height of a picture and tells where its parts go.
        pixels: does the same to pixels (..., H, W), exactly.
    """

    name: str
    motion: Callable[[tuple[int, int]], Motion]
    pixels: Callable[[np.ndarray], np.ndarray]


def _turn(turns: int) -> Change:
    """Quarter turns, counter-clockwise."""
    return Change(
        f"turn_{90 * turns}",
        lambda size: CORRUPTIONS.get("quarter_turn").motion(size, turns),
        lambda pixels: np.rot90(pixels, turns, axes=(-2, -1)),
    )


CHANGES: dict[str, Change] = {
    change.name: change
    for change in (
        Change(
            "flip_left_right",
            lambda size: Motion(size, size, (-1.0, 0.0, size[0], 0.0, 1.0, 0.0), mirrored=True),
            lambda pixels: pixels[..., ::-1],
        ),
        Change(
            "flip_top_bottom",
            lambda size: Motion(size, size, (1.0, 0.0, 0.0, 0.0, -1.0, size[1]), 2, mirrored=True),
            lambda pixels: pixels[..., ::-1, :],
        ),
        *(_turn(turns) for turns in (1, 2, 3)),
    )
}


def changed(sample: Sample, change: Change) -> Sample:
    """Flip or turn a row.

    Raises:
        DataError: run lengths of a mask are of a picture of another size.
        GeoError: a box or mask is in map coordinates.
        RasterError: a picture cannot be read.
    """
    sizes = [_size_px(image) for image in sample.images]
    motions = [change.motion(size) for size in sizes]
    text = motions[0].text if motions else str
    targets = sample.targets
    box_images = sample.meta.get("box_images", [0] * len(targets.boxes))
    mask_images = sample.meta.get("mask_images", [0] * len(targets.masks))

    meta = {**sample.meta, **{key: _told(sample.meta[key], text) for key in TEXTS if key in sample.meta}}
    if "points" in meta:
        meta["points"] = [[*motions[0].xy(np.array([[x, y]]))[0].tolist(), label] for x, y, label in meta["points"]]
    return replace(
        sample,
        id=f"{sample.id}/{change.name}",
        images=tuple(_image(image, change) for image in sample.images),
        messages=tuple(_turn_told(turn, motions, text) for turn in sample.messages),
        targets=replace(
            targets,
            answer=None if targets.answer is None else text(targets.answer),
            choices=tuple(map(text, targets.choices)),
            captions=tuple(map(text, targets.captions)),
            boxes=tuple(_box(box, motions[i]) for box, i in zip(targets.boxes, box_images, strict=True)),
            masks=tuple(_mask(mask, change, motions[i]) for mask, i in zip(targets.masks, mask_images, strict=True)),
        ),
        meta={**meta, "augmented": [*sample.meta.get("augmented", []), change.name]},
    )


def _turn_told(turn: Message, motions: Sequence[Motion], text: Callable[[str], str]) -> Message:
    """Move the regions of a turn, and rewrite its text as a whole: words may speak of the region that follows."""
    words = [part.text.replace(REGION, "") if part.type == "text" else REGION for part in turn.content]
    told = iter(text("".join(words)).split(REGION))
    parts: list[Part] = []
    begun = next(told)  # the text up to the first region or picture; runs of text parts become one
    for piece in turn.content:
        if piece.type == "text":
            continue
        parts += [Part("text", text=begun)] if begun else []
        parts.append(
            piece if piece.region is None else replace(piece, region=_box(piece.region, motions[piece.image or 0]))
        )
        begun = next(told)
    parts += [Part("text", text=begun)] if begun else []
    return Message(turn.role, tuple(parts))


def crop(sample: Sample, window: Window) -> Sample:
    """Cut a part out of a row, (x0, y0, x1, y1) in pixels of its pictures.

    Raises:
        DataError: the window is not inside, the pictures differ in size, or the words may be untrue of the part.
        GeoError: a box or mask is in map coordinates.
        RasterError: a picture cannot be read.
    """
    sizes = {_size_px(image) for image in sample.images}
    if len(sizes) != 1:
        raise DataError("a crop needs pictures of one size", found=sorted(sizes))
    (size,) = sizes
    x0, y0, x1, y1 = window
    if not (0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]):
        raise DataError("the crop is not inside the picture", found=window, allowed=(0, 0, *size))
    motion = Motion(size, (x1 - x0, y1 - y0), (1.0, 0.0, -x0, 0.0, 1.0, -y0))
    cut = Change("crop", lambda _: motion, lambda pixels: pixels[..., y0:y1, x0:x1])
    if sample.messages:
        _check_conversation(sample, motion)
    images = tuple(_image(image, cut, motion) for image in sample.images)
    kept = _cropped_facts(sample, cut, motion) if not sample.messages else _cropped_regions(sample, motion)
    return replace(
        kept,
        id=f"{sample.id}/crop_{x0}-{y0}-{x1}-{y1}",
        images=images,
        footprint=_chips.footprint(images[0]) or sample.footprint,
        meta={**kept.meta, "augmented": [*sample.meta.get("augmented", []), f"crop {x0} {y0} {x1} {y1}"]},
    )


def _check_conversation(sample: Sample, motion: Motion) -> None:
    """Refuse rows whose words may be untrue of a part of the picture."""
    regions = [*sample.targets.boxes, *(p.region for m in sample.messages for p in m.content if p.region is not None)]
    said = [*(message.text for message in sample.messages), *sample.targets.captions, *sample.targets.choices]
    if sample.task not in CROPPED_TASKS or not regions or sample.targets.masks:
        raise DataError("such a row is not cropped", found=sample.task, allowed=f"facts, {', '.join(CROPPED_TASKS)}")
    if sample.meta.get("kind") == "relation" or any(rewrite_directions(text, 1) != text for text in said):
        raise DataError("the row speaks of places in the whole picture", found=said[:2])
    for region in regions:
        x1, y1, x2, y2 = motion.xy(
            np.array(convert(region, "pixel", size_px=motion.size_px).xyxy).reshape(2, 2)
        ).ravel()
        if min(x1, y1) < 0 or x2 > motion.moved_size_px[0] or y2 > motion.moved_size_px[1]:
            raise DataError("a region of the row lies outside of the crop", found=region.xyxy)


def _cropped_regions(sample: Sample, motion: Motion) -> Sample:
    def part(piece: Part) -> Part:
        return piece if piece.region is None else replace(piece, region=_box(piece.region, motion))

    return replace(
        sample,
        messages=tuple(Message(turn.role, tuple(map(part, turn.content))) for turn in sample.messages),
        targets=replace(sample.targets, boxes=tuple(_box(box, motion) for box in sample.targets.boxes)),
    )


def _cropped_facts(sample: Sample, cut: Change, motion: Motion) -> Sample:
    """Keep what a crop shows of boxes and masks; a class of which it hides much of a thing is not complete."""
    meta: dict[str, Any] = dict(sample.meta)
    unclear: set[str] = set()
    boxes: list[Box] = []
    box_images: list[int] = []
    for box, image in zip(sample.targets.boxes, meta.get("box_images", [0] * len(sample.targets.boxes)), strict=True):
        moved = motion.box(box)
        if moved is None:
            continue
        if _area(moved, motion.moved_size_px) < HALF_SEEN * _area(box, motion.size_px):
            unclear.add(box.label)
        boxes.append(moved)
        box_images.append(image)
    masks: list[Mask] = []
    mask_images: list[int] = []
    told = zip(sample.targets.masks, meta.get("mask_images", [0] * len(sample.targets.masks)), strict=True)
    for mask, image in told:
        seen = _cropped_mask(mask, cut, motion)
        if seen is not None:
            masks.append(seen)
            mask_images.append(image)
    for key, numbers in (("box_images", box_images), ("mask_images", mask_images)):
        if key in meta:
            meta[key] = numbers
    if "complete" in meta:
        meta["complete"] = [label for label in meta["complete"] if label not in unclear]
    if "points" in meta:
        width, height = motion.moved_size_px
        moved_points = [(*motion.xy(np.array([[x, y]]))[0].tolist(), label) for x, y, label in meta["points"]]
        meta["points"] = [[x, y, label] for x, y, label in moved_points if 0 <= x < width and 0 <= y < height]
    for key in ("cut", "difficult", "crowd", "covers", "cover_map"):  # they count boxes of the whole, or are its files
        meta.pop(key, None)
    return replace(sample, targets=Targets(boxes=tuple(boxes), masks=tuple(masks)), meta=meta)


def _told(value: Any, text: Callable[[str], str]) -> Any:
    return text(value) if isinstance(value, str) else [text(item) for item in value]


def _size_px(image: Image) -> tuple[int, int]:
    if image.size_px is not None:
        return image.size_px
    with Raster.open(image) as raster:
        return raster.size_px


def _box(box: Box, motion: Motion) -> Box:
    moved = motion.box(box)
    if moved is None:
        raise DataError("a box lies outside of its picture", found=box.xyxy)
    return moved


def _mask(mask: Mask, change: Change, motion: Motion) -> Mask:
    if mask.polygons is not None:
        return motion.mask(mask)
    inside = mask.to_array()
    if inside.shape != motion.size_px[::-1]:
        raise DataError("the mask is of another picture", found=inside.shape, allowed=motion.size_px[::-1])
    return Mask.from_array(change.pixels(inside), mask.label, mask.score)


def _cropped_mask(mask: Mask, cut: Change, motion: Motion) -> Mask | None:
    """What a crop shows of a mask, None for nothing."""
    if mask.rle is not None:
        seen = _mask(mask, cut, motion)
        return seen if seen.to_array().any() else None
    edge = shapely.box(0, 0, *motion.moved_size_px)
    rings = []
    for outline in polygons(motion.mask(mask), size_px=motion.moved_size_px):
        for part in shapely.get_parts(shapely.intersection(shapely.make_valid(outline), edge)):
            if isinstance(part, shapely.Polygon) and part.area > 0:
                rings += [ring.coords[:-1] for ring in (part.exterior, *part.interiors)]
    if not rings:
        return None
    return Mask("pixel", tuple(tuple((x, y) for x, y in ring) for ring in rings), label=mask.label, score=mask.score)


def _area(box: Box, size_px: tuple[int, int]) -> float:
    x1, y1, x2, y2 = convert(box, "pixel", size_px=size_px).xyxy
    return (x2 - x1) * (y2 - y1)


def _image(image: Image, change: Change, motion: Motion | None = None) -> Image:
    """The changed pixels in memory; a crop (with its motion) keeps its place on the map, a flip or turn does not."""
    with Raster.open(image) as raster:
        values, about = raster.read(), raster.image
    filled = values.filled(np.nan if values.dtype.kind == "f" else 0)
    array = np.ascontiguousarray(change.pixels(filled))
    size = (array.shape[2], array.shape[1])
    georef = None
    if motion is not None and about.georef is not None:
        georef = part_of(about.georef, motion.back[2], motion.back[5])
    known = replace(image, path=None, data=None, array=array, size_px=size, georef=georef)
    return known if georef is None else replace(known, bands=about.bands)
