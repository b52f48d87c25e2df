"""FloodNet-VQA: questions about drone pictures after a hurricane: condition, yes or no, simple and complex counting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lhrs_chat.formats.rows import Pictures, Row, read_list
from lhrs_chat.schema import Number, Targets
from lhrs_chat.text import answers

from . import Benchmark, Parsed, Passport, Protocol, Question, Reply
from ._reading import checked, finder
from ._scoring import YES_NO, parse_closed, score_accuracy

LOCATION = "github.com/BinaLab/FloodNet-VQA, EarthVision 2021 track 2: Questions/*.json and Images"
FILES = {
    "train": ("Questions/Training Question.json", "Images/Train_Image"),
    "val": ("Questions/Valid Question.json", "Images/Valid_Image"),
    "test": ("Questions/Test_Question.json", "Images/Test_Image"),
}
CONDITION = "condition_recognition"
TYPES = {
    "Condition_Recognition": CONDITION,
    "Yes_No": "yes_no",
    "Simple_Counting": "simple_counting",
    "Complex_Counting": "complex_counting",
}
CONDITIONS = ("flooded", "non flooded", "flooded,non flooded")
SYNONYMS = {
    "non flooded": ("not flooded", "unflooded", "nonflooded", "dry"),
    "flooded,non flooded": ("partly flooded", "partially flooded", "flooded and non flooded"),
}
TOKENS = 16


def load(folder: Path) -> list[Question]:
    """The questions of those splits that lie in the folder with their answers.

    Raises:
        DataError: a row is broken or has no answer, or a picture is missing.
    """
    questions = []
    for split, (file, images) in FILES.items():
        if not (folder / file).is_file():
            continue
        pictures = Pictures([folder / images])
        for place, row in enumerate(read_list(folder / file)):
            name = row.text("Image_ID")
            path = pictures.path(name, row.where)
            kind = row.one_of("Question_Type", TYPES)
            targets = _targets(row)
            hint = (
                " Answer with flooded, non flooded, or both." if targets.choices == CONDITIONS else " Answer briefly."
            )
            questions.append(
                Question(
                    id=f"{split}#{place}",
                    task=TYPES[kind],
                    text=row.text("Question") + hint,
                    images=(path,),
                    size_px=pictures.size_px(path, row.where),
                    subset=split,
                    scene_id=name,
                    licence=BENCHMARK.passport.imagery_licence,
                    targets=targets,
                    max_new_tokens=TOKENS,
                )
            )
    return checked(questions, folder)


def _targets(row: Row) -> Targets:
    answer = row.word("Ground_Truth")
    told = Targets(answer=answer.lower(), labels=(answer,))
    if answer.lower() in YES_NO:
        return replace(told, choices=YES_NO)
    if answer.isdecimal():
        return replace(told, numbers=(Number(float(answer)),))
    if answer.lower() not in CONDITIONS:
        raise row.bad("Ground_Truth", f"yes, no, a whole number, {', '.join(CONDITIONS)}")
    return replace(told, choices=CONDITIONS)


def parse(question: Question, reply: Reply) -> Parsed:
    """Yes or no, a count, or a condition."""
    if question.targets.choices == CONDITIONS:
        return answers.label(reply.text.replace("not flooded", "non flooded"), CONDITIONS, SYNONYMS)
    return parse_closed(question, reply)


BENCHMARK = Benchmark(
    name="floodnet_vqa",
    summary="flood conditions, yes or no, and counting in drone pictures",
    find=finder("floodnet_vqa", [file for file, _ in FILES.values()], LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="conflict: CC BY-NC-ND by the authors, CC BY-SA-4.0 on a mirror (takara-ai)",
        imagery_licence="as the annotations",
        changes=("Without answers in their file, the questions of a split cannot be scored: leave that file out.",),
    ),
    protocols={
        "strict": Protocol(
            id="floodnet_vqa-strict-1",
            parse=parse,
            score=score_accuracy,
            main=dict.fromkeys(TYPES.values(), "accuracy"),
        )
    },
)
