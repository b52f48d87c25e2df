"""RSVG: referring expressions for objects in large Google Earth pictures (Sun et al., ACM Multimedia 2022)."""

from __future__ import annotations

from pathlib import Path

from lhrs_chat.formats import rsvg
from lhrs_chat.formats.rows import Pictures
from lhrs_chat.schema import Targets

from . import Benchmark, Passport, Published, Question, _boxes, _rsvg
from ._reading import checked, finder

LOCATION = "sunyuxi.github.io/publication/GeoVG: rsvg_test.pth and the folder images"
FILE = "rsvg_test.pth"


def load(folder: Path) -> list[Question]:
    """All expressions of the test split.

    Raises:
        DataError: the file or a row of it is broken, or a picture is missing.
    """
    from lhrs_chat.models import saved_list

    pictures = Pictures([folder / "images", folder])
    licence = BENCHMARK.passport.imagery_licence
    questions = []
    for referred in rsvg.referred(saved_list.load(folder / FILE), FILE):
        path = pictures.path(referred.file, referred.where)
        questions.append(
            Question(
                id=f"test#{referred.number}",
                task=_boxes.TASK,
                text=_boxes.prompt(referred.expression),
                images=(path,),
                size_px=pictures.size_px(path, referred.where),
                subset="rsvg",
                scene_id=referred.file,
                licence=licence,
                targets=Targets(boxes=(referred.box,)),
                max_new_tokens=_boxes.TOKENS,
            )
        )
    return checked(questions, folder)


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
