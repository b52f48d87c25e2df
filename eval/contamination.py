"""Pictures of a benchmark that a model may have been trained on: by look, by source tile, by place on the ground."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from lhrs_chat import samples
from lhrs_chat.errors import DataError, GeoError, LhrsError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.reference import lonlat
from lhrs_chat.geo.vector import footprint

from . import perceptual
from .benchmarks import REAL
from .report import line, show
from .runs import Data, ScoredRun

log = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".jp2", ".bmp"}
TILES = (re.compile(r"(?<![A-Za-z0-9])P\d{4}(?!\d)"),)
"""How the tiles of well-known sources are named: DOTA's P0001 lives on in the file names of five benchmarks."""
KINDS = ("look", "tile", "scene", "footprint")
EVERY = 500


@dataclass(frozen=True)
class Shot:
    """One picture: its file, the scene it is said to come from, and its footprint in longitude and latitude."""

    path: Path
    scene_id: str = ""
    bounds: tuple[float, float, float, float] | None = None

    @property
    def names(self) -> frozenset[tuple[str, str]]:
        """Tile names in the file name and the scene id, and the scene id itself."""
        words = f"{self.path.stem} {self.scene_id}"
        tiles = {("tile", name) for pattern in TILES for name in pattern.findall(words)}
        return frozenset(tiles | ({("scene", self.scene_id)} if self.scene_id else set()))


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


def training_shots(source: Path) -> Iterator[Shot]:
    """The pictures of training data.

    Args:
        source: a JSONL file of samples as `data_prep` writes them, or a folder of pictures.

    Raises:
        DataError: it is neither, or holds no picture.
    """
    seen: set[Path] = set()
    if source.is_file():
        for sample in samples.read(source):
            for image in sample.images:
                path = Path(image.path or "")
                if path not in seen:
                    seen.add(path)
                    yield Shot(path, sample.scene_id, sample.footprint)
    elif source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                seen.add(path)
                yield Shot(path)
    if not seen:
        raise DataError("no training pictures here", found=source, allowed="a JSONL file of samples, or a folder")


def bench_shots(data: Data) -> list[Shot]:
    """The pictures of a benchmark, each once."""
    return list({path: Shot(path, q.scene_id) for q in data.questions for path in q.images}.values())


def _look(shot: Shot) -> tuple[np.ndarray, tuple[float, float, float, float] | None]:
    """Pixels (H, W, 3), and the footprint where the picture or its row knows it."""
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


class _Bench:
    """The benchmark's side of the comparison: hashes of all its pictures in one row, and who they belong to."""

    def __init__(self, shots: Sequence[Shot]) -> None:
        self.shots: list[Shot] = []
        self.unreadable: list[str] = []
        self.flat: list[str] = []
        parts, wholes = [], []
        for shot in shots:
            try:
                pixels, bounds = _look(shot)
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
        self._placed = [place for place, shot in enumerate(self.shots) if shot.bounds is not None]
        self._ground = shapely.STRtree([shapely.box(*(self.shots[place].bounds or ())) for place in self._placed])

    def by_name(self, shot: Shot) -> Iterator[Overlap]:
        """Pictures of the same source tile or scene."""
        for kind, name in sorted(shot.names):
            for place in self._named.get((kind, name), ()):
                yield Overlap(str(self.shots[place].path), str(shot.path), kind, name)

    def by_place(self, shot: Shot) -> Iterator[Overlap]:
        """Pictures of the same ground."""
        if shot.bounds is None:
            return
        own = shapely.box(*shot.bounds)
        for number in sorted(self._ground.query(own)):
            theirs = self._ground.geometries[number]
            common = own.intersection(theirs).area
            if common > 0:
                other = self.shots[self._placed[number]]
                yield Overlap(
                    str(other.path), str(shot.path), "footprint", f"{common / theirs.area:.0%} of the picture"
                )

    def by_look(self, shot: Shot, pixels: np.ndarray) -> Iterator[Overlap]:
        """Pictures that show the same."""
        for place in self._alike(pixels):
            other = self.shots[place]
            theirs, _ = _look(other)
            same = max(perceptual.correlation(pixels, theirs), perceptual.correlation(theirs, pixels))
            if same >= perceptual.SAME:
                yield Overlap(str(other.path), str(shot.path), "look", f"correlation {same:.2f}")

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


def find(data: Data, source: Path) -> Found:
    """Compare every picture of the training data with every one of the benchmark.

    Raises:
        DataError: there are no training pictures.
    """
    bench = _Bench(bench_shots(data))
    unreadable = list(bench.unreadable)
    overlaps: list[Overlap] = []
    count = 0
    for shot in training_shots(source):
        count += 1
        if count % EVERY == 0:
            log.info("%d training pictures compared, %d overlaps", count, len(overlaps))
        overlaps += bench.by_name(shot)
        try:
            pixels, bounds = _look(shot)
        except (LhrsError, OSError):
            unreadable.append(str(shot.path))
            continue
        overlaps += bench.by_place(replace(shot, bounds=bounds))
        overlaps += bench.by_look(shot, pixels)
    return Found(tuple(overlaps), len(bench.shots), count, tuple(unreadable), tuple(bench.flat))


def without(run: ScoredRun, pictures: frozenset[str], *, inverse: bool = False) -> ScoredRun | None:
    """A run without the questions about some pictures, or with these only; None where nothing is left."""
    kept = [q for q in run.data.questions if inverse == any(str(path) in pictures for path in q.images)]
    ids = {question.id for question in kept}
    records = {key: record for key, record in run.records.items() if key[0] in ids}
    return replace(run, data=replace(run.data, questions=kept), records=records) if records else None


def scores(run: ScoredRun, pictures: frozenset[str]) -> list[dict[str, Any]]:
    """Main scores of all questions, of those without overlap, and of those with it."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, part in (
        ("all", run),
        ("clean", without(run, pictures)),
        ("overlapping", without(run, pictures, inverse=True)),
    ):
        for row in part.summary()["rows"] if part is not None else ():
            if row["main"] and REAL in row["conditions"]:
                key = tuple(str(row[k]) for k in ("protocol", "subset", "task", "metric"))
                found.setdefault(key, dict(zip(("protocol", "set", "task", "metric"), key, strict=True)))
                found[key][name] = row["conditions"][REAL]
    return [{"model": run.model, **row} for row in found.values()]


def markdown(data: Data, source: Path, found: Found, rows: Sequence[Mapping[str, Any]]) -> str:
    """What overlaps, and the scores with and without it."""
    kinds = {
        kind: {o.bench for o in found.overlaps if o.kind == kind} for kind in ("look", "tile", "scene", "footprint")
    }
    questions = sum(any(str(path) in found.pictures for path in q.images) for q in data.questions)
    lines = [
        f"# {data.benchmark.name} against {source}",
        "",
        f"{len(found.pictures)} of {found.bench} pictures and {questions} of {len(data.questions)} questions overlap "
        f"with {found.train} training pictures ({data.check.label}).",
        "",
        line(["found by", "pictures of the benchmark"]),
        line(["---"] * 2),
        *(line([kind, len(pictures)]) for kind, pictures in kinds.items()),
    ]
    if found.flat:
        lines += ["", f"{len(found.flat)} pictures show too little to be compared by their look."]
    if found.unreadable:
        lines += ["", f"{len(found.unreadable)} pictures could not be read, e.g. {found.unreadable[0]}."]
    if rows:
        heads = ["model", "protocol", "set", "task", "metric", "all", "without overlaps", "overlaps only"]
        lines += ["", "## Scores with and without the overlaps", "", line(heads), line(["---"] * len(heads))]
        for row in rows:
            cells = [row[key] for key in ("model", "protocol", "set", "task", "metric")]
            lines.append(line([*cells, *(show(row.get(part)) for part in ("all", "clean", "overlapping"))]))
    return "\n".join(lines) + "\n"
