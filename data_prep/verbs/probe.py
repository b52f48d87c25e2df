"""The held-out questions that `python -m eval run nano_probe` asks: a folder that no training run reads."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.geo.frames import convert
from lhrs_chat.schema import Sample

from ..builders import _wordings as wordings
from ..builders.nano import TASKS
from . import Verb

log = logging.getLogger(__name__)

SEED = 7
CELL = 60  # questions of one set and task
WHOLE = (("aid_rsicd", "scene_class"), ("aid_rsicd", "caption"))  # asked of every picture of the test split


def build(data: Path, out: Path, cell: int = CELL) -> int:
    """Write `probe.jsonl` and `images/` below `out` from the test split below `data`; return the number of questions.

    Args:
        data: folder of rows, such as `nano` or `corrupt` writes.
        out: the folder to write.
        cell: at most so many questions of one set and task.

    Raises:
        DataError: the data are not there, or nothing in them is held out.
    """
    rows = [row for row in samples.read(data) if row.split == "test" and row.task in TASKS]
    if not rows:
        raise DataError("nothing is held out", found=str(data), next_step="python -m data_prep nano --out DIR")
    cells: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for row in rows:
        cells[row.source, row.task].append(row)
    (out / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for (source, task), found in sorted(cells.items()):
        for row in _drawn(found, source, task, cell):
            lines.append(json.dumps(_line(row, out)))
    scratch = out / "probe.jsonl.part"
    scratch.write_text("\n".join(lines) + "\n", encoding="utf-8")
    scratch.replace(out / "probe.jsonl")
    log.info("%d questions, %d pictures in %s", len(lines), len(list((out / "images").iterdir())), out)
    return len(lines)


def _drawn(rows: Sequence[Sample], source: str, task: str, cell: int) -> list[Sample]:
    if (source, task) in WHOLE:
        return list(rows)
    rng = np.random.default_rng([SEED, *task.encode()])
    return [rows[i] for i in sorted(rng.permutation(len(rows))[:cell])]


def _line(row: Sample, out: Path) -> dict[str, object]:
    image = row.images[0]
    if image.path is None:
        raise DataError("a row of the probe has a picture", found=row.id)
    source = Path(image.path)
    target = Path("images") / f"{row.source}-{source.stem}{source.suffix}"
    if not (out / target).exists():
        shutil.copy(source, out / target)
    question, options = row.messages[0].text, row.meta.get("options")
    if (row.source, row.task) == WHOLE[0]:  # all classes are in question, none is listed
        question, options = wordings.SCENE_CLASS[len(row.id) % len(wordings.SCENE_CLASS)], None
    box = None
    if row.targets.boxes:
        with PilImage.open(source) as picture:
            box = [round(v, 2) for v in convert(row.targets.boxes[0], "per100", size_px=picture.size).xyxy]
    number = row.targets.numbers[0] if row.targets.numbers else None
    return {
        "id": row.id,
        "image": str(target),
        "task": row.task,
        "question": question,
        "answer": row.messages[1].text.rstrip("."),
        "options": options,
        "box": box if row.task == "where_is" else None,
        "number": number.value if number and row.task in ("count", "area_share") else None,
        "unit": number.unit if number else "",
        "scene_id": row.scene_id,
        "set": row.source,
        "licence": row.licence,
        "captions": list(row.targets.captions) if row.task == "caption" else None,
    }


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path("runs/nano/data"), help="what `nano` wrote (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/nano/probe"), help="folder to write (%(default)s)")
    parser.add_argument(
        "--cell", type=int, default=CELL, metavar="N", help="questions of one set and task (%(default)s)"
    )


def _run(args: argparse.Namespace) -> int:
    build(args.data, args.out, args.cell)
    return 0


VERB = Verb("make the held-out questions of the benchmark nano_probe", _add_arguments, _run)
