"""LHRS-Bench: 690 single-choice questions of eleven types about 108 Google Earth pictures."""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from lhrs_chat.formats.rows import Pictures, Row, read_json
from lhrs_chat.schema import Targets

from . import Benchmark, Parsed, Passport, Protocol, Published, Question, Reply
from ._reading import checked, finder
from ._scoring import LETTERS, parse_choice, reply_of, score_accuracy

LOCATION = "Hugging Face data set PumpkinCat/LHRS_Data, folder LHRS-Bench"
TASK = "choice"
INSTRUCTION = " Answer from the given choices with A., B., C., D., etc."
TOKENS = 10
_OPTION = re.compile(r"(?<!\w)([A-P])[.):]\s*(.*?)\s*(?=(?<!\w)[A-P][.):]\s|$)", re.DOTALL)

find = finder("lhrs_bench", ["qa.json"], LOCATION)


def load(folder: Path) -> list[Question]:
    """All questions, in the order of the file.

    Raises:
        DataError: a row is broken, a picture is missing, the answer is no letter of the choices.
    """
    data = read_json(folder / "qa.json")
    names = {key.split(" ")[0]: key.split(" ")[1] for key in data.row("qtype").values if " " in key}
    pictures = Pictures([folder, folder / "imgs_png", folder / "imgs_jpg"])
    questions = []
    for group in data.rows("data"):
        name = group.text("filename")
        path = pictures.path(name, group.where)
        for place, row in enumerate(group.rows("qa_pairs")):
            targets = _targets(row, names)
            text = f"{row.text('question')}\nChoices: {row.text('choices')}{INSTRUCTION}"
            questions.append(
                Question(
                    id=f"{name}#{place}",
                    task=TASK,
                    text=text,
                    images=(path,),
                    size_px=pictures.size_px(path, row.where),
                    subset="lhrs_bench",
                    scene_id=name,
                    licence=BENCHMARK.passport.imagery_licence,
                    targets=targets,
                    max_new_tokens=TOKENS,
                )
            )
    return checked(questions, folder)


def _targets(row: Row, names: dict[str, str]) -> Targets:
    """The options, the true one, and the types that the question counts in."""
    options = tuple(f"{letter}. {text.rstrip(' ,;(')}" for letter, text in _OPTION.findall(row.text("choices")))
    letter = row.text("answer").rstrip(".").upper()
    if not options or [option[0] for option in options] != list(LETTERS[: len(options)]):
        raise row.bad("choices", "A. one B. two C. three")
    right = [option for option in options if option[0] == letter]
    if not right:
        raise row.bad("answer", ", ".join(option[0] for option in options))
    types = row.values.get("type")
    if not isinstance(types, list) or not types or any(str(number) not in names for number in types):
        raise row.bad("type", f"a list of {', '.join(names)}")
    return Targets(answer=right[0], choices=options, labels=tuple(names[str(number)] for number in types))


def parse_first(question: Question, reply: Reply) -> str:
    """The first character, without punctuation and without the article `a`."""
    return _plain(reply.text[:1])


def _plain(text: str) -> str:
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", kept).split())


def score_first(question: Question, parsed: Parsed) -> dict[str, float]:
    """Equal to the true letter, which has lost its `a` too."""
    return {"accuracy": float(parsed == _plain(_letter(question))), "parsed": 1.0}


def parse_before_dot(question: Question, reply: Reply) -> str:
    """What stands before the first full stop, without spaces, in lower case."""
    return reply.text.replace(" ", "").split(".")[0].strip().lower()


def score_inside(question: Question, parsed: Parsed) -> dict[str, float]:
    """Whether the answer is a part of the true letter."""
    return {"accuracy": float(str(parsed) in _letter(question).lower()), "parsed": 1.0}


def _letter(question: Question) -> str:
    return (question.targets.answer or "")[:1]


def by_type(
    parse: Callable[[Question, Reply], Parsed], score: Callable[[Question, Parsed], dict[str, float]]
) -> Callable[[Sequence[Question], Sequence[str]], dict[str, float]]:
    """Accuracy of each type, and the published average over types; a question counts in each of its types.

    A type that lost its questions counts 0, but not in the average.
    """

    def measure(questions: Sequence[Question], texts: Sequence[str]) -> dict[str, float]:
        hits: dict[str, list[float]] = {}
        for question, text in zip(questions, texts, strict=True):
            right = score(question, parse(question, reply_of(question, text)))["accuracy"]
            for name in question.targets.labels:
                hits.setdefault(f"accuracy_{name}", []).append(right)
        types = {name: sum(found) / len(found) for name, found in sorted(hits.items())}
        return defaultdict(float, {"average_over_types": sum(types.values()) / len(types), **types})

    return measure


def _protocol(
    name: str,
    parse: Callable[[Question, Reply], Parsed],
    score: Callable[[Question, Parsed], dict[str, float]],
    *quirks: str,
) -> Protocol:
    return Protocol(
        id=f"lhrs_bench-{name}-1",
        parse=parse,
        score=score,
        main={TASK: "accuracy"},
        pooled={TASK: by_type(parse, score)},
        quirks=quirks,
    )


_README = "LHRS-Bot README figure; overall value as quoted by third parties"
_SCORERS = "ScoreRS paper, Table 4"

BENCHMARK = Benchmark(
    name="lhrs_bench",
    summary="690 single-choice questions of eleven types, LHRS-Bench",
    find=find,
    load=load,
    passport=Passport(
        location=LOCATION,
        rows={"lhrs_bench": 690},
        annotation_licence="MIT (tag of the Hugging Face data set)",
        imagery_licence="Google Earth imagery, Google's terms",
        changes=("A second copy, LHRS-Bench.json of LHRS/RSRM, holds the same questions in another layout.",),
        published=(
            Published("LHRS-Bot", "accuracy, official", 39.38, _README),
            Published("LHRS-Bot-Nova", "accuracy, scorers", 52.46, _SCORERS),
            Published("Qwen2-VL-7B", "accuracy, scorers", 64.78, _SCORERS),
            Published("InternVL2.5-8B", "accuracy, scorers", 65.86, _SCORERS),
            Published("GeoChat", "accuracy, scorers", 36.23, _SCORERS),
            Published("VHM", "accuracy, scorers", 33.04, _SCORERS),
            Published("SkySenseGPT", "accuracy, scorers", 36.37, _SCORERS),
        ),
    ),
    protocols={
        "strict": _protocol("strict", parse_choice, score_accuracy),
        "official": _protocol(
            "official",
            parse_first,
            score_first,
            "Only the first character of the answer is read, so that `The answer is B` is read as `t`.",
            "The article `a` is removed from the answer and from the key: where A is right, anything whose first "
            "character is a space or punctuation, such as `(B)`, is right too.",
            "An empty answer stops the published program; here it is scored like a space, right where A is right.",
        ),
        "scorers": _protocol(
            "scorers",
            parse_before_dot,
            score_inside,
            "The answer is right where it is a part of the key, so that an empty answer is always right.",
        ),
    },
)
