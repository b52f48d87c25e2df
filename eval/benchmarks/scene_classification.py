"""Scene classification: AID, RESISC45, UC Merced, WHU-RS19, SIRI-WHU, EuroSAT (RGB), METER-ML, fMoW.

The folder holds the pictures of one set, or a folder for each of several sets. Layouts that are read:

* class folders (`Airport/airport_1.jpg`), also below one more folder, as UC Merced's `Images` and EuroSAT's `2750`;
* fMoW's class folders of sequences, of which only the `*_rgb` pictures count;
* one flat folder whose file names begin with the class (`airport_1.jpg`), as RSICD copies AID;
* METER-ML's `test.geojson` with its `test_images`.

A set is known by the name of its folder (see `SETS`). One that has another number of classes than was published is
called altered in every table; a folder with no known name is scored under its own name. Class names are made plain:
`BareLand`, `bare_land` and `bareland` are one (see `GLUED`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import SUFFIXES, Pictures, read_json
from lhrs_chat.metrics import labels as label_metrics
from lhrs_chat.schema import Targets
from lhrs_chat.text import answers

from . import Benchmark, Parsed, Passport, Protocol, Published, Question, Reply
from ._reading import checked, finder
from ._scoring import reply_of, score_accuracy

TASK = "scene_class"
TOKENS = 32
METER_ML = "test.geojson"
METER_ML_NAMES = {
    "Negative": "other",
    "CAFOs": "concentrated animal feeding operations",
    "Landfills": "landfills",
    "Mines": "coal mines",
    "ProcPlants": "natural gas processing plants",
    "R&Ts": "refineries and petroleum terminals",
    "WWTPs": "wastewater treatment plants",
}
GLUED = (
    *("bare land", "baseball field", "baseball diamond", "dense residential", "medium residential"),
    *("sparse residential", "railway station", "storage tank", "storage tanks", "mobile home park", "golf course"),
    *("parking lot", "tennis court", "tennis courts", "football field", "ground track field", "basketball court"),
)
_UNGLUED = {name.replace(" ", ""): name for name in GLUED}


@dataclass(frozen=True)
class Known:
    """One of the sets: how its folder may be called, and how many classes were published."""

    name: str
    folders: tuple[str, ...]
    classes: int


SETS = (
    Known("AID", ("aid", "aid_dataset", "aid_rsicd"), 30),
    Known("RESISC45", ("resisc45", "nwpu-resisc45", "nwpu_resisc45", "nwpu"), 45),
    Known("UCM", ("ucm", "ucmerced", "ucmerced_landuse", "uc_merced"), 21),
    Known("WHU-RS19", ("whu-rs19", "whu_rs19", "whurs19"), 19),
    Known("SIRI-WHU", ("siri-whu", "siri_whu", "siriwhu", "google_dataset_of_siri-whu"), 12),
    Known("EuroSAT", ("eurosat", "eurosat_rgb", "eurosat-rgb"), 10),
    Known("METER-ML", ("meter-ml", "meter_ml", "meterml"), 7),
    Known("fMoW", ("fmow", "fmow-rgb", "fmow_rgb"), 62),
)


def load(folder: Path) -> list[Question]:
    """All pictures of the sets in a folder, each with the names of its set to choose from.

    Raises:
        DataError: a picture cannot be read, a class is empty, there is none.
    """
    questions: list[Question] = []
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    several = [path for path in below if _known(path) is not None]
    for place in several or [folder]:
        questions += _load_set(place)
    return checked(questions, folder)


def _known(folder: Path) -> Known | None:
    plain = folder.name.lower()
    return next((known for known in SETS if plain in known.folders), None)


def _load_set(folder: Path) -> list[Question]:
    found = list(_meter_ml(folder) if (folder / METER_ML).is_file() else _labelled(folder))
    classes = dict.fromkeys(name for _, name in found)
    names = [plain_name(name) for name in classes]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError("two class folders have one name", found=", ".join(twice))
    known = _known(folder)
    subset = folder.name if known is None else known.name
    if known is not None and known.classes != len(names):
        subset = f"{known.name} (altered: {len(names)} of {known.classes} classes)"
    pictures = Pictures([folder])
    text = f"Which of these classes does the picture show: {', '.join(names)}? Answer with one of these names."
    published = tuple(name.lower().replace("_", " ") for name in classes)
    return [
        Question(
            id=f"{subset}/{path.relative_to(folder).as_posix()}",
            task=TASK,
            text=text,
            images=(path,),
            size_px=pictures.size_px(path, f"{path.name} of {folder.name}"),
            subset=subset,
            scene_id=f"{subset}/{path.stem}",
            licence=BENCHMARK.passport.imagery_licence,
            targets=Targets(answer=plain_name(name), choices=tuple(names), labels=published),
            max_new_tokens=TOKENS,
        )
        for path, name in found
    ]


def plain_name(name: str) -> str:
    """A class name in plain words: `BareLand`, `bare_land` and `bareland` are `bare land`."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = " ".join(re.findall(r"[^\W_]+", parted))
    return _UNGLUED.get(words, words)


def _labelled(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every picture and its class, from class folders or from the beginnings of file names."""
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    while len(below) == 1:
        folder = below[0]
        below = sorted(path for path in folder.iterdir() if path.is_dir())
    if not below:
        yield from _by_file_name(folder)
    for place in below:
        files = [path for path in sorted(place.rglob("*")) if path.suffix.lower() in SUFFIXES]
        files = [path for path in files if path.stem.endswith("_rgb")] or files
        if not files:
            raise DataError("a class folder holds no picture", found=place, allowed=", ".join(SUFFIXES))
        yield from ((path, place.name) for path in files)


def _by_file_name(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES):
        match = re.fullmatch(r"(.*[^\d_])_?\d+", path.stem)
        if match is None:
            raise DataError("a file name tells no class", found=path.name, allowed="airport_1.jpg, or class folders")
        yield path, match[1]


def _meter_ml(folder: Path) -> Iterator[tuple[Path, str]]:
    """The test split of METER-ML: its aerial pictures."""
    pictures = Pictures([folder])
    for feature in read_json(folder / METER_ML).rows("features"):
        row = feature.row("properties")
        name = METER_ML_NAMES[row.one_of("Type", METER_ML_NAMES)]
        yield pictures.path(f"{row.text('Image_Folder')}/naip.png", row.where), name


def parse(question: Question, reply: Reply) -> Parsed:
    """The one class that the answer names."""
    return _label(reply.text, question.targets.choices)


@lru_cache(maxsize=1 << 16)
def _label(text: str, choices: tuple[str, ...]) -> str | None:
    return answers.label(text, choices)


def parse_similar(question: Question, reply: Reply) -> Parsed:
    """The class that shares the longest run of characters with the answer, the last one where none shares any."""
    return question.targets.choices[_similar(reply.text.strip(), question.targets.labels)]


@lru_cache(maxsize=1 << 16)
def _similar(text: str, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text)
    best, longest = -1, 0
    for place, name in enumerate(names):
        size = SequenceMatcher(None, text, name).find_longest_match(0, len(text), 0, len(name)).size
        if size > longest:
            best, longest = place, size
    return best


def balanced(questions: Sequence[Question], texts: Sequence[str]) -> dict[str, float]:
    """Mean recall of the classes, strictly read."""
    found = [_label(text, q.targets.choices) for q, text in zip(questions, texts, strict=True)]
    return {"balanced_accuracy": label_metrics.balanced_accuracy(found, [q.targets.answer or "" for q in questions])}


def balanced_similar(questions: Sequence[Question], texts: Sequence[str]) -> dict[str, float]:
    """Mean recall of the classes, read by likeness."""
    found = [str(parse_similar(q, reply_of(q, text))) for q, text in zip(questions, texts, strict=True)]
    return {"balanced_accuracy": label_metrics.balanced_accuracy(found, [q.targets.answer or "" for q in questions])}


_README = "LHRS-Bot README figure"
_SCORERS = "ScoreRS paper, Table 4"
_LHRS = {
    **{"AID": 91.26, "WHU-RS19": 93.17, "RESISC45": 83.94, "SIRI-WHU": 62.66},
    **{"EuroSAT": 51.40, "METER-ML": 69.81, "fMoW": 56.56},
}
_NOVA = {"AID": 83.06, "METER-ML": 72.74, "RESISC45": 83.97, "SIRI-WHU": 72.21, "WHU-RS19": 96.20}

BENCHMARK = Benchmark(
    name="scene_classification",
    summary="one class a picture: AID, RESISC45, UCM, WHU-RS19, SIRI-WHU, EuroSAT, METER-ML, fMoW",
    find=finder("scene_classification", ["*"], "the sites of the sets' authors"),
    load=load,
    passport=Passport(
        location="the sites of the sets' authors; EuroSAT also as Hugging Face data set torchgeo/eurosat",
        annotation_licence="EuroSAT: MIT; the others: research use",
        imagery_licence="EuroSAT: Copernicus; UCM, METER-ML: USGS, NAIP; the others: Google Earth, research use",
        changes=(
            "EuroSAT stands on Hugging Face with three different splits; here all pictures of the folder count.",
            "GeoChat measures AID on a fifth of the pictures, LHRS-Bot on all of them.",
        ),
        published=(
            *(Published("LHRS-Bot", f"{name}, official", value, _README) for name, value in _LHRS.items()),
            *(Published("LHRS-Bot-Nova", f"{name}, accuracy", value, _SCORERS) for name, value in _NOVA.items()),
            Published("EarthMind-4B", "AID, accuracy", 97.2, "EarthMind paper"),
            Published("EarthMind-4B", "UCM, accuracy", 95.0, "EarthMind paper"),
        ),
    ),
    protocols={
        "strict": Protocol(
            id="scene_classification-strict-1",
            parse=parse,
            score=score_accuracy,
            main={TASK: "accuracy"},
            over_sets=(TASK,),
            pooled={TASK: balanced},
        ),
        "official": Protocol(
            id="scene_classification-official-1",
            parse=parse_similar,
            score=score_accuracy,
            main={TASK: "balanced_accuracy"},
            over_sets=(TASK,),
            pooled={TASK: balanced_similar},
            quirks=(
                "This is the scorer of LHRS-Bot: an answer that is no class name counts as the class it shares the "
                "longest run of characters with, the first of equals.",
                "An answer that shares no character with any class, such as an empty one, counts as the last class.",
            ),
        ),
    },
)
