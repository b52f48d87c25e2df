"""CDVQA: questions about what changed between two aerial pictures of the SECOND data set, 19 fixed answers."""

from __future__ import annotations

import math
from pathlib import Path

from lhrs_chat.formats import cdvqa
from lhrs_chat.formats.cdvqa import COVERS, RANGES, TYPES
from lhrs_chat.formats.rows import Pictures
from lhrs_chat.schema import Targets
from lhrs_chat.text import answers

from . import Benchmark, Parsed, Passport, Protocol, Question, Reply
from ._reading import checked, finder
from ._scoring import YES_NO, score_accuracy

LOCATION = "github.com/YZHJessica/CDVQA: *_questions.json, *_answers.json, *_images.json; pictures: SECOND, im1 and im2"
SPLITS = ("Val", "Test", "Test2")
SYNONYMS = {"NVG_surface": ("non-vegetated ground surface", "non-vegetated ground", "bare ground")}
BEFORE_AFTER = "The first picture is from before, the second from after. "
TOKENS = 16


def load(folder: Path) -> list[Question]:
    """The questions of those splits that lie in the folder with their questions, answers and pictures.

    Raises:
        DataError: a row is broken, an answer is not one of its type, a picture is missing.
    """
    before, after = (Pictures([folder / place for place in places]) for places in (cdvqa.BEFORE, cdvqa.AFTER))
    licence = BENCHMARK.passport.imagery_licence
    questions = []
    for split in SPLITS:
        if not (folder / f"{split}_questions.json").is_file():
            continue
        for asked in cdvqa.questions(folder, split):
            path = before.path(asked.file, asked.where)
            questions.append(
                Question(
                    id=f"{split}#{asked.number}",
                    task=asked.kind,
                    text=BEFORE_AFTER + asked.text + _hint(asked.kind),
                    images=(path, after.path(asked.file, asked.where)),
                    size_px=before.size_px(path, asked.where),
                    subset=split,
                    scene_id=asked.file,
                    licence=licence,
                    targets=Targets(answer=asked.answer, choices=TYPES[asked.kind]),
                    max_new_tokens=TOKENS,
                )
            )
    return checked(questions, folder)


def _hint(task: str) -> str:
    """What may be answered."""
    if TYPES[task] == YES_NO:
        return " Answer yes or no."
    if TYPES[task] == COVERS:
        return f" Answer with one of: {', '.join(_words(name) for name in COVERS)}."
    return " Answer with a percentage."


def _words(name: str) -> str:
    return SYNONYMS[name][0] if name in SYNONYMS else name.replace("_", " ")


def parse(question: Question, reply: Reply) -> Parsed:
    """Yes or no, a land cover, or the range of per cent that the answer says or falls into."""
    choices = question.targets.choices
    if choices == YES_NO:
        said = answers.yes_no(reply.text)
        return None if said is None else YES_NO[0 if said else 1]
    if choices == COVERS:
        return answers.label(reply.text, choices, SYNONYMS)
    whole = reply.text.strip().strip(".")
    if whole in choices:
        return whole
    number = answers.number(reply.text)
    return _range(number.value) if number is not None and number.unit in ("", "%") else None


def _range(percent: float) -> str | None:
    """`0` for nothing, else the range of ten that ends at or above the share: 10 is in `0_to_10`, 10.5 in the next."""
    if not 0 <= percent <= 100:
        return None
    return RANGES[math.ceil(percent / 10)]


def parse_whole(question: Question, reply: Reply) -> Parsed:
    """The answer itself, if it is one of the published ones."""
    return reply.text.strip() or None


BENCHMARK = Benchmark(
    name="cdvqa",
    summary="eight types of questions about the change between two aerial pictures",
    find=finder("cdvqa", [f"{split}_questions.json" for split in SPLITS], LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        rows={"Val": 16441, "Test": 39686},
        annotation_licence="Apache-2.0 (repository)",
        imagery_licence="terms of the SECOND data set",
        changes=("The repository holds the questions of Val only; those of the other splits are to be had elsewhere.",),
    ),
    protocols={
        "strict": Protocol(
            id="cdvqa-strict-1", parse=parse, score=score_accuracy, main=dict.fromkeys(TYPES, "accuracy")
        ),
        "official": Protocol(
            id="cdvqa-official-1",
            parse=parse_whole,
            score=score_accuracy,
            main=dict.fromkeys(TYPES, "accuracy"),
            quirks=(
                "The published models choose one of 19 answers: a text counts only where it is one of them to the "
                "letter, such as `NVG_surface` or `30_to_40`.",
            ),
        ),
    },
)
