"""Captioning: several true sentences a picture, metrics over the whole set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lhrs_chat.metrics import captions as caption_metrics
from lhrs_chat.schema import Targets

from . import Benchmark, Parsed, Passport, Protocol, Published, Question, Reply, _java_captions
from ._reading import Pictures, Row, checked, finder, read_json

TASK = "caption"
PROMPT = "Describe the picture in one sentence."
TOKENS = 64


def parse(question: Question, reply: Reply) -> str | None:
    """The caption; None where it is blank."""
    return reply.text.strip() or None


def score(question: Question, parsed: Parsed) -> dict[str, float]:
    """A caption by itself has no score but that there is one."""
    return {"parsed": float(parsed is not None)}


def each(questions: Sequence[Question], texts: Sequence[str]) -> list[dict[str, float]]:
    """CIDEr and ROUGE-L of each caption; CIDEr weighs words by how rare they are in the references of the set."""
    truths = [question.targets.captions for question in questions]
    ciders = caption_metrics.cider(texts, truths)
    rouges = caption_metrics.rouge_l(texts, truths)
    return [{"cider": float(c), "rouge_l": float(r)} for c, r in zip(ciders, rouges, strict=True)]


def whole(questions: Sequence[Question], texts: Sequence[str]) -> dict[str, float]:
    """BLEU-1 to BLEU-4 of the set."""
    found = caption_metrics.bleu(texts, [question.targets.captions for question in questions])
    return {f"bleu_{n}": float(value) for n, value in enumerate(found, start=1)}


def every(questions: Sequence[Question], texts: Sequence[str]) -> list[dict[str, float]]:
    """The same, and METEOR and SPICE of each caption where the machine has their programs."""
    more = _java_captions.each(questions, texts)
    return [own | others for own, others in zip(each(questions, texts), more, strict=True)]


def strict(name: str) -> Protocol:
    """The metrics of the usual caption tool; a blank caption is one that shares no word with the references."""
    return Protocol(
        id=f"{name}-strict-1",
        parse=parse,
        score=score,
        main={TASK: "cider"},
        corpus={TASK: every},
        pooled={TASK: whole},
        once={TASK: _java_captions.whole},
    )


def captioned(
    name: str, row: Row, filename: str, captions: tuple[str, ...], pictures: Pictures, licence: str, scene: str
) -> Question:
    """The question for one captioned picture."""
    path = pictures.path(filename, row.where)
    return Question(
        id=filename,
        task=TASK,
        text=PROMPT,
        images=(path,),
        size_px=pictures.size_px(path, row.where),
        subset=name,
        scene_id=scene,
        licence=licence,
        targets=Targets(captions=captions),
        max_new_tokens=TOKENS,
    )


def karpathy(name: str, rows: Iterable[Row], pictures: Pictures, licence: str, folder: Path) -> list[Question]:
    """The test split of a file in the layout of Karpathy's splits: file name, split, sentences with their `raw` text.

    Raises:
        DataError: a row is broken, a picture is missing or stands there twice.
    """
    questions = []
    for row in rows:
        if row.one_of("split", ("train", "val", "test")) != "test":
            continue
        filename = row.text("filename")
        captions = tuple(sentence.text("raw") for sentence in row.rows("sentences"))
        if not captions:
            raise row.bad("sentences", "a list of sentences")
        questions.append(captioned(name, row, filename, captions, pictures, licence, filename))
    return checked(questions, folder)


def karpathy_benchmark(name: str, summary: str, file: str, images: Sequence[str], passport: Passport) -> Benchmark:
    """A caption benchmark that is one such file and its pictures.

    Args:
        name: the benchmark.
        summary: one sentence for `list`.
        file: the annotation file.
        images: folders of the pictures, below the data folder.
        passport: what is known of it.
    """

    def load(folder: Path) -> list[Question]:
        pictures = Pictures([folder / place for place in images])
        return karpathy(name, read_json(folder / file).rows("images"), pictures, passport.imagery_licence, folder)

    return Benchmark(name, summary, finder(name, [file], passport.location), load, {"strict": strict(name)}, passport)


def table(model: str, source: str, values: Mapping[str, float]) -> tuple[Published, ...]:
    """Published caption scores of one model, per cent as printed."""
    return tuple(Published(model, metric, value, source) for metric, value in values.items())
