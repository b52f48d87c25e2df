"""nano_probe: short questions about held-out synthetic and held-out real chips, eight tasks, strict scoring.

The frozen set is a folder with `probe.jsonl`, one question a row, and `images/`. It is made once by
`python -m data_prep probe --out DIR`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.formats.rows import Pictures, Row, read_list
from lhrs_chat.geo.frames import convert
from lhrs_chat.metrics import boxes as box_metrics
from lhrs_chat.schema import Box, Number, Targets
from lhrs_chat.text import answers

from . import CONDITIONS, Benchmark, Parsed, Passport, Protocol, Question, Reply, _captions
from ._reading import checked

ROWS = "probe.jsonl"
VARIABLE = "LHRS_CHAT_PROBE"
PACKAGED = Path(__file__).parent.parent / "data" / "nano_probe"
MAKE = "python -m data_prep probe --out DIR, then --data DIR"

CHOSEN = ("presence", "compare", "scene_class", "which_is_higher")
TASKS = (*CHOSEN, "count", "area_share", "where_is", "caption")
MAIN = {
    **dict.fromkeys(CHOSEN, "accuracy"),
    "count": "exact",
    "area_share": "within_10",
    "where_is": "iou",
    "caption": "cider",
}
YES_NO = ("yes", "no")
PAIRS = (YES_NO, ("left", "right"))
CAPTION_TOKENS = 64
ANSWER_TOKENS = 32
TOLERANCE_POINTS = 10.0


def find(given: Path | None) -> Path:
    """The folder of the probe: the one given, the one in LHRS_CHAT_PROBE, or the one in the repository.

    Raises:
        DataError: there is none, or it holds no `probe.jsonl`.
    """
    if given is not None:
        folder = given
    elif os.environ.get(VARIABLE):
        folder = Path(os.environ[VARIABLE])
    else:
        folder = PACKAGED
    if not (folder / ROWS).is_file():
        raise DataError(
            "the questions of nano_probe are not here",
            found=f"no {ROWS} in {folder}",
            allowed=f"a folder given by --data or {VARIABLE}, or {PACKAGED}",
            next_step=MAKE,
        )
    return folder


def load(folder: Path) -> list[Question]:
    """Read all questions.

    Raises:
        DataError: a row is broken, an id stands there twice, a picture is missing.
    """
    rows = [_row(row) for row in read_list(folder / ROWS)]
    named = _names(rows)
    largest = _largest_counts(rows)
    pictures = Pictures([folder])
    questions = []
    for row in rows:
        path = folder / row["image"]
        questions.append(_question(row, path, pictures.size_px(path, f"question {row['id']}"), named, largest))
    return checked(questions, folder)


def _row(read: Row) -> Mapping[str, Any]:
    row, where = read.values, read.where
    for name in ("id", "image", "task", "question", "answer", "scene_id", "set", "licence"):
        if not isinstance(row.get(name), str):
            raise DataError(f"{where} needs the text field {name!r}", found=row.get(name), next_step=MAKE)
    task = row["task"]
    if task not in TASKS:
        raise DataError(f"{where} has an unknown task", found=task, allowed=", ".join(TASKS))
    box, number, captions = row.get("box"), row.get("number"), row.get("captions")
    if task == "where_is" and not (isinstance(box, list) and len(box) == 4 and all(_is_number(v) for v in box)):
        raise DataError(f"{where} needs a box", found=box, allowed="[x1, y1, x2, y2], 0 to 100")
    if task in ("count", "area_share") and not _is_number(number):
        raise DataError(f"{where} needs a number", found=number, allowed="a number")
    if task == "caption" and not (
        isinstance(captions, list) and captions and all(isinstance(c, str) for c in captions)
    ):
        raise DataError(f"{where} needs captions", found=captions, allowed="a list of sentences")
    options = row.get("options")
    if options is not None and not isinstance(options, list):
        raise DataError(f"{where} has options that are no list", found=options)
    if options and task in CHOSEN and _plain(row["answer"]) not in [_plain(str(option)) for option in options]:
        raise DataError(f"{where}: the answer is not among the options", found=row["answer"], allowed=options)
    return row


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["set"], row["task"]


def _plain(answer: str) -> str:
    """An answer as it is compared: `The left one.` and `left` are the same."""
    return answer.lower().strip().rstrip(".").removeprefix("the ").removesuffix(" one")


def _names(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], frozenset[str]]:
    """All answers of a set and task: what there is to choose from where a row brings no options."""
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if row["task"] in CHOSEN:
            found.setdefault(_cell(row), set()).add(_plain(row["answer"]))
    return {cell: frozenset(names) for cell, names in found.items()}


def _choices(row: Mapping[str, Any], names: frozenset[str]) -> tuple[str, ...]:
    """What a question lets one choose from: yes and no, left and right, the options of the row, or all names."""
    answer = _plain(row["answer"])
    for pair in PAIRS:
        if answer in pair:
            return pair
    if row.get("options"):
        return tuple(_plain(str(option)) for option in row["options"])
    return tuple(sorted(names.difference(*PAIRS)))


def _largest_counts(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for row in rows:
        if row["task"] == "count":
            found[_cell(row)] = max(found.get(_cell(row), 0.0), float(row["number"]))
    return found


def _question(
    row: Mapping[str, Any],
    path: Path,
    size_px: tuple[int, int],
    named: Mapping[tuple[str, str], frozenset[str]],
    largest: Mapping[tuple[str, str], float],
) -> Question:
    task, answer = row["task"], row["answer"]
    choices: tuple[str, ...] = ()
    if task in CHOSEN:
        answer = _plain(answer)
        choices = _choices(row, named[_cell(row)])
    value = float(row["number"]) if _is_number(row.get("number")) else None
    cap = 0.0
    if value is not None and task == "area_share":
        cap = max(value, 100.0 - value)
    elif value is not None and task == "count":
        cap = max(value, largest[_cell(row)] - value, 1.0)
    box = row.get("box")
    targets = Targets(
        answer=answer,
        choices=choices,
        boxes=(Box((box[0], box[1], box[2], box[3]), "per100"),) if box else (),
        numbers=(Number(value, str(row.get("unit") or "")),) if value is not None else (),
        captions=tuple(row.get("captions") or ()),
    )
    return Question(
        id=row["id"],
        task=task,
        text=row["question"],
        images=(path,),
        size_px=size_px,
        subset=row["set"],
        scene_id=row["scene_id"],
        licence=row["licence"],
        targets=targets,
        error_cap=cap,
        max_new_tokens=CAPTION_TOKENS if task == "caption" else ANSWER_TOKENS,
    )


def parse(question: Question, reply: Reply) -> Parsed:
    """Read an answer strictly: blank, unclear or of another unit is None."""
    if question.task in CHOSEN:
        if question.targets.choices == YES_NO:
            said = answers.yes_no(reply.text)
            return None if said is None else YES_NO[0 if said else 1]
        return answers.label(reply.text, question.targets.choices)
    if question.task == "caption":
        return reply.text.strip() or None
    if question.task == "where_is":
        return _read_box(reply)
    number = answers.number(reply.text)
    allowed = ("", "%") if question.task == "area_share" else ("",)
    return number.value if number is not None and number.unit in allowed else None


def _read_box(reply: Reply) -> tuple[float, ...] | None:
    """The first box of an answer, per 100 of the picture that was shown."""
    try:
        found = answers.boxes(reply.text, reply.dialect, reply.size_px)
        if not found:
            return None
        moved = convert(found[0], "per100", size_px=reply.size_px, placement=reply.placement)
    except GeoError:
        return None
    return tuple(round(value, 4) for value in moved.xyxy)


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """Metrics of one question; `parsed` says whether the answer could be read."""
    found = {"parsed": float(parsed is not None)}
    if question.task in CHOSEN:
        return {"accuracy": float(parsed is not None and parsed == question.targets.answer), **found}
    if question.task == "caption":
        return found
    if question.task == "where_is":
        return {**_score_box(question, parsed), **found}
    truth = question.targets.numbers[0].value
    off = question.error_cap
    if isinstance(parsed, float):
        off = min(abs(parsed - truth), question.error_cap)
    if question.task == "count":
        return {"exact": float(isinstance(parsed, float) and parsed == truth), "mae": off, **found}
    within = isinstance(parsed, float) and abs(parsed - truth) <= TOLERANCE_POINTS
    return {"within_10": float(within), "mae_points": off, **found}


def _score_box(question: Question, parsed: Parsed) -> dict[str, float]:
    if not isinstance(parsed, tuple):
        return {"iou": 0.0, "acc_0.5": 0.0, "acc_0.3": 0.0, "pointing": 0.0}
    x1, y1, x2, y2 = parsed
    left, top, right, bottom = truth = question.targets.boxes[0].xyxy
    overlap = box_metrics.iou((x1, y1, x2, y2), truth)
    inside = left <= (x1 + x2) / 2 <= right and top <= (y1 + y2) / 2 <= bottom
    return {
        "iou": overlap,
        "acc_0.5": float(overlap >= 0.5),
        "acc_0.3": float(overlap >= 0.3),
        "pointing": float(inside),
    }


BENCHMARK = Benchmark(
    name="nano_probe",
    summary="short questions about held-out synthetic and real chips, eight tasks",
    find=find,
    load=load,
    passport=Passport(
        location="made here: python -m data_prep nano, then python -m data_prep probe",
        annotation_licence="Apache-2.0; captions of aid_rsicd: research use",
        imagery_licence="by set, see each row; AID and RSSCN7: research use, Google Earth imagery",
    ),
    conditions=CONDITIONS,
    protocols={
        "strict": Protocol(
            id="nano_probe-strict-2",
            parse=parse,
            score=score,
            main=MAIN,
            corpus={"caption": _captions.each},
            pooled={"caption": _captions.whole},
            lower_is_better=frozenset({"mae", "mae_points"}),
        )
    },
)
