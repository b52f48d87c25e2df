"""EarthMind-Bench: questions about pairs of an optical and a radar picture, asked with one, the other, and both.

Read are the questions with options, those with a multispectral picture in place of the optical one, the open-ended
ones, and the segmentation part in RefCOCO's layout (`sarnew`: `instances.json`, `refs(unc).p`, folders `rgb`, `sar`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Pictures, Row, read_list
from lhrs_chat.metrics import masks as mask_metrics
from lhrs_chat.schema import Targets
from lhrs_chat.text import answers

from . import Benchmark, Parsed, Passport, Protocol, Published, Question, Reply, _bands, _captions, _masks, _refcoco
from ._reading import checked, finder
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
FILES = [f"{place}{file}.json" for file in (*CHOSEN, *OPEN, "ms_scene_classification_qa") for place in ("json/", "")]
FILES += [f"{place}instances.json" for place in ("sarnew/", "")]
OPTICAL, RADAR, BOTH = "optical", "radar", "both"
BEFORE = {
    OPTICAL: "",
    RADAR: "The picture is a radar picture. ",
    BOTH: "The first picture is optical, the second a radar picture of the same place. ",
}
BEFORE_MS = {
    OPTICAL: "The pictures show the bands of one multispectral picture, the first one in true colour. ",
    RADAR: BEFORE[RADAR],
    BOTH: "The first four pictures show the bands of one multispectral picture, the last is a radar picture of it. ",
}
MULTISPECTRAL, MS_SCENE = "ms_scene_classification_qa", "multispectral_scene_classification"
SEGMENTATION = "segmentation"
TOKENS, OPEN_TOKENS, MASK_TOKENS = 32, 256, 1024


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
        for place, row in enumerate(_rows(folder, file)):
            name = row.text("file_name").removesuffix(".json").removesuffix(".png") + ".png"
            asked = _question(row, task, f"{task}#{place}", name)
            pair = (optical.path(name, row.where),), radar.path(name, row.where)
            questions += _three(asked, *pair, BEFORE, optical, row.where)
    questions += _multispectral(folder, [root / "ms_sar" for root in roots])
    return checked([*questions, *_segmentation(folder)], folder)


def _rows(folder: Path, file: str) -> list[Row]:
    """The rows of a file of questions; none where it is not there."""
    places = (folder / "json" / f"{file}.json", folder / f"{file}.json")
    return next((read_list(path) for path in places if path.is_file()), [])


def _three(
    asked: Question, optical: tuple[Path, ...], radar: Path, before: Mapping[str, str], sizes: Pictures, where: str
) -> list[Question]:
    """A question with each sensor and with both."""
    shown = {OPTICAL: optical, RADAR: (radar,), BOTH: (*optical, radar)}
    return [
        replace(
            asked,
            id=f"{asked.id}@{mode}",
            text=before[mode] + asked.text,
            images=images,
            size_px=sizes.size_px(images[0], where),
            subset=mode,
            same_as=asked.id,
        )
        for mode, images in shown.items()
    ]


def _multispectral(folder: Path, roots: Sequence[Path]) -> list[Question]:
    """Scene classification with the bands of Sentinel-2 in four pictures, and with radar."""
    radar = Pictures([root / "sar" / "img" for root in roots])
    questions: list[Question] = []
    for place, row in enumerate(_rows(folder, MULTISPECTRAL)):
        name = row.text("file_name").removesuffix(".json").removesuffix(".png")
        bands = next((root / "ms" / "img" for root in roots if (root / "ms" / "img").is_dir()), roots[0] / "ms" / "img")
        optical = _bands.compose(bands, name, row.where)
        asked = _question(row, MS_SCENE, f"{MS_SCENE}#{place}", name)
        questions += _three(asked, optical, radar.path(f"{name}.png", row.where), BEFORE_MS, radar, row.where)
    return questions


def _segmentation(folder: Path) -> list[Question]:
    """Expressions whose region is to be marked."""
    place = next((p for p in (folder / "sarnew", folder) if (p / _refcoco.INSTANCES).is_file()), None)
    if place is None:
        return []
    optical, radar = Pictures([place / "rgb"]), Pictures([place / "sar"])
    questions: list[Question] = []
    for said in _refcoco.read(place, "test"):
        rgb, sar = optical.path(Path(said.file).name, said.where), radar.path(said.file, said.where)
        sizes = {pictures.size_px(path, said.where)[::-1] for pictures, path in ((optical, rgb), (radar, sar))}
        if sizes != {said.mask.shape_px}:
            raise DataError(f"{said.where}: the mask has another size", found=said.mask.shape_px, allowed=sorted(sizes))
        asked = Question(
            id=f"{SEGMENTATION}#{said.place}",
            task=SEGMENTATION,
            text=f"Mark {said.text.strip().rstrip('.')}.{_masks.WORDS}",
            images=(),
            size_px=(0, 0),
            subset="",
            scene_id=said.file,
            licence=BENCHMARK.passport.imagery_licence,
            targets=Targets(masks=(said.mask,)),
            max_new_tokens=MASK_TOKENS,
        )
        questions += _three(asked, (rgb,), sar, BEFORE, optical, said.where)
    return questions


def _question(row: Row, task: str, number: str, name: str) -> Question:
    """A question without its pictures."""
    text, targets = row.text("question"), Targets(captions=(row.text("answer"),))
    if task not in OPEN.values():
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
    """The option, or the text of an open answer or of a mask."""
    if question.targets.masks:
        return reply.text if answers.masks(reply.text) else None
    return parse_choice(question, reply) if question.targets.choices else _captions.parse(question, reply)


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """Right or wrong; open answers and masks are scored over the texts."""
    return score_accuracy(question, parsed) if question.targets.choices else _captions.score(question, parsed)


def score_regions(questions: Sequence[Question], texts: Sequence[str]) -> dict[str, float]:
    """All intersections over all unions; an answer without a mask covers nothing."""
    pairs = [_masks.pair(text, question.targets.masks[0]) for question, text in zip(questions, texts, strict=True)]
    return {"ciou": mask_metrics.ciou([said for said, _ in pairs], [wanted for _, wanted in pairs])}


def score_with_background(questions: Sequence[Question], texts: Sequence[str]) -> dict[str, float]:
    """Mean IoU of region and background over the answers that hold a mask; 0 where none does."""
    found = []
    for question, text in zip(questions, texts, strict=True):
        if answers.masks(text):
            said, wanted = _masks.pair(text, question.targets.masks[0])
            classes = mask_metrics.class_iou(said.astype(int), wanted.astype(int), 2)
            found.append(float(np.nan_to_num(classes).mean()))
    return {"miou": float(np.mean(found)) if found else 0.0}


def parse_whole(question: Question, reply: Reply) -> Parsed:
    """The answer as it is."""
    return reply.text.replace("<|end|>", "")


def score_whole(question: Question, parsed: Parsed) -> dict[str, float]:
    """Equal to the option, to the letter; open answers are left out."""
    if not question.targets.choices:
        return {"parsed": float(bool(answers.masks(str(parsed))))} if question.targets.masks else {}
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
    summary="pairs of optical and radar pictures: options, open questions, masks; with one sensor and with both",
    find=finder("earthmind_bench", FILES, LOCATION),
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
            main={
                **dict.fromkeys((*CHOSEN.values(), MS_SCENE), "accuracy"),
                **dict.fromkeys(OPEN.values(), "cider"),
                SEGMENTATION: "mask_iou",
            },
            corpus={**dict.fromkeys(OPEN.values(), _captions.each), SEGMENTATION: _masks.each},
            pooled={**dict.fromkeys(OPEN.values(), _captions.whole), SEGMENTATION: score_regions},
            averages={"options": tuple(CHOSEN.values())},
        ),
        "official": Protocol(
            id="earthmind_bench-official-1",
            parse=parse_whole,
            score=score_whole,
            main=dict.fromkeys((*CHOSEN.values(), MS_SCENE), "accuracy") | {SEGMENTATION: "miou"},
            pooled={SEGMENTATION: score_with_background},
            averages={"options": tuple(CHOSEN.values())},
            quirks=(
                "Only an answer that equals the text of the option to the letter is right; a letter alone, other case "
                "or a full stop is wrong.",
                "A question that the published program could not ask leaves the denominator; here each one is asked.",
                "The IoU of a mask is the mean of those of the region and of the background; answers without a mask "
                "leave the denominator.",
                "Open answers are judged by GPT-4 there, a failure of the judge counts as -1; no judge is asked here.",
            ),
        ),
    },
    reference=BOTH,
)
