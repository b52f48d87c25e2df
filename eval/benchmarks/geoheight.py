"""Questions about heights: a suite in the style of GeoHeight-Bench, asked with the real height, none, and a wrong one.

GeoHeight-Bench and its plus suite (arXiv 2603.25565) name ten tasks on four levels; their data and metrics are not
public. What is scored here is a suite of our own: do not compare its numbers with theirs.

A suite is a folder with one file of rows. Its name says how rows are written: `neutral.jsonl` is the schema below,
`short.jsonl` one flat row a question. A new format is one more entry of `ADAPTERS`. Without a folder a synthetic suite
with exact heights is made.

Neutral row: `id`, `suite` (bench, plus, custom), `level`, `task`, `image`, `height` [{`path`, `kind` (nDSM, DSM, DTM,
DEM, CHM), `unit`, `scale`, `offset`, `gsd_m`}], `question`, `options`, `answer` {`type` (number, choice, ranking, mask,
mask_and_number, text), `value`, `unit`, `order`, `mask_rle`}, `tolerance` {`abs`, `rel`}, `scene_id`, `licence`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Pictures, Row, read_list
from lhrs_chat.registry import cache_folder
from lhrs_chat.schema import Number, Targets
from lhrs_chat.text import answers

from . import Benchmark, Parsed, Passport, Protocol, Question, Reply, _captions, _height_scenes, _masks
from ._reading import VARIABLE, checked, finder
from ._scoring import lettered, parse_choice, score_accuracy

TASKS = (
    *("elevation_retrieval", "pixel_info", "instance_extraction", "height_ranking", "pattern_description"),
    *("threshold_segmentation", "class_segmentation", "slope_info", "landslides_inference", "flooding_inference"),
    "other",
)
LEVELS = ("pixel", "object", "scene", "reasoning")
SUITES = ("bench", "plus", "custom")
KINDS = ("nDSM", "DSM", "DTM", "DEM", "CHM")
NUMBER, CHOICE, RANKING, MASK, BOTH, TEXT = "number", "choice", "ranking", "mask", "mask_and_number", "text"
TYPES = (NUMBER, CHOICE, RANKING, MASK, BOTH, TEXT)
REAL_HEIGHT, NO_HEIGHT, SHUFFLED_HEIGHT = "real height", "no height", "shuffled height"
SYNTHETIC = "geoheight-synthetic-1"
SCENES, SEED = 24, 1
TOKENS, LONG_TOKENS = 32, 512
NUMERIC = (NUMBER, BOTH)


def neutral(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rows that are neutral already."""
    return row


def short(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Flat rows: `height` is the path of an nDSM in metres, `answer` a number (with `unit`) or one of `options`."""
    answer = row.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        written: dict[str, Any] = {"type": NUMBER, "value": answer, "unit": row.get("unit", "m")}
    else:
        written = {"type": CHOICE if row.get("options") else TEXT, "value": answer}
    height = [{"path": row.get("height"), "kind": "nDSM", "unit": "m"}]
    return {"suite": "custom", "level": "scene", "task": "other", **row, "height": height, "answer": written}


ADAPTERS: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {"neutral": neutral, "short": short}
_find = finder("geoheight", [f"{name}.jsonl" for name in ADAPTERS], "no public data; write rows as described above")


def find(given: Path | None) -> Path:
    """The folder that was given or lies in the usual place; else the synthetic suite, made once in the cache.

    Raises:
        DataError: the folder holds no file of rows.
    """
    if given is not None or os.environ.get(VARIABLE):
        return _find(given)
    folder = cache_folder() / "benchmarks" / SYNTHETIC
    return folder if (folder / "neutral.jsonl").is_file() else _height_scenes.write(folder, SCENES, SEED)


def load(folder: Path) -> list[Question]:
    """All questions three times: with the real height, without any, and with the height of another scene.

    Raises:
        DataError: a row is broken, a picture is missing, a mask has another size than its picture.
    """
    pictures = Pictures([folder])
    questions: list[Question] = []
    for name, adapt in ADAPTERS.items():
        if (folder / f"{name}.jsonl").is_file():
            for row in read_list(folder / f"{name}.jsonl"):
                questions.append(_question(Row(adapt(row.values), row.where), pictures))
    checked(questions, folder)
    return checked([*questions, *map(without_height, questions), *with_other_heights(questions)], folder)


def _question(row: Row, pictures: Pictures) -> Question:
    image = pictures.path(row.text("image"), row.where)
    size_px = pictures.size_px(image, row.where)
    paths, words = [image], []
    for place, height in enumerate(row.rows("height")):
        path = pictures.path(height.text("path"), height.where)
        if pictures.size_px(path, height.where) != size_px:
            raise DataError(
                f"{height.where}: the height has another size than the picture", found=path, allowed=size_px
            )
        paths.append(path)
        words.append(_explain(place + 2, height))
    for name, allowed in (("suite", SUITES), ("level", LEVELS), ("task", TASKS)):
        row.one_of(name, allowed)
    kind = row.row("answer").one_of("type", TYPES)
    return Question(
        id=row.word("id"),
        same_as=row.word("id"),
        task=f"{row.text('task')}_{kind}",
        text="\n".join([*words, _ask(row, kind)]),
        images=tuple(paths),
        size_px=size_px,
        subset=REAL_HEIGHT,
        scene_id=row.text("scene_id"),
        licence=row.text("licence"),
        targets=_targets(row, kind, size_px),
        error_cap=max(abs(row.row("answer").number("value")), 1.0) if kind in NUMERIC else 0.0,
        max_new_tokens=TOKENS if kind in (NUMBER, CHOICE, RANKING) else LONG_TOKENS,
    )


def _explain(place: int, height: Row) -> str:
    """One sentence on what a height picture shows."""
    kind = height.one_of("kind", KINDS)
    if "scale" not in height.values:
        return f"Picture {place} shows heights ({kind}): brighter is higher."
    scale, offset = height.number("scale"), float(height.values.get("offset", 0.0))
    added = f", plus {offset:g} m" if offset else ""
    return f"Picture {place} shows heights ({kind}): grey level times {scale:.4g} m{added}."


def _ask(row: Row, kind: str) -> str:
    if kind == CHOICE:
        return "\n".join([row.text("question"), *lettered(row.texts("options")), "Answer with the letter."])
    return row.text("question") + (_masks.WORDS if kind in (MASK, BOTH) else "")


def _targets(row: Row, kind: str, size_px: tuple[int, int]) -> Targets:
    answer = row.row("answer")
    if kind == CHOICE:
        options = row.texts("options")
        right = answer.one_of("value", options)
        return Targets(answer=lettered(options)[options.index(right)], choices=lettered(options))
    if kind == RANKING:
        options, order = row.texts("options"), answer.texts("order")
        if sorted(order) != sorted(options):
            raise answer.bad("order", f"all of {', '.join(options)}, each once")
        return Targets(answer=" ".join(order), labels=order, choices=options)
    if kind == TEXT:
        return Targets(captions=(answer.text("value"),))
    found = Targets()
    if kind in NUMERIC:
        value = answer.number("value")
        slack = row.row("tolerance") if "tolerance" in row.values else Row({}, row.where)
        near = slack.number("abs") if "abs" in slack.values else 0.0
        wide = max(near, slack.number("rel") * abs(value) if "rel" in slack.values else 0.0)
        unit = answer.one_of("unit", answers.UNITS)
        found = replace(found, numbers=(Number(value, unit), Number(wide, unit, label="tolerance")))
    if kind in (MASK, BOTH):
        mask = _masks.true_mask(answer.values.get("mask_rle"), size_px, row.where)
        found = replace(found, masks=(mask,))
    return found


def without_height(question: Question) -> Question:
    """The question with its optical picture only."""
    words = question.text.split("\n")[len(question.images) - 1 :]
    return replace(
        question, id=f"{question.id}@none", text="\n".join(words), images=question.images[:1], subset=NO_HEIGHT
    )


def with_other_heights(questions: Sequence[Question]) -> list[Question]:
    """The questions with heights that belong to another scene with as many and as large height pictures."""
    pools: dict[tuple[int, tuple[int, int]], dict[tuple[Path, ...], str]] = {}
    for question in questions:
        pool = pools.setdefault((len(question.images), question.size_px), {})
        pool[question.images[1:]] = question.scene_id
    found = []
    for question in questions:
        pool = pools[len(question.images), question.size_px]
        heights = list(pool)
        at = heights.index(question.images[1:])
        others = [other for other in heights[at + 1 :] + heights[:at] if pool[other] != question.scene_id]
        if others and question.images[1:]:
            images = (question.images[0], *others[0])
            found.append(replace(question, id=f"{question.id}@other", images=images, subset=SHUFFLED_HEIGHT))
    return found


def parse(question: Question, reply: Reply) -> Parsed:
    """A letter, an order, a number in the unit asked for, or the text that holds a mask."""
    targets = question.targets
    if targets.labels:
        return _order(reply.text, targets.choices)
    if targets.choices:
        return parse_choice(question, reply)
    if targets.numbers:
        plain = re.sub(r"\{[^{}]*\}", " ", reply.text)
        number = answers.number(plain)
        return None if number is None else _value(number, targets.numbers[0].unit)
    if targets.masks:
        return reply.text if answers.masks(reply.text) else None
    return reply.text.strip() or None


def _value(number: Number, unit: str) -> float | None:
    return number.value if number.unit == "" else answers.in_unit(number, unit)


def _order(text: str, options: Sequence[str]) -> str | None:
    """All options, each once, in the order they are named."""
    pattern = "|".join(re.escape(option) for option in sorted(options, key=len, reverse=True))
    said = re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", text)
    return " ".join(said) if sorted(said) == sorted(options) else None


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """Metrics by type of answer; masks are scored over the texts, see `_masks.each`."""
    targets, found = question.targets, {"parsed": float(parsed is not None)}
    if targets.labels:
        return {"exact": float(parsed == targets.answer), "kendall_tau": _tau(parsed, targets.labels), **found}
    if targets.choices:
        return score_accuracy(question, parsed)
    if not targets.numbers:
        return found
    wanted, slack = targets.numbers
    off = abs(parsed - wanted.value) if isinstance(parsed, float) else float("inf")
    return {"within_tolerance": float(off <= slack.value), "mae": min(off, question.error_cap), **found}


def _tau(parsed: Parsed, order: Sequence[str]) -> float:
    """Kendall's tau of two orders without ties: (agreeing - other pairs) / pairs; -1 where no order was read."""
    if not isinstance(parsed, str):
        return -1.0
    place = {name: position for position, name in enumerate(parsed.split(" "))}
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    return float(np.mean([1.0 if place[a] < place[b] else -1.0 for a, b in pairs]))


_METRIC = {NUMBER: "within_tolerance", CHOICE: "accuracy", RANKING: "exact", MASK: "mask_iou", BOTH: "mask_iou"}

BENCHMARK = Benchmark(
    name="geoheight",
    summary="questions about heights, with the real height, none, and another scene's; synthetic truth",
    find=find,
    load=load,
    passport=Passport(
        location="synthetic suite: made here; GeoHeight-Bench itself: no public data found",
        annotation_licence=_height_scenes.LICENCE,
        imagery_licence=f"{_height_scenes.LICENCE} for the synthetic suite; as each row says for others",
        changes=("No number of GeoHeight-Bench can be compared: its data, units and metrics are not published.",),
    ),
    protocols={
        "strict": Protocol(
            id="geoheight-strict-1",
            parse=parse,
            score=score,
            main={f"{task}_{kind}": _METRIC.get(kind, "cider") for task in TASKS for kind in TYPES},
            corpus={
                f"{task}_{kind}": _masks.each if kind != TEXT else _captions.each
                for task in TASKS
                for kind in (MASK, BOTH, TEXT)
            },
            lower_is_better=frozenset({"mae"}),
        )
    },
    reference=REAL_HEIGHT,
)
