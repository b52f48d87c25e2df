"""What a data set holds, counted row by row: rows are forgotten at once, pictures and scenes leave one number each."""

from __future__ import annotations

import hashlib
import heapq
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import shapely

from lhrs_chat.errors import GeoError
from lhrs_chat.geo.frames import convert
from lhrs_chat.geo.shapes import polygons
from lhrs_chat.schema import Box, Image, Mask, Sample

T = TypeVar("T")
K = TypeVar("K", bound=tuple[str, ...])
LonLat = tuple[float, float, float, float]

UNTOLD = "not told"
MOST_NAMES = 20_000
"""Names that are counted apart, for labels and for answers of a task; those that come later are `OTHERS` together."""
OTHERS = "(others)"
SHORT_WORDS = 4
"""Answers of at most so many words are counted one by one."""
FOOTPRINTS = 3000
"""Footprints that are kept to be drawn."""
GSD_M = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
SIDES_PX = (128, 256, 512, 1024, 2048, 4096)
BOX_SIDES_PX = (8, 16, 32, 64, 96, 128, 256, 512)
"""Of boxes: the root of their area. COCO calls them small below 32 and large from 96 pixels."""
SHARES = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5)
WORDS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
ZONES = ((66.5, "polar"), (35.0, "temperate"), (23.5, "subtropical"), (0.0, "tropical"))
"""By distance from the equator in degrees."""


class Histogram:
    """Counts of values between edges, with their mean, smallest and largest.

    Args:
        edges: in rising order; a value that equals an edge lies above it.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(edges) + 1)
        self.total = 0
        self.low, self.high = math.inf, -math.inf
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_right(self.edges, value)] += 1
        self.total += 1
        self.low, self.high = min(self.low, value), max(self.high, value)
        self._sum += value

    def join(self, other: Histogram) -> None:
        """Add the counts of another histogram with the same edges."""
        self.counts = [own + more for own, more in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self._sum += other._sum

    @property
    def mean(self) -> float:
        """The mean of all values; there must be one."""
        return self._sum / self.total


class Names:
    """Counts by name that keep to a bounded memory."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        self.counts: Counter[str] = Counter()
        self._most = most

    def add(self, name: str) -> None:
        """Count one; a name that is new when there are too many goes to the others."""
        self.counts[name if name in self.counts or len(self.counts) < self._most else OTHERS] += 1


@dataclass(order=True)
class _Ranked(Generic[T]):
    rank: tuple[int, str]
    item: T = field(compare=False)


class Draw(Generic[T]):
    """A sample of a stream that depends on the seed and the names alone, not on the order.

    Args:
        most: items that are kept.
        seed: another one draws others.
    """

    def __init__(self, most: int, seed: int) -> None:
        self._seed = seed
        self._kept: list[_Ranked[T]] = []
        self.keep(most)

    def keep(self, most: int) -> None:
        """Keep only so many from now on."""
        self.most = most
        while len(self._kept) > most:
            heapq.heappop(self._kept)

    def add(self, name: str, item: T) -> None:
        """Offer an item."""
        digest = hashlib.sha256(f"{self._seed}/{name}".encode()).digest()
        ranked = _Ranked((-int.from_bytes(digest[:8]), name), item)
        if len(self._kept) < self.most:
            heapq.heappush(self._kept, ranked)
        elif self.most:
            heapq.heappushpop(self._kept, ranked)

    def items(self) -> list[T]:
        """What was drawn, in the order of drawing."""
        return [ranked.item for ranked in sorted(self._kept, reverse=True)]


class Shown:
    """Rows to look at: some of every source, task and split.

    Args:
        most: rows in all.
        seed: another one draws others.
    """

    def __init__(self, most: int, seed: int) -> None:
        self._most, self._seed = most, seed
        self._cells: dict[tuple[str, ...], Draw[Sample]] = {}
        self._any: Draw[Sample] = Draw(most, seed)

    def add(self, row: Sample) -> None:
        """Offer a row."""
        key = (row.source, row.task, row.split)
        if key not in self._cells:
            self._cells[key] = Draw(0, self._seed)
            fair = math.ceil(self._most / len(self._cells))
            for cell in self._cells.values():
                cell.keep(fair)
        self._cells[key].add(row.id, row)
        self._any.add(row.id, row)

    def rows(self) -> list[Sample]:
        """The rows, in turns from every cell; where small cells leave room, any others."""
        cells = [cell.items() for _, cell in sorted(self._cells.items())]
        longest = max(map(len, cells), default=0)
        turns = [cell[place] for place in range(longest) for cell in cells if place < len(cell)]
        by_id = {row.id: row for row in (*turns[: self._most], *self._any.items())}
        return list(by_id.values())[: self._most]


@dataclass
class Label:
    """How often a class is told: in rows, by boxes, by masks."""

    rows: int = 0
    boxes: int = 0
    masks: int = 0


class Census:
    """The counts of a data set.

    Args:
        seed: decides which footprints are drawn.
    """

    def __init__(self, seed: int = 0) -> None:
        self.rows = self.unreadable = 0
        self.cells: Counter[tuple[str, str, str]] = Counter()
        self.licences: Counter[tuple[str, str]] = Counter()
        self.without_licence: list[str] = []
        self.scenes: Counter[str] = Counter()
        self.shared_scenes = 0
        self.pictures: Counter[str] = Counter()
        self.sensors: Counter[str] = Counter()
        self.gsd_m: dict[str, Histogram] = {}
        self.without_gsd = 0
        self.sizes = Histogram(SIDES_PX)
        self.commonest_sizes = Names()
        self.questions, self.answers, self.captions = Histogram(WORDS), Histogram(WORDS), Histogram(WORDS)
        self.turns: Counter[int] = Counter()
        self.boxes: Counter[str] = Counter()
        self.box_sides_px, self.box_shares, self.mask_shares = (
            Histogram(BOX_SIDES_PX),
            Histogram(SHARES),
            Histogram(SHARES),
        )
        self.labels: dict[str, Label] = {}
        self.short_answers: dict[str, Names] = {}
        self.answered: Counter[str] = Counter()
        self.ground: Counter[tuple[int, int]] = Counter()
        self.zones: Counter[str] = Counter()
        self.footprints: Draw[LonLat] = Draw(FOOTPRINTS, seed)
        self._seen: set[int] = set()
        self._splits_of: dict[int, str] = {}

    def add(self, row: Sample) -> None:
        """Count a row."""
        self.rows += 1
        self.cells[row.source, row.task, row.split] += 1
        self.licences[row.licence.strip(), row.source] += 1
        if not row.licence.strip() and len(self.without_licence) < 5:
            self.without_licence.append(row.id)
        self._add_scene(row)
        for image in row.images:
            self._add_picture(row.source, image)
        self._add_ground(row)
        self._add_texts(row)
        self._add_regions(row)

    def _is_new(self, *key: object) -> bool:
        number = hash(key)
        if number in self._seen:
            return False
        self._seen.add(number)
        return True

    def _add_scene(self, row: Sample) -> None:
        if self._is_new("scene in split", row.scene_id, row.split):
            self.scenes[row.split] += 1
        known = self._splits_of.setdefault(hash(row.scene_id), row.split)
        if known not in (row.split, ""):
            self.shared_scenes += 1
            self._splits_of[hash(row.scene_id)] = ""

    def _add_picture(self, source: str, image: Image) -> None:
        if not self._is_new("picture", image.path):
            return
        self.pictures[source] += 1
        sensor = image.sensor or UNTOLD
        self.sensors[sensor] += 1
        if image.gsd_m is None:
            self.without_gsd += 1
        else:
            self.gsd_m.setdefault(sensor, Histogram(GSD_M)).add(image.gsd_m)
        if image.size_px is not None:
            self.sizes.add(max(image.size_px))
            self.commonest_sizes.add("{} x {}".format(*image.size_px))

    def _add_ground(self, row: Sample) -> None:
        if row.footprint is None:
            self.zones[UNTOLD] += 1
            return
        west, south, east, north = row.footprint
        latitude = (south + north) / 2
        longitude = (west + (east if east >= west else east + 360)) / 2
        self.zones[zone(latitude)] += 1
        self.ground[math.floor((longitude + 180) % 360) - 180, min(math.floor(latitude), 89)] += 1
        if self._is_new("footprint", row.footprint):
            self.footprints.add(repr(row.footprint), row.footprint)

    def _add_texts(self, row: Sample) -> None:
        for caption in row.targets.captions:
            self.captions.add(len(caption.split()))
        said = [message for message in row.messages if message.role == "assistant"]
        for message in row.messages:
            if message.role == "user":
                self.questions.add(len(message.text.split()))
        for message in said:
            self.answers.add(len(message.text.split()))
        if said:
            self.turns[len(said)] += 1
            self.answered[row.task] += 1
            answer = (row.targets.answer or said[-1].text).strip().rstrip(".").lower()
            if answer and len(answer.split()) <= SHORT_WORDS:
                self.short_answers.setdefault(row.task, Names()).add(answer)

    def _add_regions(self, row: Sample) -> None:
        told = {*row.targets.labels, *(box.label for box in row.targets.boxes), *(m.label for m in row.targets.masks)}
        for name in told - {""}:
            self._label(name).rows += 1
        for box, number in regions(row, row.targets.boxes, "box_images"):
            self.boxes["oriented" if box.points else "upright"] += 1
            if box.label:
                self._label(box.label).boxes += 1
            image = image_of(row, number)
            area = None if image is None else area_px(box, image)
            if image is None or image.size_px is None or area is None:
                self.boxes["without a size in pixels"] += 1
            else:
                self.box_sides_px.add(math.sqrt(area))
                self.box_shares.add(area / math.prod(image.size_px))
        for mask, number in regions(row, row.targets.masks, "mask_images"):
            if mask.label:
                self._label(mask.label).masks += 1
            share = share_of(mask, image_of(row, number))
            if share is not None:
                self.mask_shares.add(share)

    def _label(self, name: str) -> Label:
        if name not in self.labels and len(self.labels) >= MOST_NAMES:
            name = OTHERS
        return self.labels.setdefault(name, Label())


def regions(row: Sample, found: Sequence[T], listed: str) -> Iterator[tuple[T, int]]:
    """Boxes or masks of a row with the number of the image each lies on, as `meta[listed]` tells."""
    numbers = row.meta.get(listed)
    for place, one in enumerate(found):
        number = numbers[place] if isinstance(numbers, list) and place < len(numbers) else 0
        yield one, number if isinstance(number, int) else 0


def zone(latitude: float) -> str:
    """The belt of the earth that a latitude lies in, north or south."""
    name = next(name for least, name in ZONES if abs(latitude) >= least)
    return f"{name}, {'north' if latitude >= 0 else 'south'}"


def area_px(box: Box, image: Image) -> float | None:
    """The area of a box in pixels, None where its frame has no place in the picture."""
    if image.size_px is None:
        return None
    try:
        moved = convert(box, "pixel", size_px=image.size_px, georef=image.georef)
    except GeoError:
        return None
    if moved.points is not None:
        return float(shapely.Polygon(moved.points).area)
    x1, y1, x2, y2 = moved.xyxy
    return float((x2 - x1) * (y2 - y1))


def share_of(mask: Mask, image: Image | None) -> float | None:
    """The share of the picture that a mask covers, None where nobody knows."""
    if mask.rle is not None:
        return sum(mask.rle[1::2]) / max(sum(mask.rle), 1)
    if image is None or image.size_px is None:
        return None
    try:
        found = polygons(mask, "pixel", size_px=image.size_px, georef=image.georef)
    except GeoError:
        return None
    return float(sum(shape.area for shape in found) / math.prod(image.size_px))


def image_of(row: Sample, number: int) -> Image | None:
    """The image of this number, None where the row has none."""
    return row.images[number] if 0 <= number < len(row.images) else None


def by(cells: Mapping[K, int], place: int, series: int) -> dict[str, Counter[str]]:
    """Sum cells up: by the word at `place` of their key, and within it by that at `series`; most rows first."""
    found: dict[str, Counter[str]] = {}
    for key, count in cells.items():
        found.setdefault(key[place], Counter())[key[series]] += count
    return dict(sorted(found.items(), key=lambda item: (-item[1].total(), item[0])))
