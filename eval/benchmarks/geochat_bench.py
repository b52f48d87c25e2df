"""GeoChat-Bench: classes of AID and UC Merced, RSVQA questions, referring and captions of regions, in GeoChat's files.

A row of `referring.jsonl` has the corners of one true box or of several, in pixels; boxes are compared as upright ones.
`grounding_description.jsonl` is not read: its rows hold a description and no boxes, which its score would need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.formats import rsvqa
from lhrs_chat.formats.rows import Pictures, Row, read_json, read_list
from lhrs_chat.geo.frames import convert
from lhrs_chat.metrics import boxes as box_metrics
from lhrs_chat.schema import Box, Targets
from lhrs_chat.text import answers

from . import Benchmark, Parsed, Passport, Protocol, Published, Question, Reply, _captions, _java_captions
from ._reading import checked, finder
from ._scoring import parse_closed, score_accuracy
from .scene_classification import plain_name

LOCATION = "Hugging Face data set MBZUAI/GeoChat-Bench; pictures and answers from AID, UC Merced and RSVQA"
SCENE = "scene_class"
TASKS = (rsvqa.PRESENCE, rsvqa.COMPARISON, rsvqa.RURAL)
TOKENS = 32
REGION = "region_caption"
KINDS = {"ref": "refer", "grounding": "ground"}
SIZES = ("small", "medium", "large")
NUMBERS = ("one", "several")
BOXES = tuple(f"{kind}_{size}_{number}" for kind in KINDS.values() for size in SIZES for number in NUMBERS)
BOX_TOKENS = 256
HIT = 0.5
REFERRING = "referring"
LLAVA = "share/softwares/kartik/GeoChat_finetuning/final_images_llava"
"""Where the archive of GeoChat_Instruct puts its pictures."""


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
REGIONS = ("final_images_llava", LLAVA, f"images/{LLAVA}", "images")
ABOUT_REGIONS = (
    Part("referring.jsonl", REFERRING, REGIONS),
    Part("region_captioning.jsonl", "region_captioning", REGIONS),
)


def load(folder: Path) -> list[Question]:
    """The questions of the files that lie in the folder.

    Raises:
        DataError: a row is broken, a class or an answer is unknown, a picture is missing.
    """
    questions: list[Question] = []
    for part in ABOUT_REGIONS:
        if (folder / part.file).is_file():
            pictures = Pictures([folder / place for place in part.images])
            for place, row in enumerate(read_list(folder / part.file)):
                questions.append(_about_region(part, pictures, row, place))
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


def _about_region(part: Part, pictures: Pictures, row: Row, place: int) -> Question:
    name = row.text("image_id")
    path = pictures.path(f"{name}.png", row.where)
    said = row.text("question")
    if part.subset == REFERRING:
        boxes = _boxes(row)
        kind = KINDS[row.one_of("type", KINDS)]
        task = f"{kind}_{row.one_of('size_group', SIZES)}_{NUMBERS[len(boxes) > 1]}"
        text = f"Where is {said.rstrip('.')}?" if kind == "refer" else said
        text, targets = f"{text} Answer with one box for each object.", Targets(boxes=boxes)
    else:
        task, text = REGION, f"What is the object present at {said}"
        targets = Targets(captions=(row.text("ground_truth"),))
    return Question(
        id=f"{part.subset}#{place}",
        task=task,
        text=text,
        images=(path,),
        size_px=pictures.size_px(path, row.where),
        subset=part.subset,
        scene_id=f"{row.text('dataset')}/{name}",
        licence=BENCHMARK.passport.imagery_licence,
        targets=targets,
        max_new_tokens=BOX_TOKENS if targets.boxes else _captions.TOKENS,
    )


def _boxes(row: Row) -> tuple[Box, ...]:
    """The envelopes of the true boxes, each written as four corners in pixels."""
    corners = row.values.get("ground_truth")
    try:
        if not isinstance(corners, list) or not corners:
            raise ValueError("no list")
        boxes = []
        for x, y in (zip(*box, strict=True) for box in corners):
            boxes.append(Box((float(min(x)), float(min(y)), float(max(x)), float(max(y))), "pixel"))
        return tuple(boxes)
    except (ValueError, TypeError, GeoError) as error:
        raise row.bad("ground_truth", "[[[x, y], [x, y], [x, y], [x, y]], ...], pixels") from error


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
    answer = said[int(number)]
    return task, rsvqa.truth(task, answer.word("answer"), answer.where)


def parse(question: Question, reply: Reply) -> Parsed:
    """The boxes of an answer one after the other, in shares of the picture; a caption; or a closed answer."""
    if not question.targets.boxes:
        return _captions.parse(question, reply) if question.task == REGION else parse_closed(question, reply)
    try:
        said = answers.boxes(reply.text, reply.dialect, reply.size_px)
        moved = [convert(box, "unit", size_px=reply.size_px, placement=reply.placement).xyxy for box in said]
    except GeoError:
        return None
    return tuple(round(value, 6) for xyxy in moved for value in xyxy) or None


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """Of boxes, whether each true one is met by one of its own and none is left over, and the IoU of these pairs.

    The IoU is their sum over the larger number of boxes, so that a missing box and a needless one count as 0.
    """
    if not question.targets.boxes:
        return _captions.score(question, parsed) if question.task == REGION else score_accuracy(question, parsed)
    wanted = [convert(box, "unit", size_px=question.size_px).xyxy for box in question.targets.boxes]
    found = [parsed[at : at + 4] for at in range(0, len(parsed), 4)] if isinstance(parsed, tuple) else []
    pairs = box_metrics.match(found, wanted, 0.0) if found else []
    met = sum(overlap >= HIT for _, _, overlap in pairs)
    total = max(len(found), len(wanted))
    overlaps = sum(overlap for _, _, overlap in pairs) / total
    return {f"acc_{HIT}": float(met == total), "iou": overlaps, "parsed": float(bool(found))}


def _groups() -> dict[str, tuple[str, ...]]:
    """The columns of the published table: by size, by number of objects, by kind of question, and all."""
    parts = (*SIZES, *NUMBERS, *KINDS.values())
    return {part: tuple(task for task in BOXES if part in task.split("_")) for part in parts} | {"boxes": BOXES}


def parse_glued(question: Question, reply: Reply) -> Parsed:
    """The answer in lower case without spaces and full stops."""
    return reply.text.replace(" ", "").lower().replace(".", "")


def score_glued(question: Question, parsed: Parsed) -> dict[str, float]:
    """Equal to the folder's name; everything else is left out."""
    if question.task != SCENE:
        return {}
    return {"accuracy": float(parsed == question.targets.labels[0]), "parsed": float(bool(parsed))}


BENCHMARK = Benchmark(
    name="geochat_bench",
    summary="AID, UC Merced, RSVQA, referring and region captions in the question files of GeoChat",
    find=finder("geochat_bench", [part.file for part in (*PARTS, *ABOUT_REGIONS)], LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="not stated where we looked",
        imagery_licence="AID, UC Merced: research use; RSVQA: Copernicus Sentinel-2 and USGS orthoimagery",
        changes=(
            "AID is a fifth of the published pictures here.",
            "The files of RSVQA questions hold no answers: these come from RSVQA's own files.",
            "Grounded descriptions are not read: their file holds no boxes, which their published score needs.",
            "How boxes are scored is published nowhere: turned ones count as their envelope here, and several objects "
            "as right where each is met at an IoU of 0.5 and no box is left over.",
            "The paper speaks of 47,000 questions of RSVQA-HR, the file has 62,554 (issue 54 of GeoChat).",
        ),
        published=(Published("GeoChat", "average, RSVQA, scorers", 84.11, "ScoreRS paper"),),
    ),
    protocols={
        "strict": Protocol(
            id="geochat_bench-strict-1",
            parse=parse,
            score=score,
            main={
                **dict.fromkeys((SCENE, *TASKS), "accuracy"),
                **dict.fromkeys(BOXES, f"acc_{HIT}"),
                REGION: "rouge_l",
            },
            corpus={REGION: _captions.every},
            pooled={REGION: _captions.whole},
            once={REGION: _java_captions.whole},
            averages={"questions": TASKS, **_groups()},
        ),
        "official": Protocol(
            id="geochat_bench-official-1",
            parse=parse_glued,
            score=score_glued,
            main={SCENE: "accuracy"},
            quirks=(
                "An answer is right only where it is the folder's name, spaces and full stops apart, and no more.",
                "Everything else is not scored: the published programs write answers but hold no scorer for them.",
            ),
        ),
    },
)
