"""RSVQA-HR: 1,066,316 questions in all splits about aerial orthophotos of the United States; two test sets."""

from __future__ import annotations

from pathlib import Path

from lhrs_chat.formats import rsvqa

from . import Benchmark, Passport, Published, Question, _rsvqa
from ._reading import finder

LOCATION = "Zenodo record 6344367: USGS_split_test_*.json, Images.tar unpacked beside them (its folder is Data)"
TASKS = (rsvqa.PRESENCE, rsvqa.COMPARISON, rsvqa.COUNT, rsvqa.AREA)
SPLITS = (_rsvqa.Split("test", "USGS_split_test"), _rsvqa.Split("test_philadelphia", "USGS_split_test_phili"))


def load(folder: Path) -> list[Question]:
    """All active questions of the test sets that lie in the folder; the two are separate sets of the tables.

    Raises:
        DataError: a row is broken, or a picture is missing.
    """
    return _rsvqa.load(folder, SPLITS, ["Data", "images", "."], TASKS, BENCHMARK.passport.imagery_licence)


BENCHMARK = Benchmark(
    name="rsvqa_hr",
    summary="presence, comparison, counts, areas in aerial orthophotos, two test sets",
    find=finder("rsvqa_hr", [f"{split.prefix}_questions.json" for split in SPLITS], LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="not stated where we looked",
        imagery_licence="USGS high resolution orthoimagery, public domain",
        changes=(
            "The size of the second test set is disputed: 47,000 questions in a paper, 62,554 in the file.",
            "LHRS-Bot and ScoreRS use the first test set only, GeoChat the second.",
        ),
        published=(
            Published("LHRS-Bot", "accuracy, official, first test set", 92.55, "LHRS-Bot README figure"),
            Published("LHRS-Bot-Nova", "comparison, scorers, first test set", 89.30, "ScoreRS paper, Table 4"),
            Published("LHRS-Bot-Nova", "presence, scorers, first test set", 87.60, "ScoreRS paper, Table 4"),
            Published("SkyEyeGPT", "mean of presence and comparison, first test set", 85.29, "SkyEyeGPT paper"),
            Published("SkyEyeGPT", "mean of presence and comparison, second test set", 81.89, "SkyEyeGPT paper"),
        ),
    ),
    protocols=_rsvqa.protocols("rsvqa_hr", TASKS, "rsvqa_hr-strict-2"),
)
