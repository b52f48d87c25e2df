"""RSVQA-LR: questions about Sentinel-2 pictures at 10 m of the Netherlands."""

from __future__ import annotations

from pathlib import Path

from lhrs_chat.formats import rsvqa

from . import Benchmark, Passport, Published, Question, _rsvqa
from ._reading import finder

LOCATION = "Zenodo record 6344334: LR_split_test_*.json, Images_LR.zip unpacked beside them"
TASKS = (rsvqa.PRESENCE, rsvqa.COMPARISON, rsvqa.RURAL, rsvqa.COUNT)
TEST = _rsvqa.Split("test", "LR_split_test")


def load(folder: Path) -> list[Question]:
    """All active questions of the test split.

    Raises:
        DataError: a row is broken, or a picture is missing.
    """
    licence = BENCHMARK.passport.imagery_licence
    return _rsvqa.load(folder, [TEST], ["Images_LR", "images", "."], TASKS, licence)


BENCHMARK = Benchmark(
    name="rsvqa_lr",
    summary="presence, comparison, rural or urban, counts in Sentinel-2 pictures",
    find=finder("rsvqa_lr", [f"{TEST.prefix}_questions.json"], LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        rows={"train": 57223, "val": 10005, "test": 10004},
        annotation_licence="CC-BY-4.0 on one mirror, ODbL and CC-BY on another",
        imagery_licence="Copernicus Sentinel-2 data",
        changes=("Papers score different subsets: most leave out counts, some keep presence and comparison only.",),
        published=(
            Published("LHRS-Bot", "accuracy, official", 89.19, "LHRS-Bot README figure"),
            Published("LHRS-Bot-Nova", "comparison, scorers", 88.11, "ScoreRS paper, Table 4"),
            Published("LHRS-Bot-Nova", "presence, scorers", 83.89, "ScoreRS paper, Table 4"),
            Published("LHRS-Bot-Nova", "rural or urban, scorers", 79.00, "ScoreRS paper, Table 4"),
            Published("SkyEyeGPT", "mean of presence, comparison, rural or urban", 84.19, "SkyEyeGPT paper"),
            Published("TerraScope", "accuracy", 91.4, "TerraScope paper"),
        ),
    ),
    protocols=_rsvqa.protocols("rsvqa_lr", TASKS, "rsvqa_lr-strict-1"),
)
