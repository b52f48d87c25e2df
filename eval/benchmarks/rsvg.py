"""RSVG: referring expressions for objects in large Google Earth pictures (Sun et al., ACM Multimedia 2022)."""

from __future__ import annotations

import pickle
from pathlib import Path

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.schema import Box, Targets

from . import Benchmark, Passport, Published, Question, _boxes, _rsvg
from ._reading import Pictures, checked, finder

LOCATION = "sunyuxi.github.io/publication/GeoVG: rsvg_test.pth and the folder images"
FILE = "rsvg_test.pth"


def load(folder: Path) -> list[Question]:
    """All expressions of the test split.

    Raises:
        DataError: the file or a row of it is broken, or a picture is missing.
    """
    pictures = Pictures([folder / "images", folder])
    licence = BENCHMARK.passport.imagery_licence
    questions = []
    for place, row in enumerate(_rows(folder / FILE)):
        where = f"row {place} of {FILE}"
        name, box, expression = _fields(row, where)
        path = pictures.path(name, where)
        questions.append(
            Question(
                id=f"test#{place}",
                task=_boxes.TASK,
                text=_boxes.prompt(expression),
                images=(path,),
                size_px=pictures.size_px(path, where),
                subset="rsvg",
                scene_id=name,
                licence=licence,
                targets=Targets(boxes=(box,)),
                max_new_tokens=_boxes.TOKENS,
            )
        )
    return checked(questions, folder)


def _rows(path: Path) -> list[object]:
    """The list in a file that torch saved; nothing but plain values is unpacked."""
    import torch

    try:
        rows = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{path.name} cannot be read", found=str(error)[:200]) from error
    if not isinstance(rows, list):
        raise DataError(f"{path.name} is no list", found=type(rows).__name__)
    return rows


def _fields(row: object, where: str) -> tuple[str, Box, str]:
    """File name, box and expression of (name, [x1, y1, x2, y2], expression, ...)."""
    if not isinstance(row, list | tuple) or len(row) < 3 or not isinstance(row[0], str) or not isinstance(row[2], str):
        raise DataError(
            f"{where} is broken", found=repr(row)[:120], allowed="(name, [x1, y1, x2, y2], expression, ...)"
        )
    try:
        x1, y1, x2, y2 = (float(value) for value in row[1])
        return row[0], Box((x1, y1, x2, y2), "pixel"), row[2]
    except (TypeError, ValueError, GeoError) as error:
        raise DataError(f"{where}: bad field 'box'", found=repr(row[1])[:80], allowed="[x1, y1, x2, y2]") from error


BENCHMARK = Benchmark(
    name="rsvg",
    summary="one box for one expression in large Google Earth pictures",
    find=finder("rsvg", [FILE], LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="not stated where we looked",
        imagery_licence="Google Earth imagery, Google's terms",
        changes=(
            "The stage-2 file of LHRS-Bot first held validation and test expressions of this set (issue 29, replaced "
            "in October 2024): models trained on old downloads have seen the test split.",
        ),
        published=(
            Published("LHRS-Bot", "acc_0.5, official", 73.45, "LHRS-Bot README figure"),
            Published("LHRS-Bot", "acc_0.5", 1.72, "third-party re-score with a correct IoU, issue 27 of LHRS-Bot"),
            Published("SkyEyeGPT", "acc_0.5", 70.50, "SkyEyeGPT paper"),
            Published("MiniGPT-v2", "acc_0.5", 45.48, "SkyEyeGPT paper"),
        ),
    ),
    protocols=_rsvg.protocols("rsvg"),
)
