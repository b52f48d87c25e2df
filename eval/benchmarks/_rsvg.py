"""Grounding sets with one XML file a picture, and the scorer that LHRS-Bot measures them with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lhrs_chat.formats import voc_grounding
from lhrs_chat.formats.rows import Pictures
from lhrs_chat.schema import Targets

from . import Parsed, Protocol, Question, _boxes
from ._reading import checked


def load_xml(folder: Path, split: str, subset: str, licence: str) -> list[Question]:
    """The expressions of one split: `SPLIT.txt` holds the numbers of the objects, counted over all XML files.

    Args:
        folder: holds `Annotations/*.xml`, `SPLIT.txt` and the pictures in `JPEGImages`.
        split: name of the list.
        subset: name of the set.
        licence: terms of the pictures.

    Raises:
        DataError: an XML file is broken, a number is no object, a picture is missing.
    """
    pictures = Pictures([folder / "JPEGImages", folder / "images"])
    questions = []
    for referred in voc_grounding.referred(folder, split):
        path = pictures.path(referred.file, referred.where)
        questions.append(
            Question(
                id=f"{split}#{referred.number}",
                task=_boxes.TASK,
                text=_boxes.prompt(referred.expression),
                images=(path,),
                size_px=pictures.size_px(path, referred.where),
                subset=subset,
                scene_id=referred.file,
                licence=licence,
                targets=Targets(boxes=(referred.box,)),
                max_new_tokens=_boxes.TOKENS,
            )
        )
    return checked(questions, folder)


def score_plus_one(question: Question, parsed: Parsed) -> dict[str, float]:
    """More than 0.5 of an IoU that adds one to every side of a box that is counted in shares of the picture."""
    overlap = 0.0
    if isinstance(parsed, tuple):
        overlap = _boxes.plus_one_iou(parsed, _boxes.truth_in(question, "unit"))
    return {"acc_0.5": float(overlap > 0.5), "iou": overlap, "parsed": float(isinstance(parsed, tuple))}


def headline(questions: Sequence[Question], scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The two numbers that the scorer of LHRS-Bot prints: it keeps the first expression of each picture."""
    first: dict[Path, Mapping[str, float]] = {}
    for question, own in zip(questions, scores, strict=True):
        first.setdefault(question.images[0], own)
    hits = sum(own["acc_0.5"] for own in first.values())
    read = sum(own["parsed"] for own in first.values())
    return {"headline": hits / read if read else 0.0, "headline_with_unread": hits / len(first)}


def protocols(name: str) -> dict[str, Protocol]:
    """The protocols of one of the two sets."""
    main = {_boxes.TASK: "acc_0.5"}
    return {
        "strict": Protocol(id=f"{name}-strict-1", parse=_boxes.parse, score=_boxes.score, main=main),
        "official": Protocol(
            id=f"{name}-official-1",
            parse=_boxes.parse,
            score=score_plus_one,
            main=main,
            derived={_boxes.TASK: headline},
            quirks=(
                "This is the scorer of LHRS-Bot: it adds one pixel to every side of boxes that are counted from 0 to "
                "1, so that boxes far apart from each other are hits.",
                "An IoU of exactly 0.5 is no hit.",
                "The published number, `headline`, takes the first expression of each picture only and leaves answers "
                "without a box out; the second line, `headline_with_unread`, counts these as wrong. In `acc_0.5` all "
                "expressions count, and an answer without a box is wrong.",
            ),
        ),
    }
