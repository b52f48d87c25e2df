"""GeoChat-Bench: scene classification of AID and UC Merced and the RSVQA questions, in the files of GeoChat.

Read are `aid.jsonl`, `UCmerced.jsonl`, `lrben.jsonl` and `hrben.jsonl`. The files for region captions, referring and
grounded descriptions write their boxes in ways that are documented nowhere, so they are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Targets

from . import Benchmark, Parsed, Passport, Protocol, Published, Question, Reply, _rsvqa
from ._reading import Pictures, Row, checked, finder, read_json, read_list
from ._scoring import parse_closed, score_accuracy
from .scene_classification import plain_name

LOCATION = "Hugging Face data set MBZUAI/GeoChat-Bench; pictures and answers from AID, UC Merced and RSVQA"
SCENE = "scene_class"
TASKS = (_rsvqa.PRESENCE, _rsvqa.COMPARISON, _rsvqa.RURAL)
TOKENS = 32


@dataclass(frozen=True)
class Part:
    """One file: its set, the folders of its pictures, and the file of answers where it holds none itself."""

    file: str
    subset: str
    images: tuple[str, ...]
    answers: str = ""


PARTS = (
    Part("aid.jsonl", "AID", ("AID", "aid", "images/AID")),
    Part("UCmerced.jsonl", "UCM", ("UCMerced_LandUse/Images", "UCmerced", "images/UCMerced_LandUse/Images")),
    Part("lrben.jsonl", "RSVQA-LR", ("Images_LR", "LRBEN", "images/Images_LR"), "all_answers.json"),
    Part("hrben.jsonl", "RSVQA-HR", ("Data", "HRBEN", "images/Data"), "USGSanswers.json"),
)


def load(folder: Path) -> list[Question]:
    """The questions of the files that lie in the folder.

    Raises:
        DataError: a row is broken, a class or an answer is unknown, a picture is missing.
    """
    questions: list[Question] = []
    for part in PARTS:
        if (folder / part.file).is_file():
            pictures = Pictures([folder / place for place in part.images])
            said = read_json(folder / part.answers).rows("answers") if part.answers else []
            for place, row in enumerate(read_list(folder / part.file)):
                task, targets = _vqa(row, said) if part.answers else _scene(row)
                questions.append(_question(part, pictures, row, place, task, targets))
    return checked(questions, folder)


def _question(part: Part, pictures: Pictures, row: Row, place: int, task: str, targets: Targets) -> Question:
    name = row.text("image")
    path = pictures.path(name, row.where)
    return Question(
        id=f"{part.subset}#{place}",
        task=task,
        text=row.text("text"),
        images=(path,),
        size_px=pictures.size_px(path, row.where),
        subset=part.subset,
        scene_id=f"{part.subset}/{name}",
        licence=BENCHMARK.passport.imagery_licence,
        targets=targets,
        max_new_tokens=TOKENS,
    )


def _scene(row: Row) -> tuple[str, Targets]:
    """The class is the folder of the question's id; the names to choose from stand in the text after `Classes:`."""
    _, colon, listed = row.text("text").partition("Classes:")
    names = [name.strip().rstrip(".") for name in listed.split("\n")[0].split(",") if name.strip()]
    if not colon or len(names) < 2:
        raise row.bad("text", "...Classes: one, two, three")
    folder = row.text("question_id").split("/")[0]
    choices = tuple(plain_name(name) for name in names)
    if plain_name(folder) not in choices:
        raise row.bad("question_id", f"CLASS/FILE, the class one of {', '.join(choices)}")
    return SCENE, Targets(answer=plain_name(folder), choices=choices, labels=(folder.lower(),))


def _vqa(row: Row, said: Sequence[Row]) -> tuple[str, Targets]:
    """The question's number is the place of its answer in RSVQA's own file."""
    task = row.one_of("category", TASKS)
    number = row.word("question_id")
    if not number.isdecimal() or int(number) >= len(said):
        raise DataError(f"{row.where}: there is no answer of this number", found=number, allowed=f"below {len(said)}")
    return task, _rsvqa.targets(task, said[int(number)], "answer")


def parse_glued(question: Question, reply: Reply) -> Parsed:
    """The answer in lower case without spaces and full stops."""
    return reply.text.replace(" ", "").lower().replace(".", "")


def score_glued(question: Question, parsed: Parsed) -> dict[str, float]:
    """Equal to the folder's name; RSVQA questions are left out."""
    if question.task != SCENE:
        return {}
    return {"accuracy": float(parsed == question.targets.labels[0]), "parsed": float(bool(parsed))}


BENCHMARK = Benchmark(
    name="geochat_bench",
    summary="AID, UC Merced and RSVQA in the question files of GeoChat",
    find=finder("geochat_bench", [part.file for part in PARTS], LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="not stated where we looked",
        imagery_licence="AID, UC Merced: research use; RSVQA: Copernicus Sentinel-2 and USGS orthoimagery",
        changes=(
            "AID is a fifth of the published pictures here.",
            "The files of RSVQA questions hold no answers: these come from RSVQA's own files.",
            "The paper speaks of 47,000 questions of RSVQA-HR, the file has 62,554 (issue 54 of GeoChat).",
        ),
        published=(Published("GeoChat", "average, RSVQA, scorers", 84.11, "ScoreRS paper"),),
    ),
    protocols={
        "strict": Protocol(
            id="geochat_bench-strict-1",
            parse=parse_closed,
            score=score_accuracy,
            main=dict.fromkeys((SCENE, *TASKS), "accuracy"),
        ),
        "official": Protocol(
            id="geochat_bench-official-1",
            parse=parse_glued,
            score=score_glued,
            main={SCENE: "accuracy"},
            quirks=(
                "An answer is right only where it is the folder's name, spaces and full stops apart, and no more.",
                "RSVQA questions are not scored: the published programs write answers but hold no scorer for them.",
            ),
        ),
    },
)
