"""TerraScope-Bench: 3,837 questions of six tasks with options; the answer, the mask it rests on, and both jointly.

The published file holds no masks. Where a row has a column `mask`, COCO run lengths of the true region, the masks of
the answer are scored too; other rows have no mask scores. The tasks with and without masks are told apart by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from lhrs_chat.formats.rows import Pictures, Row
from lhrs_chat.schema import Mask, Targets

from . import Benchmark, Parsed, Passport, Protocol, Published, Question, Reply, _masks
from ._reading import checked, finder
from ._scoring import LETTERS, parse_choice, reply_of, score_accuracy
from ._tables import read_parquet, unpack_picture

LOCATION = "Hugging Face data set sy1998/TerraScope-Bench: data/TerraScope_bench.parquet"
FILES = ("data/TerraScope_bench.parquet", "TerraScope_bench.parquet")
TASKS = (
    *("coverage_percentage", "absolute_area", "area_comparison", "boundary_detection", "distance_measurement"),
    "building_change",
)
MASKED = "_with_mask"
HIT = 0.5
ASK = "Think step by step if that helps. End with <answer>LETTER</answer>."
TOKENS = 1024


def load(folder: Path) -> list[Question]:
    """All rows of the file, its pictures unpacked into the cache.

    Raises:
        DataError: a row is broken, a mask has another size than its picture.
    """
    path = next(folder / name for name in FILES if (folder / name).is_file())
    pictures = Pictures([folder])
    questions = []
    for place, row in enumerate(read_parquet(path)):
        image = unpack_picture(row, "image")
        size_px = pictures.size_px(image, row.where)
        options = _options(row)
        letter = row.one_of("answer", (option[0] for option in options))
        masks = _true_masks(row, size_px)
        text = "\n".join([row.text("question"), *options, ASK])
        questions.append(
            Question(
                id=f"terrascope#{place}",
                task=row.text("task_type") + (MASKED if masks else ""),
                text=text + (_masks.WORDS if masks else ""),
                images=(image,),
                size_px=size_px,
                subset="terrascope_bench",
                scene_id=image.stem,
                licence=BENCHMARK.passport.imagery_licence,
                targets=Targets(
                    answer=next(option for option in options if option[0] == letter), choices=options, masks=masks
                ),
                max_new_tokens=TOKENS,
            )
        )
    return checked(questions, folder)


def _options(row: Row) -> tuple[str, ...]:
    """`A. text` of each candidate; the column holds an object of letters or the JSON text of one."""
    value = row.values.get("candidates")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise row.bad("candidates", "an object of letters, or its JSON") from error
    if not isinstance(value, dict):
        raise row.bad("candidates", "an object of letters, or its JSON")
    found = {letter: text for letter, text in sorted(value.items()) if text is not None}
    if len(found) < 2 or "".join(found) != LETTERS[: len(found)]:
        raise row.bad("candidates", "A, B, ... without a gap")
    return tuple(f"{letter}. {text}" for letter, text in found.items())


def _true_masks(row: Row, size_px: tuple[int, int]) -> tuple[Mask, ...]:
    value = row.values.get("mask")
    if value is None:
        return ()
    try:
        return (_masks.true_mask(json.loads(value) if isinstance(value, str) else value, size_px, row.where),)
    except ValueError as error:
        raise row.bad("mask", "COCO run lengths") from error


def score_masks(questions: Sequence[Question], texts: Sequence[str]) -> list[dict[str, float]]:
    """IoU of the mask, and whether the answer is right and its mask reaches an IoU of 0.5."""
    found = []
    for question, text in zip(questions, texts, strict=True):
        overlap = _masks.iou(text, question.targets.masks[0])
        right = parse_choice(question, reply_of(question, text)) == question.targets.answer
        found.append({"mask_iou": overlap, "joint": float(right and overlap >= HIT)})
    return found


def parse_letter(question: Question, reply: Reply) -> Parsed:
    """The letter at the beginning of the answer tag, or of the text where there is no tag."""
    tagged = re.search(r"<answer>\s*(.*?)\s*</answer>", reply.text, re.DOTALL | re.IGNORECASE)
    said = tagged[1] if tagged else reply.text.strip()
    letter = re.match(r"\s*([A-Da-d])[.)]?\s*", said)
    return letter[1].upper() if letter else said.upper()


def score_letter(question: Question, parsed: Parsed) -> dict[str, float]:
    """Equal to the true letter."""
    return {"accuracy": float(parsed == (question.targets.answer or "")[:1]), "parsed": float(bool(parsed))}


_NAMES = (*TASKS, *(task + MASKED for task in TASKS))
_PAPER = "TerraScope paper (arXiv 2603.19039), main table"
_MACRO = {
    **{"TerraScope-8B": 68.9, "GLM-4.1V fine-tuned": 59.6, "InternVL3-8B fine-tuned": 54.9},
    **{"Qwen3-VL-8B-Think": 43.3, "EarthMind-4B": 42.1, "GLM-4.1V-9B": 41.4, "GPT-4o": 38.7, "Qwen2.5-VL-7B": 38.5},
    **{"LLaVA-OV-7B": 37.5, "EarthDial-4B": 36.3, "InternVL3-8B": 36.0, "TEOChat-7B": 31.0},
}

BENCHMARK = Benchmark(
    name="terrascope_bench",
    summary="coverage, area, ranking, boundaries, distance, building change; answer and mask",
    find=finder("terrascope_bench", FILES, LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        rows={"terrascope_bench": 3837},
        annotation_licence="not stated where we looked",
        imagery_licence="terms of ChatEarthNet, BigEarthNet (Sentinel-1 and -2, Copernicus) and xBD",
        changes=(
            "The paper scores masks too; the published file has no masks and the published scorer reads none.",
            "Questions on building change and on radar need a second picture, which the published file does not hold.",
        ),
        published=tuple(Published(model, "macro mean of six tasks", value, _PAPER) for model, value in _MACRO.items()),
    ),
    protocols={
        "strict": Protocol(
            id="terrascope_bench-strict-1",
            parse=parse_choice,
            score=score_accuracy,
            main={task: "joint" if task.endswith(MASKED) else "accuracy" for task in _NAMES},
            corpus={task + MASKED: score_masks for task in TASKS},
        ),
        "official": Protocol(
            id="terrascope_bench-official-1",
            parse=parse_letter,
            score=score_letter,
            main=dict.fromkeys(_NAMES, "accuracy"),
            quirks=(
                "Without an answer tag the first letter of the text counts if it is A to D, so that `Because` is B.",
                "Masks are not scored. The paper's average is the mean over tasks, the program prints the mean over "
                "questions.",
            ),
        ),
    },
)
