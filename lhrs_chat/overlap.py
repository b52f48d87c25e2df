"""Pictures that two sets of data share: by look, by source tile, by scene, by place on the ground.

One set is called the bench (what a model shall be measured on), the other the training data.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely

from lhrs_chat import perceptual, samples
from lhrs_chat.errors import DataError, GeoError, LhrsError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.reference import lonlat
from lhrs_chat.geo.vector import footprint
from lhrs_chat.schema import Sample

log = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".jp2", ".bmp"}
TILES = (re.compile(r"(?<![A-Za-z0-9])P\d{4}(?!\d)"),)
"""How the tiles of well-known sources are named: DOTA's P0001 lives on in the file names of five benchmarks."""
KINDS = ("look", "tile", "scene", "footprint")
EVERY = 500
LonLat = tuple[float, float, float, float]


@dataclass(frozen=True)
class Shot:
    """One picture: its file, the scene and tile it is said to come from, and its bounds in longitude and latitude."""

    path: Path
    scene_id: str = ""
    bounds: LonLat | None = None
    tile: str = ""

    @property
    def names(self) -> frozenset[tuple[str, str]]:
        """Tile names in the file name and the scene id, the tile that was told, and the scene id itself."""
        words = f"{self.path.stem} {self.scene_id}"
        tiles = {("tile", name) for pattern in TILES for name in pattern.findall(words)}
        told = {(kind, name) for kind, name in (("tile", self.tile), ("scene", self.scene_id)) if name}
        return frozenset(tiles | told)


@dataclass(frozen=True)
class Overlap:
    """A picture of the benchmark and one of the training data that share something."""

    bench: str
    train: str
    kind: str
    detail: str


@dataclass(frozen=True)
class Found:
    """All overlaps, and what could not be compared."""

    overlaps: tuple[Overlap, ...]
    bench: int
    train: int
    unreadable: tuple[str, ...]
    flat: tuple[str, ...]

    @property
    def pictures(self) -> frozenset[str]:
        """The pictures of the benchmark that overlap."""
        return frozenset(overlap.bench for overlap in self.overlaps)


def of_sample(sample: Sample) -> list[Shot]:
    """The pictures of one row."""
    tile = str(sample.meta.get("tile", ""))
    return [Shot(Path(image.path or ""), sample.scene_id, sample.footprint, tile) for image in sample.images]


def shots(source: Path) -> Iterator[Shot]:
    """The pictures of some data, each once.

    Args:
        source: a data set that `samples.read` takes, or a folder of pictures.

    Raises:
        DataError: it is neither, or holds no picture.
    """
    seen: set[Path] = set()
    if source.is_file() or any(source.glob("rows-*.parquet")) or (source / "rows.jsonl").is_file():
        for sample in samples.read(source):
            for shot in of_sample(sample):
                if shot.path not in seen:
                    seen.add(shot.path)
                    yield shot
    elif source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                seen.add(path)
                yield Shot(path)
    if not seen:
        raise DataError("no pictures here", found=source, allowed="a data set of samples, or a folder of pictures")


def ground(bounds: LonLat) -> shapely.Geometry:
    """The area within bounds, west, south, east, north in degrees; one that crosses 180 degrees has west > east."""
    west, south, east, north = bounds
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.MultiPolygon([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def look(shot: Shot) -> tuple[np.ndarray, LonLat | None]:
    """Read pixels (H, W, 3), at most 1024 a side, and the bounds where the picture or its row knows them.

    Raises:
        RasterError: the picture cannot be read.
    """
    with Raster.open(shot.path) as raster:
        pixels = raster.rgb(max_size_px=1024)
        image = raster.image
    if shot.bounds is not None or image.georef is None:
        return pixels, shot.bounds
    try:
        ring = lonlat(shapely.get_coordinates(footprint(image)), image.georef.crs)
    except GeoError as error:
        log.warning("%s: the footprint is not known: %s", shot.path, error.what)
        return pixels, None
    west, south = ring.min(axis=0)
    east, north = ring.max(axis=0)
    return pixels, (float(west), float(south), float(east), float(north))


class Bench:
    """The benchmark's side of the comparison: hashes of all its pictures in one row, and who they belong to.

    Attributes:
        shots: the pictures that could be read.
        unreadable: the files that could not.
        flat: the files that show too little to be compared by their look.
        sha256: of all that the comparison depends on.
    """

    def __init__(self, given: Iterable[Shot]) -> None:
        self.shots: list[Shot] = []
        self.unreadable: list[str] = []
        self.flat: list[str] = []
        parts, wholes = [], []
        for shot in given:
            try:
                pixels, bounds = look(shot)
            except (LhrsError, OSError):
                self.unreadable.append(str(shot.path))
                continue
            own = perceptual.hashes(pixels, perceptual.PARTS, turned=True)
            if not own.size:
                self.flat.append(str(shot.path))
            parts.append(own)
            wholes.append(perceptual.hashes(pixels, [perceptual.WHOLE], turned=True))
            self.shots.append(replace(shot, bounds=bounds))
        self._parts, self._part_of = _joined(parts)
        self._wholes, self._whole_of = _joined(wholes)
        self._named: dict[tuple[str, str], list[int]] = {}
        for place, shot in enumerate(self.shots):
            for name in shot.names:
                self._named.setdefault(name, []).append(place)
        self.sha256 = self._digest()
        self._placed = [(place, shot.bounds) for place, shot in enumerate(self.shots) if shot.bounds is not None]
        self._ground = shapely.STRtree([ground(bounds) for _, bounds in self._placed])

    def _digest(self) -> str:
        known = [(shot.path.name, shot.scene_id, shot.bounds, shot.tile) for shot in self.shots]
        return hashlib.sha256(repr(known).encode() + self._parts.tobytes()).hexdigest()

    def by_name(self, shot: Shot) -> Iterator[Overlap]:
        """Pictures of the same source tile or scene."""
        for kind, name in sorted(shot.names):
            for place in self._named.get((kind, name), ()):
                yield Overlap(str(self.shots[place].path), str(shot.path), kind, name)

    def by_place(self, shot: Shot) -> Iterator[Overlap]:
        """Pictures of the same ground."""
        if shot.bounds is None:
            return
        own = ground(shot.bounds)
        for number in sorted(self._ground.query(own)):
            theirs = self._ground.geometries[number]
            common = own.intersection(theirs).area
            if common > 0:
                other = self.shots[self._placed[number][0]]
                yield Overlap(
                    str(other.path), str(shot.path), "footprint", f"{common / theirs.area:.0%} of the picture"
                )

    def by_look(self, shot: Shot, pixels: np.ndarray) -> Iterator[Overlap]:
        """Pictures that show the same as `pixels`: (H, W, 3), also where one is a turned part of the other."""
        for place in self._alike(pixels):
            other = self.shots[place]
            theirs, _ = look(other)
            same = max(perceptual.correlation(pixels, theirs), perceptual.correlation(theirs, pixels))
            if same >= perceptual.SAME:
                yield Overlap(str(other.path), str(shot.path), "look", f"correlation {same:.2f}")

    def overlaps(self, shot: Shot) -> list[Overlap]:
        """Everything that one picture of the training data shares with the benchmark.

        Raises:
            RasterError: the picture cannot be read, and no name of it is known here.
        """
        named = list(self.by_name(shot))
        try:
            pixels, bounds = look(shot)
        except (LhrsError, OSError):
            if named:
                return named
            raise
        return [*named, *self.by_place(replace(shot, bounds=bounds)), *self.by_look(shot, pixels)]

    def _alike(self, pixels: np.ndarray) -> list[int]:
        """Pictures that may show the same: one is near a part of the other."""
        whole = perceptual.hashes(pixels, [perceptual.WHOLE], turned=False)
        near = self._part_of[perceptual.nearest_bits(whole, self._parts) <= perceptual.MAX_BITS]
        parts = perceptual.hashes(pixels, perceptual.PARTS, turned=False)
        other = self._whole_of[perceptual.nearest_bits(parts, self._wholes) <= perceptual.MAX_BITS]
        return sorted({int(place) for place in (*near, *other)})


def _joined(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    if not rows:
        return np.zeros(0, np.uint64), np.zeros(0, int)
    return np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(row) for row in rows])


def find(bench: Bench, train: Iterable[Shot]) -> Found:
    """Compare every picture of the training data with every one of the benchmark."""
    unreadable = list(bench.unreadable)
    overlaps: list[Overlap] = []
    count = 0
    for shot in train:
        count += 1
        if count % EVERY == 0:
            log.info("%d training pictures compared, %d overlaps", count, len(overlaps))
        try:
            overlaps += bench.overlaps(shot)
        except (LhrsError, OSError):
            unreadable.append(str(shot.path))
    return Found(tuple(overlaps), len(bench.shots), count, tuple(unreadable), tuple(bench.flat))
