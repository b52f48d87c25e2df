"""A benchmark in the formats of other tools, and the scores of many runs as one table.

VLMEvalKit reads a TSV file: https://github.com/open-compass/VLMEvalKit, docs/en/Development.md. It takes a file with
options for a test with options, and scores it; a file without any it only asks. lmms-eval reads a YAML file beside a
Python file: https://github.com/EvolvingLMMs-Lab/lmms-eval, docs/task_guide.md. Neither knows our protocols; their own
exact match is what they score by.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import PIL.Image

from lhrs_chat.errors import DataError
from lhrs_chat.geo.raster import Raster
from lhrs_chat.text.run_lengths import to_coco

from .benchmarks import Question
from .options import spelled
from .report import OVER, SCORES, write_whole
from .runs import Data

READ_BY_ALL = {".jpg", ".jpeg", ".png"}
LEADERBOARD = (
    *("benchmark", "protocol", "set", "task", "metric", "lower_is_better", "condition", "model", "score", "stderr"),
    *("questions", "images", "data", "data_sha256", "weights_sha256", "seed", "version"),
)
_SEVERAL = re.compile(r"[A-Z](?:[ ,;&]+[A-Z])+")
_INTRODUCTION = re.compile(r"\s*(?:choices|options|answers)\s*:?\s*$", re.IGNORECASE)
_LMMS_YAML = """\
# {name} as lmms-eval reads it. Its exact match is not one of our protocols ({protocols}).
# Data: {label}.
task: "{name}"
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/{name}.jsonl
test_split: test
output_type: generate_until
doc_to_visual: !function {name}_docs.doc_to_visual
doc_to_text: "question"
doc_to_target: "answer"
generation_kwargs:
  max_new_tokens: {tokens}
  temperature: 0
  do_sample: false
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: true
metadata:
  - version: 1.0
"""
_LMMS_DOCS = '''\
"""The pictures of a row of {name}, for lmms-eval."""

from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent


def doc_to_visual(doc):
    return [Image.open(FOLDER / name).convert("RGB") for name in doc["images"]]
'''


def encode(path: Path) -> tuple[bytes, str]:
    """A picture as a file that every tool opens, and its suffix: JPEG and PNG as they are, others as PNG of 8 bits.

    Raises:
        RasterError: the picture cannot be read.
    """
    if path.suffix.lower() in READ_BY_ALL and path.is_file():
        return path.read_bytes(), path.suffix.lower()
    with Raster.open(path) as raster:
        picture = PIL.Image.fromarray(raster.rgb())
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue(), ".png"


def truth(question: Question) -> str:
    """What is true, as text: the answer, else the first caption or box, else the number and the mask."""
    targets = question.targets
    if targets.answer is not None:
        return targets.answer
    if targets.captions:
        return targets.captions[0]
    if targets.boxes:
        return json.dumps([round(value, 2) for value in targets.boxes[0].xyxy])
    parts = [f"{targets.numbers[0].value:g}"] if targets.numbers else []
    return " ".join([*parts, *(json.dumps(to_coco(mask)) for mask in targets.masks)])


def _options(question: Question) -> tuple[str, dict[str, str], str]:
    """The question without its options, the options by letter, and the true letter.

    No options where it has none, or where several are true: then the text keeps what it has, and so does the truth.
    """
    spans = spelled(question.text, question.targets.choices)
    if not spans or _SEVERAL.fullmatch(truth(question)):
        return question.text, {}, truth(question)
    letters = [choice.lstrip("(")[0] for choice in question.targets.choices]
    words = [question.text[start:end] for start, end in spans]
    head = question.text[: spans[0][0]].rstrip()
    head = re.sub(rf"\(?{letters[0]}[).:]$", "", head)
    return _INTRODUCTION.sub("", head).strip(), dict(zip(letters, words, strict=True)), truth(question).lstrip("(")[:1]


def vlmevalkit(data: Data, folder: Path) -> list[Path]:
    """Write `NAME.tsv`: one question a row, the pictures inside as base64, options in columns A, B, C ...

    A benchmark with questions of both kinds becomes `NAME_options.tsv` and `NAME_open.tsv`, since VLMEvalKit takes a
    whole file for the one or the other.
    """
    name = data.benchmark.name
    split = [(question, *_options(question)) for question in data.questions]
    kinds = {"options": [row for row in split if row[2]], "open": [row for row in split if not row[2]]}
    if all(kinds.values()):
        return [_tsv(rows, folder / f"{name}_{kind}.tsv") for kind, rows in kinds.items()]
    return [_tsv(split, folder / f"{name}.tsv")]


def _tsv(split: Sequence[tuple[Question, str, dict[str, str], str]], path: Path) -> Path:
    """Write questions, each with its text, its options and its answer."""
    letters = sorted({letter for _, _, options, _ in split for letter in options})
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow(["index", "id", "image", "question", *letters, "answer", "category", "split"])
    known: dict[Path, str] = {}
    for index, (question, text, options, answer) in enumerate(split):
        for picture in question.images:
            if picture not in known:
                known[picture] = base64.b64encode(encode(picture)[0]).decode("ascii")
        pictures = [known[picture] for picture in question.images]
        image = pictures[0] if len(pictures) == 1 else json.dumps(pictures)
        cells = [options.get(letter, "") for letter in letters]
        writer.writerow([index, question.id, image, text, *cells, answer, question.task, question.subset])
    return write_whole(path, out.getvalue())


def lmms_eval(data: Data, folder: Path) -> list[Path]:
    """Write `NAME.yaml`, `NAME_docs.py`, `NAME.jsonl` and the pictures."""
    name = data.benchmark.name
    pictures = folder / f"{name}_images"
    pictures.mkdir(parents=True, exist_ok=True)
    known: dict[Path, str] = {}
    lines = []
    for question in data.questions:
        for path in question.images:
            if path not in known:
                content, suffix = encode(path)
                known[path] = f"{pictures.name}/{len(known):06d}{suffix}"
                (folder / known[path]).write_bytes(content)
        _, _, answer = _options(question)
        row = {"id": question.id, "images": [known[path] for path in question.images], "question": question.text}
        row |= {"answer": answer, "task": question.task, "set": question.subset}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    protocols = ", ".join(protocol.id for protocol in data.benchmark.protocols.values())
    tokens = max(question.max_new_tokens for question in data.questions)
    yaml = _LMMS_YAML.format(
        name=name, protocols=protocols, label=data.check.label, folder=folder.resolve(), tokens=tokens
    )
    return [
        write_whole(folder / f"{name}.jsonl", "".join(lines)),
        write_whole(folder / f"{name}_docs.py", _LMMS_DOCS.format(name=name)),
        write_whole(folder / f"{name}.yaml", yaml),
    ]


FORMATS: dict[str, Callable[[Data, Path], list[Path]]] = {"vlmevalkit": vlmevalkit, "lmms-eval": lmms_eval}
"""Formats of a benchmark by the name of the tool that reads them."""


def leaderboard(folders: Sequence[Path]) -> str:
    """The main scores of runs as CSV, best first within each protocol, set, task and condition.

    Raises:
        DataError: a folder holds no scores.
    """
    rows = [row for folder in folders for row in _rows(folder)]
    place = LEADERBOARD.index

    def order(row: list[Any]) -> tuple[Any, ...]:
        worse = row[place("score")] * (1 if row[place("lower_is_better")] else -1)
        return (*(row[place(name)] for name in ("benchmark", "protocol", "set", "task", "metric", "condition")), worse)

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(LEADERBOARD)
    rows.sort(key=order)
    writer.writerows(rows)
    return out.getvalue()


def _rows(folder: Path) -> Iterator[list[Any]]:
    path = folder / SCORES
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        run, state = summary["run"], summary["passport"]["state"]
        tail = [state, run["data_sha256"], run["weights_sha256"], run["seed"], run["version"]]
        found = [(row, row["task"], row["conditions"]) for row in summary["rows"] if row["main"]]
        for over in OVER:
            for row in summary["overall"]:
                means = {c: estimates[over] for c, estimates in row["conditions"].items() if over in estimates}
                found.append((row, f"{row['task']}, average over {over}", means))
        for row, task, conditions in found:
            head = [run["benchmark"], row["protocol"], row["subset"], task, row["metric"]]
            for condition, e in conditions.items():
                score = [e["mean"], e["stderr"], e["questions"], e["images"]]
                yield [*head, row.get("lower_is_better", False), condition, run["model"], *score, *tail]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "there are no scores here", found=f"{path}: {error!r}", next_step=f"python -m eval score {folder}"
        ) from error
