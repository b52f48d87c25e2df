"""own_data: the held-out split of a data set of yours, as `lhrs-chat prep split` leaves it.

Asked is the first question of each row of the split `test`. A row is scored by its answer: one of a set of choices, a
number, one box, or a caption. Rows that ask about a region of the picture, or that want several boxes or a free text,
are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lhrs_chat import samples
from lhrs_chat.errors import DataError, RasterError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.schema import Image, Message, Sample, Targets
from lhrs_chat.text import answers

from . import CONDITIONS, Benchmark, Parsed, Passport, Protocol, Question, Reply, _boxes, _captions
from ._reading import checked
from ._scoring import closed, parse_closed, score_accuracy

SPLIT = "test"
CHOICE, NUMBER, BOX, CAPTION = "choice", "number", _boxes.TASK, _captions.TASK
MAIN = {CHOICE: "accuracy", NUMBER: "accuracy", BOX: "acc_0.5", CAPTION: "cider"}


def find(given: Path | None) -> Path:
    """The folder, or file of rows, that was given.

    Raises:
        DataError: none was.
    """
    if given is None:
        raise DataError(
            "own_data needs to know your data",
            found="no --data",
            allowed="--data FOLDER with rows of the split test",
            next_step="docs/own_data.md tells how to make it: lhrs-chat prep convert, build, split",
        )
    samples.Rows.open(given)  # refuses a place without rows
    return given


def load(folder: Path) -> list[Question]:
    """Read the questions that can be scored.

    Raises:
        DataError: there are none, or a picture is missing.
    """
    return checked(list(_questions(folder)), folder)


def _questions(folder: Path) -> Iterator[Question]:
    splits: Counter[str] = Counter()
    for row in samples.read(folder):
        splits[row.split] += 1
        if row.split == SPLIT and (kind := _kind(row)):
            yield _question(row, kind)
    if not splits[SPLIT]:
        raise DataError(
            f"no row has the split {SPLIT}",
            found=f"{folder}: {dict(splits)}",
            next_step="lhrs-chat prep split makes one",
        )


def _turns(row: Sample) -> tuple[Message, Message] | None:
    """Return the first question and its answer, where the question is words and pictures alone."""
    asked = next((turn for turn in row.messages if turn.role == "user"), None)
    said = next((turn for turn in row.messages if turn.role == "assistant"), None)
    if asked is None or said is None or any(part.type == "region" for part in asked.content):
        return None
    return asked, said


def _kind(row: Sample) -> str:
    """Say how the answer of a row is scored; nothing where it cannot be."""
    turns = _turns(row)
    if turns is None or not row.images:
        return ""
    targets = row.targets
    if targets.choices:
        return CHOICE
    if targets.numbers and answers.number(turns[1].text) is not None:
        return NUMBER
    regions = [part for part in turns[1].content if part.type == "region"]
    if len(targets.boxes) == 1 and (len(regions) == 1 or answers.boxes(turns[1].text)):
        return BOX
    return CAPTION if targets.captions or row.task == CAPTION else ""


def _question(row: Sample, kind: str) -> Question:
    asked, said = _turns(row) or row.messages[:2]
    paths = tuple(_path(row, image) for image in row.images)
    targets = row.targets
    if kind == CHOICE:
        options = tuple(_plain(choice) for choice in targets.choices)
        made = closed(_plain(targets.answer or said.text), options)
    elif kind == CAPTION:
        made = Targets(captions=targets.captions or (said.text,))
    else:
        made = (
            Targets(boxes=targets.boxes, numbers=targets.numbers) if kind == BOX else Targets(numbers=targets.numbers)
        )
    return Question(
        id=row.id,
        task=kind,
        text=asked.text.strip(),
        images=paths,
        size_px=_size_px(paths[0]),
        subset=row.source,
        scene_id=row.scene_id,
        licence=row.licence,
        targets=made,
        max_new_tokens=_captions.TOKENS,
    )


def _plain(choice: str) -> str:
    return choice.strip().rstrip(".").lower()


def _path(row: Sample, image: Image) -> Path:
    if image.path is None or not Path(image.path).is_file():
        raise DataError("a picture of a row is not there", found=f"{row.id}: {image.path or 'bytes'}", allowed="a file")
    return Path(image.path)


def _size_px(path: Path) -> tuple[int, int]:
    try:
        with Raster.open(path) as raster:
            return raster.size_px
    except RasterError as error:
        raise DataError("a picture cannot be read", found=f"{path}: {error}") from error


def parse(question: Question, reply: Reply) -> Parsed:
    """Read an answer strictly: blank or unclear is None."""
    if question.task == CAPTION:
        return _captions.parse(question, reply)
    return _boxes.parse(question, reply) if question.task == BOX else parse_closed(question, reply)


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """Metrics of one question."""
    if question.task == CAPTION:
        return _captions.score(question, parsed)
    return _boxes.score(question, parsed) if question.task == BOX else score_accuracy(question, parsed)


BENCHMARK = Benchmark(
    name="own_data",
    summary="the held-out split of your own data: choices, numbers, one box, captions",
    find=find,
    load=load,
    passport=Passport(
        location="yours: docs/own_data.md", annotation_licence="see its rows", imagery_licence="see its rows"
    ),
    conditions=CONDITIONS,
    protocols={
        "strict": Protocol(
            id="own_data-strict-1",
            parse=parse,
            score=score,
            main=MAIN,
            corpus={CAPTION: _captions.each},
            pooled={CAPTION: _captions.whole},
        )
    },
)
