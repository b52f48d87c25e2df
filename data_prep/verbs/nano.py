"""The data that lhrs-nano is made from: facts of every source, the questions built on them, and a held-out probe."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Image, Sample

from ..builders import nano as questions
from ..sources import SOURCES, SourceOptions, shared_sets
from . import Verb

log = logging.getLogger(__name__)

SYNTHETIC_SCENES = 5000
SEED = 20260


def gather(shared: Path | None, synthetic: int, size_px: int, with_registry: bool) -> Iterator[Sample]:
    """Yield the facts of all sources: synthetic, then the real ones that are there."""
    yield from SOURCES.get("synthetic").read(None, SourceOptions(count=synthetic, seed=SEED, size_px=size_px))
    try:
        folder = shared_sets.folder(shared)
    except DataError as error:
        log.warning("%s", error)
    else:
        yield from SOURCES.get("shared_sets").read(folder, SourceOptions(seed=SEED, size_px=size_px))
    if with_registry:
        yield from SOURCES.get("registry_scenes").read(None, SourceOptions(seed=SEED, size_px=size_px))


def stored(sample: Sample, folder: Path) -> tuple[Image, ...]:
    """Write the pixels of a row as PNG below `folder`; return images that point at files, relative to `folder`."""
    images = []
    for number, image in enumerate(sample.images):
        if image.path is not None:
            images.append(dataclasses.replace(image, path=os.path.relpath(image.path, folder)))
            continue
        if image.array is None:
            raise DataError("a fact row holds its pixels or their path", found=sample.id)
        path = _image_file(sample, str(number))
        rgb = image.array if image.array.shape[0] == 3 else np.repeat(image.array[:1], 3, axis=0)
        _save(folder / path, rgb.transpose(1, 2, 0))
        images.append(dataclasses.replace(image, array=None, path=str(path)))
    return tuple(images)


def lean(sample: Sample, folder: Path) -> Sample:
    """Write the masks of a row as one picture of cover codes, `meta["cover_map"]`: run lengths would be far larger."""
    if not sample.targets.masks or any(mask.rle is None for mask in sample.targets.masks):
        return dataclasses.replace(sample, targets=dataclasses.replace(sample.targets, masks=()))
    codes = np.zeros(sample.targets.masks[0].to_array().shape, dtype=np.uint8)
    for code, mask in enumerate(sample.targets.masks, 1):
        codes[mask.to_array()] = code
    path = _image_file(sample, "cover")
    _save(folder / path, codes)
    covers = [mask.label for mask in sample.targets.masks]
    meta = {**sample.meta, "cover_map": str(path), "covers": covers}
    return dataclasses.replace(sample, meta=meta, targets=dataclasses.replace(sample.targets, masks=()))


def _image_file(sample: Sample, part: str) -> Path:
    name = hashlib.sha256(f"{sample.id}/{part}".encode()).hexdigest()[:16]
    return Path("images") / sample.source / f"{name}.png"


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(np.ascontiguousarray(pixels)).save(path, compress_level=1)


def build(out: Path, shared: Path | None, synthetic: int = SYNTHETIC_SCENES, with_registry: bool = True) -> None:
    """Write `facts.jsonl`, `rows.jsonl` and `manifest.json` (counts and hashes) below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    facts: list[Sample] = []
    rows: list[Sample] = []
    for number, sample in enumerate(gather(shared, synthetic, 224, with_registry), 1):
        kept = dataclasses.replace(sample, images=stored(sample, out))
        asked = [row for row in questions.build(sample, _rng(sample.id)) if _is_informative(row, sample)]
        rows += [dataclasses.replace(row, images=kept.images) for row in asked]
        facts.append(lean(kept, out))
        if number % 500 == 0:
            log.info("%d scenes", number)
    samples.write(out / "facts.jsonl", facts)
    samples.write(out / "rows.jsonl", rows)
    counts = Counter(f"{row.source}/{row.split}/{row.task}" for row in rows)
    scenes = Counter(f"{sample.source}/{sample.split}" for sample in facts)
    manifest = {
        "seed": SEED,
        "scenes": dict(sorted(scenes.items())),
        "questions": dict(sorted(counts.items())),
        "licences": dict(sorted({sample.source: sample.licence for sample in facts}.items())),
        "sha256": {name: _sha256(out / name) for name in ("facts.jsonl", "rows.jsonl")},
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    log.info("%d scenes, %d questions in %s", len(facts), len(rows), out)


def _is_informative(row: Sample, facts: Sample) -> bool:
    """Leave out amounts of a source that has none: there every answer would be zero."""
    return bool(facts.targets.numbers) or row.task not in ("area_share", "count")


def _rng(name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{SEED}/{name}".encode()).digest()
    return np.random.default_rng(list(digest[:8]))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("runs/nano/data"), help="folder to write (%(default)s)")
    parser.add_argument("--shared", type=Path, help="folder of real data sets (LHRS_CHAT_SHARED_DATA)")
    parser.add_argument(
        "--synthetic", type=int, default=SYNTHETIC_SCENES, metavar="N", help="procedural scenes (%(default)s)"
    )


def _run(args: argparse.Namespace) -> int:
    build(args.out, args.shared, args.synthetic)
    return 0


VERB = Verb("make the facts and questions that lhrs-nano learns from", _add_arguments, _run)
