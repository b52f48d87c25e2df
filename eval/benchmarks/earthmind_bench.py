"""EarthMind-Bench: questions about pairs of an optical and a radar picture, asked with one, the other, and both.

Read are the five files of questions with options and the open-ended ones. The multispectral addition and the
segmentation part are other formats and are not read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lhrs_chat.schema import Targets

from . import Benchmark, Parsed, Passport, Protocol, Published, Question, Reply, _captions
from ._reading import Pictures, Row, checked, finder, read_list
from ._scoring import lettered, parse_choice, score_accuracy

LOCATION = "Hugging Face data set sy1998/EarthMind-Bench: folders json and img"
CHOSEN = {
    "hallucination_detection_all_unmatched": "hallucination_detection",
    "object_counting_all_unmatched": "object_counting",
    "object_existence_all_unmatched": "object_existence",
    "spatial_relationship_all_unmatched": "spatial_relationship",
    "scene_classification_unmatched": "scene_classification",
}
OPEN = {
    "caption_all_unmatched": "open_caption",
    "disaster_all_unmatched": "open_disaster",
    "Navigation_all_unmatched": "open_route",
    "urban_all_unmatched": "open_urban",
}
OPTICAL, RADAR, BOTH = "optical", "radar", "both"
BEFORE = {
    OPTICAL: "",
    RADAR: "The picture is a radar picture. ",
    BOTH: "The first picture is optical, the second a radar picture of the same place. ",
}
TOKENS, OPEN_TOKENS = 32, 256


def load(folder: Path) -> list[Question]:
    """All questions of the files that lie in the folder, three times each.

    Raises:
        DataError: a row is broken, the answer is no candidate, a picture is missing.
    """
    roots = [folder / "img" / "test", folder / "test", folder]
    optical = Pictures([root / "rgb" / "img" for root in roots])
    radar = Pictures([root / "sar" / "img" for root in roots])
    questions: list[Question] = []
    for file, task in (CHOSEN | OPEN).items():
        path = next(
            (place / f"{file}.json" for place in (folder / "json", folder) if (place / f"{file}.json").is_file()), None
        )
        for place, row in enumerate(read_list(path) if path is not None else []):
            name = row.text("file_name").removesuffix(".json").removesuffix(".png") + ".png"
            pair = (optical.path(name, row.where), radar.path(name, row.where))
            shown = {OPTICAL: pair[:1], RADAR: pair[1:], BOTH: pair}
            sizes = {OPTICAL: optical, RADAR: radar, BOTH: optical}
            for mode, images in shown.items():
                asked = _question(row, task, f"{task}#{place}@{mode}", name)
                questions.append(
                    replace(
                        asked,
                        text=BEFORE[mode] + asked.text,
                        images=images,
                        size_px=sizes[mode].size_px(images[0], row.where),
                        subset=mode,
                    )
                )
    return checked(questions, folder)


def _question(row: Row, task: str, number: str, name: str) -> Question:
    """A question without its pictures."""
    text, targets = row.text("question"), Targets(captions=(row.text("answer"),))
    if task in CHOSEN.values():
        options = row.texts("candidate")
        answer = row.one_of("answer", options)
        named = options if all(option[1:2] in (".", ")") for option in options) else lettered(options)
        text = "\n".join([text, *named, "Answer with the right option only."])
        targets = Targets(answer=named[options.index(answer)], choices=named, labels=(answer,))
    return Question(
        id=number,
        task=task,
        text=text,
        images=(),
        size_px=(0, 0),
        subset="",
        scene_id=name,
        licence=BENCHMARK.passport.imagery_licence,
        targets=targets,
        max_new_tokens=OPEN_TOKENS if task in OPEN.values() else TOKENS,
    )


def parse(question: Question, reply: Reply) -> Parsed:
    """The option, or the text of an open answer."""
    return parse_choice(question, reply) if question.targets.choices else _captions.parse(question, reply)


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """Right or wrong; open answers are scored over the set."""
    return score_accuracy(question, parsed) if question.targets.choices else _captions.score(question, parsed)


def parse_whole(question: Question, reply: Reply) -> Parsed:
    """The answer as it is."""
    return reply.text.replace("<|end|>", "")


def score_whole(question: Question, parsed: Parsed) -> dict[str, float]:
    """Equal to the option, to the letter; open answers are left out."""
    if not question.targets.choices:
        return {}
    right = parsed in (*question.targets.labels, question.targets.answer)
    return {"accuracy": float(right), "parsed": 1.0}


_SOURCE = "EarthMind paper, second version, as quoted by third parties"
_TASKS = {
    "spatial_relationship": (59.7, 59.7),
    "hallucination_detection": (88.1, 90.2),
    "object_existence": (84.4, 80.9),
    "object_counting": (52.4, 47.0),
    "scene_classification": (65.5, 96.9),
}

BENCHMARK = Benchmark(
    name="earthmind_bench",
    summary="pairs of optical and radar pictures: five tasks with options, four open ones, three ways to show them",
    find=finder(
        "earthmind_bench", [f"{place}{file}.json" for file in CHOSEN | OPEN for place in ("json/", "")], LOCATION
    ),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="not stated where we looked",
        imagery_licence="terms of OpenEarthMap-SAR, DFC2023, WHU-OPT-SAR, SpaceNet 6 and others",
        changes=(
            "The mean over tasks was a mean over questions in the first version of the paper.",
            "A user measured other numbers with the published model and files (issue 11 of Earth-Observation-VLMs).",
        ),
        published=(
            *(Published("EarthMind-4B", f"{task}, both", row[0], _SOURCE) for task, row in _TASKS.items()),
            *(
                Published("EarthMind-4B", f"{task}, both", row[1], "user's rerun, issue 11")
                for task, row in _TASKS.items()
            ),
            Published("EarthMind-4B", "mean over tasks, both", 70.0, _SOURCE),
            Published("EarthMind-4B", "mean over questions, optical", 69.0, "EarthMind paper, first version"),
            Published("EarthMind-4B", "mean over questions, radar", 67.5, "EarthMind paper, first version"),
            Published("EarthMind-4B", "mean over questions, both", 70.6, "EarthMind paper, first version"),
        ),
    ),
    protocols={
        "strict": Protocol(
            id="earthmind_bench-strict-1",
            parse=parse,
            score=score,
            main=dict.fromkeys(CHOSEN.values(), "accuracy") | dict.fromkeys(OPEN.values(), "cider"),
            corpus=dict.fromkeys(OPEN.values(), _captions.each),
            pooled=dict.fromkeys(OPEN.values(), _captions.whole),
        ),
        "official": Protocol(
            id="earthmind_bench-official-1",
            parse=parse_whole,
            score=score_whole,
            main=dict.fromkeys(CHOSEN.values(), "accuracy"),
            quirks=(
                "Only an answer that equals the text of the option to the letter is right; a letter alone, other case "
                "or a full stop is wrong.",
                "A question that the published program could not ask leaves the denominator; here each one is asked.",
                "Open answers are judged by GPT-4 there, a failure of the judge counts as -1; no judge is asked here.",
            ),
        ),
    },
)
