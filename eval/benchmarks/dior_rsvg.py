"""DIOR-RSVG: 38,320 referring expressions for objects in DIOR pictures, upright boxes."""

from __future__ import annotations

from pathlib import Path

from . import Benchmark, Passport, Published, Question, _rsvg
from ._reading import finder

LOCATION = "Google Drive folder linked by github.com/ZhanYang-nwpu/RSVG-pytorch: Annotations, JPEGImages, test.txt"


def load(folder: Path) -> list[Question]:
    """All expressions of the test split.

    Raises:
        DataError: a file is broken, or a picture is missing.
    """
    return _rsvg.load_xml(folder, "test", "dior_rsvg", BENCHMARK.passport.imagery_licence)


_ISSUE = "third-party re-score with a correct IoU, issue 27 of LHRS-Bot"

BENCHMARK = Benchmark(
    name="dior_rsvg",
    summary="one box for one expression in DIOR pictures",
    find=finder("dior_rsvg", ["test.txt"], LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="not stated where we looked",
        imagery_licence="terms of DIOR, Google Earth imagery",
        changes=(
            "The mirror danielz01/DIOR-RSVG has 14,748, 3,457 and 6,125 rows; whether these are the splits of the "
            "authors is not known.",
            "The numbers in test.txt count objects over all XML files; we take the files in the order of their names.",
        ),
        published=(
            Published("LHRS-Bot", "acc_0.5, official", 88.10, "LHRS-Bot README figure"),
            Published("LHRS-Bot", "acc_0.5", 12.93, _ISSUE),
            Published("LHRS-Bot-Nova", "acc_0.5", 31.51, "ScoreRS paper, Table 4"),
            Published("VHM", "acc_0.5", 55.99, "ScoreRS paper, Table 4"),
            Published("GeoChat", "acc_0.5", 19.77, "ScoreRS paper, Table 4"),
            Published("SkyEyeGPT", "acc_0.5", 88.59, "SkyEyeGPT paper"),
            Published("MGVLF", "acc_0.5", 76.78, "SkyEyeGPT paper"),
        ),
    ),
    protocols=_rsvg.protocols("dior_rsvg"),
)
