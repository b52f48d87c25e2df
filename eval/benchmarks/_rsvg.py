"""Grounding sets with one XML file a picture, and the scorer that LHRS-Bot measures them with."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.schema import Box, Targets

from . import Parsed, Protocol, Question, _boxes
from ._reading import Pictures, checked

SIDES = ("xmin", "ymin", "xmax", "ymax")


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
    wanted = _numbers(folder / f"{split}.txt")
    pictures = Pictures([folder / "JPEGImages", folder / "images"])
    questions = []
    for number, (name, item, where) in enumerate(_objects(folder / "Annotations")):
        if number not in wanted:
            continue
        wanted.discard(number)
        path = pictures.path(name, where)
        questions.append(
            Question(
                id=f"{split}#{number}",
                task=_boxes.TASK,
                text=_boxes.prompt(_child(item, "description", where)),
                images=(path,),
                size_px=pictures.size_px(path, where),
                subset=subset,
                scene_id=name,
                licence=licence,
                targets=Targets(boxes=(_box(item, where),)),
                max_new_tokens=_boxes.TOKENS,
            )
        )
    if wanted:
        raise DataError(f"{split}.txt names objects that no XML file holds", found=sorted(wanted)[:5])
    return checked(questions, folder)


def _numbers(path: Path) -> set[int]:
    found: set[int] = set()
    try:
        lines = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise DataError(f"{path.name} cannot be read", found=path) from error
    for place, line in enumerate(lines, start=1):
        if not line.isdecimal():
            raise DataError(f"line {place} of {path.name} is no number of an object", found=line)
        if int(line) in found:
            raise DataError(f"line {place} of {path.name}: two questions have one id", found=line)
        found.add(int(line))
    return found


def _objects(folder: Path) -> Iterator[tuple[str, ElementTree.Element, str]]:
    """Every object in the order of file names: its picture, itself, and its place for errors."""
    for path in sorted(folder.glob("*.xml")):
        try:
            root = ElementTree.parse(path).getroot()
        except (ElementTree.ParseError, OSError) as error:
            raise DataError(f"{path.name} is no XML", found=str(error)) from error
        name = _child(root, "filename", path.name)
        for place, item in enumerate(root.findall("object")):
            yield name, item, f"object {place} of {path.name}"


def _child(item: ElementTree.Element, name: str, where: str) -> str:
    text = item.findtext(name)
    if text is None or not text.strip():
        raise DataError(f"{where}: bad field {name!r}", found=text, allowed="a text")
    return text.strip()


def _box(item: ElementTree.Element, where: str) -> Box:
    try:
        x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{side}") or "") for side in SIDES)
        return Box((x1, y1, x2, y2), "pixel")
    except (ValueError, GeoError) as error:
        raise DataError(f"{where}: bad field 'bndbox'", found=str(error), allowed="xmin, ymin, xmax, ymax") from error


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
