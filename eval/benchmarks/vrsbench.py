"""VRSBench: detailed captions, referring expressions and questions about the validation pictures of DOTA and DIOR."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lhrs_chat.formats.rows import Pictures, Row, read_list
from lhrs_chat.schema import Box, Number, Targets
from lhrs_chat.text import answers, grounding

from . import Benchmark, Parsed, Passport, Protocol, Published, Question, Reply, _boxes, _captions, _java_captions
from ._reading import checked, finder
from ._scoring import YES_NO, parse_closed, score_accuracy

LOCATION = "Hugging Face data set xiang709/VRSBench: VRSBench_EVAL_*.json, Images_val.zip unpacked beside them"
CAPTIONS, REFERRING, VQA = (f"VRSBench_EVAL_{name}.json" for name in ("Cap", "referring", "vqa"))
FILES = (CAPTIONS, REFERRING, VQA)
UNIQUE, OTHERS = "grounding_unique", "grounding_not_unique"
CAPTION_TOKENS = 256
TYPES = {
    "object category": "vqa_category",
    "object existence": "vqa_presence",
    "object quantity": "vqa_quantity",
    "object color": "vqa_color",
    "object shape": "vqa_shape",
    "object size": "vqa_size",
    "object position": "vqa_position",
    "object direction": "vqa_direction",
    "scene type": "vqa_scene",
    "image": "vqa_scene",
    "rural or urban": "vqa_scene",
    "reasoning": "vqa_reasoning",
}
VQA_TASKS = tuple(dict.fromkeys(TYPES.values()))


def load(folder: Path) -> list[Question]:
    """The questions of those of the three files that lie in the folder.

    Raises:
        DataError: a row is broken, or a picture is missing.
    """
    return checked(read(folder, Pictures([folder / "Images_val", folder / "images", folder])), folder)


def read(folder: Path, pictures: Pictures) -> list[Question]:
    """The same with pictures from elsewhere."""
    questions: list[Question] = []
    for name, make in ((CAPTIONS, _caption), (REFERRING, _referring), (VQA, _vqa)):
        if (folder / name).is_file():
            for row in read_list(folder / name):
                task, text, targets = make(row)
                questions.append(_question(row, pictures, task, text, targets))
    return questions


def _question(row: Row, pictures: Pictures, task: str, text: str, targets: Targets) -> Question:
    name = row.text("image_id")
    path = pictures.path(name, row.where)
    return Question(
        id=f"{task.split('_')[0]}#{row.word('question_id')}",
        task=task,
        text=text,
        images=(path,),
        size_px=pictures.size_px(path, row.where),
        subset="vrsbench",
        scene_id=name.split("_")[0],
        licence=BENCHMARK.passport.imagery_licence,
        targets=targets,
        max_new_tokens=CAPTION_TOKENS if task == _captions.TASK else _boxes.TOKENS,
    )


def _caption(row: Row) -> tuple[str, str, Targets]:
    return _captions.TASK, row.text("question"), Targets(captions=(row.text("ground_truth"),))


def _referring(row: Row) -> tuple[str, str, Targets]:
    found = grounding.parse(row.text("ground_truth"), "angles100")
    if len(found) != 1:
        raise row.bad("ground_truth", "{<x1><y1><x2><y2>}, whole numbers from 0 to 100")
    unique = row.values.get("unique", row.values.get("is_unique"))
    if unique not in (True, False):
        raise row.bad("unique", "true or false")
    box = Box(found[0].xyxy, "per100")
    return UNIQUE if unique else OTHERS, _boxes.prompt(row.text("question")), Targets(boxes=(box,))


def _vqa(row: Row) -> tuple[str, str, Targets]:
    kind = row.text("type").lower()
    if kind not in TYPES:
        raise row.bad("type", ", ".join(TYPES))
    answer = row.word("ground_truth")
    number = answers.number(answer)
    targets = Targets(answer=answer.lower())
    if answer.lower() in YES_NO:
        targets = replace(targets, choices=YES_NO)
    elif number is not None and number.unit == "" and kind == "object quantity":
        targets = replace(targets, numbers=(Number(number.value),))
    elif answers.phrase(answer) is None:
        raise row.bad("ground_truth", "an answer with a word or a number")
    return TYPES[kind], f"{row.text('question')} Answer with one word or a short phrase.", targets


def parse(question: Question, reply: Reply) -> Parsed:
    """A caption, a box, yes or no, a number, or a short phrase."""
    if question.targets.boxes:
        return _boxes.parse(question, reply)
    if question.task == _captions.TASK:
        return _captions.parse(question, reply)
    if question.targets.choices or question.targets.numbers:
        return parse_closed(question, reply)
    return answers.phrase(reply.text)


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """Of a box its IoU, of an answer whether it is the true one."""
    if question.targets.boxes:
        return _boxes.score(question, parsed)
    if question.task == _captions.TASK:
        return _captions.score(question, parsed)
    if question.targets.choices or question.targets.numbers:
        return score_accuracy(question, parsed)
    right = parsed is not None and parsed == answers.phrase(question.targets.answer or "")
    return {"accuracy": float(right), "parsed": float(parsed is not None)}


def parse_official(question: Question, reply: Reply) -> Parsed:
    """A caption as it is, a box in whole per cent, an answer in lower case."""
    if question.targets.boxes:
        box = _boxes.parse_in(reply, "per100")
        return None if box is None else tuple(float(int(value)) for value in box)
    return reply.text.strip() if question.task == _captions.TASK else reply.text.lower()


def score_official(question: Question, parsed: Parsed) -> dict[str, float]:
    """The rules of the published notebooks, as far as they ask no judge."""
    if question.task == _captions.TASK:
        return {"parsed": 1.0}
    if question.targets.boxes:
        overlap = 0.0
        if isinstance(parsed, tuple):
            overlap = _boxes.plus_one_iou(parsed, question.targets.boxes[0].xyxy)
        found = {f"acc_{limit}": float(overlap >= limit) for limit in (0.5, 0.7)}
        return {**found, "iou": overlap, "parsed": float(isinstance(parsed, tuple))}
    return {"accuracy": float((question.targets.answer or "") in str(parsed)), "parsed": 1.0}


MAIN = {
    _captions.TASK: "cider",
    UNIQUE: "acc_0.5",
    OTHERS: "acc_0.5",
    **dict.fromkeys(VQA_TASKS, "accuracy"),
}


def _protocol(name: str, *quirks: str) -> Protocol:
    strict = name == "strict"
    return Protocol(
        id=f"vrsbench-{name}-1",
        parse=parse if strict else parse_official,
        score=score if strict else score_official,
        main=MAIN,
        corpus={_captions.TASK: _captions.every},
        pooled={_captions.TASK: _captions.whole},
        once={_captions.TASK: _java_captions.whole},
        averages={"grounding": (UNIQUE, OTHERS), "vqa": VQA_TASKS},
        quirks=quirks,
    )


BENCHMARK = Benchmark(
    name="vrsbench",
    summary="captions, grounding and questions about DOTA and DIOR pictures",
    find=finder("vrsbench", FILES, LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="CC-BY-4.0; the link beside this text leads to CC-BY-NC-4.0",
        imagery_licence="terms of DOTA and DIOR, Google Earth imagery",
        changes=("The README prints 3123,221 questions; there are 123,221.",),
        published=(
            Published("EarthMind-4B", "questions, judged by GPT-4o", 78.9, "EarthMind paper"),
            Published("EarthMind-4B", "grounding, acc_0.5", 55.6, "EarthMind paper"),
        ),
    ),
    protocols={
        "strict": _protocol("strict"),
        "official": _protocol(
            "official",
            "An answer is right where the true one is a part of it, so that `not sure` holds `no` and `10` holds `1`.",
            "All other answers go to a judge, GPT-4o-mini; none is asked here, so that the number is a lower bound.",
            "Boxes are cut to whole per cent of the picture, and one is added to every side, which lets small boxes "
            "overlap more than they do.",
        ),
    },
)
