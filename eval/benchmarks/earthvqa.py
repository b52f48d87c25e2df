"""EarthVQA: six types of questions about aerial pictures of Chinese cities, from judging to analysis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lhrs_chat.formats.rows import Pictures, Row, read_json
from lhrs_chat.schema import Number, Targets
from lhrs_chat.text import answers

from . import Benchmark, Parsed, Passport, Protocol, Question, Reply
from ._reading import checked, finder
from ._scoring import YES_NO, parse_closed, score_accuracy, truth

LOCATION = "Hugging Face data set Kingdrone-Junjue/EarthVLSet: Val_QA.json, Val/images_png"
SPLITS = ("Val", "Test")
TYPES = {
    "Basic Judging": "basic_judging",
    "Reasoning-based Judging": "reasoning_judging",
    "Basic Counting": "basic_counting",
    "Reasoning-based Counting": "reasoning_counting",
    "Object Situation Analysis": "situation_analysis",
    "Comprehensive Analysis": "comprehensive_analysis",
}
RANGE = re.compile(r"(\d+)%-(\d+)%")
TOKENS = 48


def load(folder: Path) -> list[Question]:
    """All questions of the splits whose answers lie in the folder, picture by picture.

    Raises:
        DataError: a row is broken, or a picture is missing.
    """
    questions = []
    for split in SPLITS:
        if not (folder / f"{split}_QA.json").is_file():
            continue
        pictures = Pictures([folder / split / "images_png", folder / "images_png"])
        data = read_json(folder / f"{split}_QA.json")
        for name in data.values:
            for place, row in enumerate(data.rows(name)):
                path = pictures.path(name, row.where)
                kind = row.one_of("Type", TYPES)
                questions.append(
                    Question(
                        id=f"{split}/{name}#{place}",
                        task=TYPES[kind],
                        text=f"{row.text('Question')} Answer briefly.",
                        images=(path,),
                        size_px=pictures.size_px(path, row.where),
                        subset=split,
                        scene_id=name,
                        licence=BENCHMARK.passport.imagery_licence,
                        targets=_targets(row),
                        max_new_tokens=TOKENS,
                    )
                )
    return checked(questions, folder)


def _targets(row: Row) -> Targets:
    """Yes or no, a count, a range of per cent, or a phrase."""
    answer = row.word("Answer")
    if answer.lower() in YES_NO:
        return Targets(answer=answer.lower(), choices=YES_NO)
    if answer.isdecimal():
        return Targets(answer=answer, numbers=(Number(float(answer)),))
    if answers.phrase(answer) is None:
        raise row.bad("Answer", "an answer with a word or a number")
    return Targets(answer=answer)


def parse(question: Question, reply: Reply) -> Parsed:
    """Yes or no, a count, the range that a percentage says or falls into, or a phrase."""
    if question.targets.choices or question.targets.numbers:
        return parse_closed(question, reply)
    whole = reply.text.strip().strip(".").replace(" ", "")
    if RANGE.fullmatch(question.targets.answer or "") is None:
        return answers.phrase(reply.text)
    if RANGE.fullmatch(whole):
        return whole
    number = answers.number(reply.text)
    if number is None or number.unit != "%" or not 0 <= number.value <= 100:
        return None
    low = min(int(number.value // 10) * 10, 90)
    return f"{low}%-{low + 10}%"


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """Right or wrong; phrases are compared without case, articles and punctuation."""
    wanted = truth(question)
    if question.targets.choices or question.targets.numbers or RANGE.fullmatch(question.targets.answer or ""):
        return score_accuracy(question, parsed)
    right = parsed is not None and parsed == answers.phrase(str(wanted))
    return {"accuracy": float(right), "parsed": float(parsed is not None)}


def parse_whole(question: Question, reply: Reply) -> Parsed:
    """The whole answer in lower case."""
    return reply.text.strip().lower()


def score_whole(question: Question, parsed: Parsed) -> dict[str, float]:
    """Equal to the published answer, to the letter."""
    return {"accuracy": float(parsed == (question.targets.answer or "").lower()), "parsed": float(bool(parsed))}


_MAIN: Mapping[str, str] = dict.fromkeys(TYPES.values(), "accuracy")

BENCHMARK = Benchmark(
    name="earthvqa",
    summary="judging, counting, analysis of aerial pictures, six types",
    find=finder("earthvqa", [f"{split}_QA.json" for split in SPLITS], LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="CC BY-NC-SA 4.0",
        imagery_licence="CC BY-NC-SA 4.0; Google Earth imagery",
        changes=("The answers of the test split are not published: it is scored on Codabench (2921, 2922).",),
    ),
    protocols={
        "strict": Protocol(id="earthvqa-strict-1", parse=parse, score=score, main=_MAIN),
        "official": Protocol(
            id="earthvqa-official-1",
            parse=parse_whole,
            score=score_whole,
            main=_MAIN,
            quirks=(
                "The published models choose one of a fixed list of answers: a text counts only where it is one of "
                "them to the letter.",
                "The published error of counts leaves out all answers from class number 26 on and scales reasoning "
                "counts by 10/7; it needs the class numbers of the training vocabulary and is not computed here.",
            ),
        ),
    },
)
