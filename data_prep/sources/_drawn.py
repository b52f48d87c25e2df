"""What all sources of procedural scenes share: a drawn scene, its facts, and rows one after the other."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Image, Mask, Number, Sample, Targets

from ..canvas import CODE, COVERS, THINGS, Canvas, Sun
from ..captions import captions
from ..grounds import Palette
from ..layouts import COARSE, FINE, RADAR
from ..render import SENSORS, Sensor
from ..textures import texture
from . import SourceOptions

LICENCE = "Apache-2.0"
LEAST_PX = 40  # visible pixels a thing needs to be counted and boxed
# Covers that can be taken for one another: where one is, the absence of the other is not certain.
_ALIKE = (
    ("field", "grass"),
    ("field", "bare soil"),
    ("sand", "bare soil"),
    ("road", "pavement"),
    ("building", "built-up area"),
    ("road", "built-up area"),
    ("pavement", "built-up area"),
    ("grass", "built-up area"),
)
# what a radar picture tells apart
_RADAR_COVERS = frozenset({"water", "building", "built-up area"})
_SEEN_BELOW_GSD_M = {"building": 3.0, "ship": 3.5, "airplane": 3.0, "storage tank": 3.0, "car": 0.6}


def split_of(scene_id: str) -> str:
    """Split of a scene by the hash of its id: 80 % train, 10 % val, 10 % test."""
    tenth = int.from_bytes(hashlib.sha256(scene_id.encode()).digest()[:4], "big") % 10
    return {8: "val", 9: "test"}.get(tenth, "train")


def scene_name(source: str, seed: int, index: int) -> str:
    """Id of a scene; the split hangs on it."""
    return f"{source.replace('_', '-')}-{seed}-{index:07d}"


def picture(canvas: Canvas, pixels: np.ndarray, bands: tuple[str, ...], sensor: str) -> Image:
    """An image of a canvas: `pixels` (C, H, W)."""
    return Image(array=pixels, size_px=(canvas.size_px, canvas.size_px), bands=bands, sensor=sensor, gsd_m=canvas.gsd_m)


@dataclass
class Drawn:
    """A scene before its shadows and things are merged: `finish` does that, once."""

    canvas: Canvas
    palette: Palette
    sensor: Sensor
    label: str

    def finish(self) -> None:
        """Merge shadows and things into the picture."""
        rng = self.canvas.rng
        self.canvas.finish(texture(rng, self.canvas.size_px, "grain"), 0.04, float(rng.uniform(0.45, 0.72)))


def draw(
    rng: np.random.Generator, size_px: int, sensors: Sequence[Sensor] = SENSORS, skip: frozenset[str] = frozenset()
) -> Drawn:
    """Draw a scene for one of `sensors`, of any class but those of `skip`."""
    weights = np.array([sensor.weight for sensor in sensors])
    sensor = sensors[int(rng.choice(len(sensors), p=weights / weights.sum()))]
    label, gsd_m = _class_and_gsd(rng, sensor, size_px, skip)
    sun = Sun(azimuth=rng.uniform(0, 2 * math.pi), elevation=math.radians(rng.uniform(28, 65)))
    canvas = Canvas(rng, size_px, gsd_m, sun)
    layout = FINE[label][0] if gsd_m < 10 else COARSE[label]
    palette = Palette.draw(rng)
    layout(canvas, palette)
    return Drawn(canvas, palette, sensor, label)


def _class_and_gsd(rng: np.random.Generator, sensor: Sensor, size_px: int, skip: frozenset[str]) -> tuple[str, float]:
    """Draw a scene class that this sensor can show, and the pixel size (for 256 px; smaller pictures get coarser)."""
    finest, coarsest = sensor.gsd_m
    if finest >= 10:
        return str(rng.choice([name for name in COARSE if _shows(sensor, name) and name not in skip])), 10.0
    able = [name for name, (_, low, high) in FINE.items() if low <= coarsest and high >= finest]
    label = str(rng.choice([name for name in able if _shows(sensor, name) and name not in skip]))
    low, high = max(finest, FINE[label][1]), min(coarsest, FINE[label][2])
    scale = min(1.5, max(1.0, 256 / size_px)) if high > 0.4 else 1.0
    return label, round(min(high, float(rng.uniform(low, high)) * scale), 2)


def _shows(sensor: Sensor, label: str) -> bool:
    return label in RADAR or not sensor.radar


def facts(drawn: Drawn, pixels: np.ndarray, source: str, seed: int, index: int) -> Sample:
    """The row of facts of a finished scene with its picture: covers, things, heights, captions."""
    canvas, sensor, label = drawn.canvas, drawn.sensor, drawn.label
    scene_id = scene_name(source, seed, index)
    boxes: list[Box] = []
    heights: list[Number] = []
    unclear: set[str] = set()
    for index, thing in enumerate(canvas.things):
        xyxy, seen_px = canvas.visible(index)
        if xyxy is None:
            continue
        if seen_px < LEAST_PX or seen_px < 0.35 * thing.area_px:
            unclear.add(thing.label)
            continue
        heights.append(Number(round(thing.height_m, 1), "m", "computed", f"height of box {len(boxes)}"))
        boxes.append(Box(xyxy, "pixel", thing.label))
    counts = {thing: sum(box.label == thing for box in boxes) for thing in THINGS}
    total = canvas.cover.size
    pixels_of = {cover: int((canvas.cover == code).sum()) for cover, code in CODE.items()}
    shares = {cover: 100 * n / total for cover, n in pixels_of.items() if n > 0}
    told = {cover: share for cover, share in shares.items() if not sensor.radar or cover in _RADAR_COVERS}
    numbers = [Number(share, "%", "computed", cover) for cover, share in told.items()]
    numbers += [Number(n, "", "computed", thing) for thing, n in counts.items() if n and thing not in unclear]
    masks = tuple(Mask.from_array(canvas.cover == CODE[cover], cover) for cover in told)
    certain = {thing: n for thing, n in counts.items() if thing not in unclear}
    complete = _complete(canvas, sensor, shares, counts, unclear)
    return Sample(
        id=scene_id,
        images=(picture(canvas, pixels, sensor.bands, sensor.name),),
        task="facts",
        source=source,
        licence=LICENCE,
        scene_id=scene_id,
        targets=Targets(
            labels=(label,),
            boxes=tuple(boxes),
            masks=masks,
            numbers=(*numbers, *heights),
            captions=captions(label, {} if sensor.radar else shares, certain, sensor.name),
        ),
        split=split_of(scene_id),
        meta={"sensor": sensor.name, "gsd_m": canvas.gsd_m, "seed": seed, "complete": complete},
    )


def _complete(
    canvas: Canvas, sensor: Sensor, shares: dict[str, float], counts: dict[str, int], unclear: set[str]
) -> list[str]:
    """Labels for which the facts tell all there is: what they do not list is absent."""
    alike = {(a, b) for a, b in _ALIKE} | {(b, a) for a, b in _ALIKE}
    hidden = _hidden(canvas, shares, unclear)
    known = []
    for cover in COVERS:
        if cover in hidden or (sensor.radar and cover not in _RADAR_COVERS):
            continue
        taken_for = any(shares.get(other, 0) > 1 for one, other in alike if one == cover)
        if cover in shares or not taken_for:
            known.append(cover)
    for thing in THINGS[1:]:
        can_be_seen = canvas.gsd_m <= _SEEN_BELOW_GSD_M[thing] and not (sensor.radar and thing == "car")
        if can_be_seen and thing not in unclear:
            known.append(thing)
    return known


def _hidden(canvas: Canvas, shares: dict[str, float], unclear: set[str]) -> set[str]:
    """Covers that may be there without being told: single trees are no forest, huts are lost in coarse pixels."""
    hidden = set()
    if "forest" not in shares and canvas.tree_px > 0.01 * canvas.cover.size:
        hidden.add("forest")
    if "building" in unclear or canvas.gsd_m > _SEEN_BELOW_GSD_M["building"]:
        hidden.add("building")
    return hidden


def rows(
    source: str, make: Callable[[int, int, int], Sample], folder: Path | None, options: SourceOptions
) -> Iterator[Sample]:
    """Make scenes without end, or `options.count` of them; a split keeps only its scenes.

    Args:
        source: its name.
        make: makes the row of (seed, index, size_px).
        folder: must be None.
        options: what to take.

    Raises:
        DataError: a folder is given: these sources read nothing.
    """
    if folder is not None:
        raise DataError(f"the source {source} makes its scenes itself", found=str(folder), allowed="no folder")
    made = index = 0
    while options.count is None or made < options.count:
        if options.split is None or split_of(scene_name(source, options.seed, index)) == options.split:
            yield make(options.seed, index, options.size_px)
            made += 1
        index += 1
