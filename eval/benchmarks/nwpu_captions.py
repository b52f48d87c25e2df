"""NWPU-Captions: 31,500 RESISC45 pictures with five sentences each, captions of the test split."""

from __future__ import annotations

from pathlib import Path

from . import Benchmark, Passport, Question, _captions
from ._reading import Pictures, Row, checked, finder, read_json

LOCATION = "github.com/HaiyanHuang98/NWPU-Captions: dataset_nwpu.json and the class folders NWPU_images"
FILE = "dataset_nwpu.json"
SENTENCES = ("raw", "raw_1", "raw_2", "raw_3", "raw_4")


def load(folder: Path) -> list[Question]:
    """All pictures of the test split, class by class.

    Raises:
        DataError: a row is broken, or a picture is missing.
    """
    pictures = Pictures([folder / "NWPU_images", folder / "images", folder])
    licence = BENCHMARK.passport.imagery_licence
    data = read_json(folder / FILE)
    questions = []
    for name in data.values:
        for row in data.rows(name):
            if row.one_of("split", ("train", "val", "test")) == "test":
                filename = f"{name}/{row.text('filename')}"
                questions.append(
                    _captions.captioned("nwpu_captions", row, filename, _sentences(row), pictures, licence, filename)
                )
    return checked(questions, folder)


def _sentences(row: Row) -> tuple[str, ...]:
    return tuple(row.text(field) for field in SENTENCES)


BENCHMARK = Benchmark(
    name="nwpu_captions",
    summary="captions of the NWPU-Captions test split",
    find=finder("nwpu_captions", [FILE], LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="none stated",
        imagery_licence="none stated; RESISC45, Google Earth imagery",
    ),
    protocols={"strict": _captions.strict("nwpu_captions")},
)
