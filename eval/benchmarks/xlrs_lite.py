"""XLRS-Bench-lite: questions with options about pictures of some 8,500 pixels a side; one type has several answers."""

from __future__ import annotations

import re
from pathlib import Path

from lhrs_chat.formats.rows import Pictures, Row
from lhrs_chat.schema import Targets
from lhrs_chat.text import answers

from . import Benchmark, Parsed, Passport, Protocol, Question, Reply
from ._reading import checked, finder
from ._scoring import LETTERS
from ._tables import read_parquet, unpack_picture

LOCATION = "Hugging Face data set initiacms/XLRS-Bench-lite, Parquet files"
PATTERNS = ("*.parquet", "data/*.parquet", "train/*.parquet", "test/*.parquet")
SEVERAL = "Land use classification/Overall Land use classification"
TASKS = (
    *("Complex reasoning/Anomaly Detection and Interpretation", "Complex reasoning/Environmental condition reasoning"),
    *("Complex reasoning/Route planning", "Counting/Counting with changing detection"),
    *("Counting/Counting with complex reasoning", "Counting/Overall counting", "Counting/Regional counting", SEVERAL),
    *("Land use classification/Regional Land use classification", "Object properties/Object classification"),
    *("Object properties/Object color", "Object properties/Object motion state"),
    "Object spatial relationship/Object spatial relationship",
)
TOKENS = 32


def load(folder: Path) -> list[Question]:
    """All rows of the files, their pictures unpacked into the cache.

    Raises:
        DataError: a row is broken, or its answer is no letter of its options.
    """
    pictures = Pictures([folder])
    questions = []
    for path in sorted({path for pattern in PATTERNS for path in folder.glob(pattern)}):
        for row in read_parquet(path):
            cells = row.values.get("image")
            images = tuple(
                unpack_picture(Row({"image": cell}, row.where), "image")
                for cell in (cells if isinstance(cells, list) else [cells])
            )
            if not images:
                raise row.bad("image", "one picture or more")
            category = row.one_of("category", TASKS)
            questions.append(
                Question(
                    id=f"xlrs#{row.word('index')}",
                    task=category.split("/")[1].replace(" ", "_").lower(),
                    text=_ask(row, category),
                    images=images,
                    size_px=pictures.size_px(images[0], row.where),
                    subset="xlrs_lite",
                    scene_id=images[0].stem,
                    licence=BENCHMARK.passport.imagery_licence,
                    targets=_targets(row),
                    max_new_tokens=TOKENS,
                )
            )
    return checked(questions, folder)


def _ask(row: Row, category: str) -> str:
    end = "Answer with the letters of all right options." if category == SEVERAL else "Answer with one letter."
    return "\n".join([row.text("question"), *_options(row), end])


def _options(row: Row) -> tuple[str, ...]:
    """`A. text`, from `(A) text`, `A. text` or `A text`."""
    found = []
    for option in row.texts("multi-choice options"):
        match = re.match(r"\(?([A-Z])(?:[).:]\s*|\s+)(.*)", option, re.DOTALL)
        if match is None:
            raise row.bad("multi-choice options", "(A) one, (B) two")
        found.append(f"{match[1]}. {match[2]}")
    if "".join(option[0] for option in found) != LETTERS[: len(found)]:
        raise row.bad("multi-choice options", "letters in order, each once")
    return tuple(found)


def _targets(row: Row) -> Targets:
    options = _options(row)
    letters = sorted(set(re.sub(r"[\s,()]", "", row.text("answer"))))
    if not letters or any(letter not in LETTERS[: len(options)] for letter in letters):
        raise row.bad("answer", f"letters of {', '.join(option[0] for option in options)}")
    return Targets(answer=" ".join(letters), choices=options, labels=tuple(letters))


def parse(question: Question, reply: Reply) -> Parsed:
    """The letters chosen, in order."""
    found = answers.several(reply.text, question.targets.choices)
    return None if found is None else " ".join(option[0] for option in found)


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """All right options and no other."""
    return {"accuracy": float(parsed == question.targets.answer), "parsed": float(parsed is not None)}


_LEADS = (
    *("The best answer is", "The correct answer is", "The answer is", "The answer"),
    *("The best option isThe correct option is", "Best answer:Best option:"),
)


def parse_letters(question: Question, reply: Reply) -> str:
    """Every letter from a to e that the published pattern finds, in words too."""
    said = reply.text.strip()
    for lead in _LEADS:
        said = said.replace(lead, "")
    if not re.search("[ABCDE]", said):
        return ""
    found = re.findall(r"\(([a-eA-E])\)", said) or re.findall(r"(?:^|\s)?([a-eA-E])(?:$|[\s,.])?", said)
    return " ".join(sorted({letter.upper() for letter in found}))


BENCHMARK = Benchmark(
    name="xlrs_lite",
    summary="questions with options about very large pictures, thirteen types",
    find=finder("xlrs_lite", PATTERNS, LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="CC BY-NC or CC BY-NC-SA",
        imagery_licence="four groups of terms; pictures of Toronto and Potsdam may not be passed on",
        changes=(
            "The full benchmark has 45,942 annotations on 1,400 pictures; its answers are to be had by e-mail.",
            "Captions and grounding are other data sets (XLRS-Bench_caption_en, XLRS-Bench_visual_grounding_en); "
            "their columns and the frame of their boxes are documented nowhere we could look: they are not read.",
        ),
    ),
    protocols={
        "strict": Protocol(
            id="xlrs_lite-strict-1",
            parse=parse,
            score=score,
            main={task.split("/")[1].replace(" ", "_").lower(): "accuracy" for task in TASKS},
        ),
        "official": Protocol(
            id="xlrs_lite-official-1",
            parse=parse_letters,
            score=score,
            main={task.split("/")[1].replace(" ", "_").lower(): "accuracy" for task in TASKS},
            quirks=(
                "This is the scorer of lmms-eval: it collects the letters a to e in words too, so that "
                "`B. There are three cars` is read as A, B, C, E and wrong.",
                "A text without a capital A to E is read as no answer.",
            ),
        ),
    },
)
