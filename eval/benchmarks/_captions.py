"""Captioning: several true sentences a picture, metrics over the whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lhrs_chat.formats.captions import Captioned, karpathy
from lhrs_chat.formats.rows import Pictures
from lhrs_chat.metrics import captions as caption_metrics
from lhrs_chat.schema import Targets

from . import Benchmark, Parsed, Passport, Protocol, Published, Question, Reply, _java_captions
from ._reading import checked, finder

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


def _question(name: str, captioned: Captioned, pictures: Pictures, licence: str) -> Question:
    path = pictures.path(captioned.file, captioned.where)
    return Question(
        id=captioned.file,
        task=TASK,
        text=PROMPT,
        images=(path,),
        size_px=pictures.size_px(path, captioned.where),
        subset=name,
        scene_id=captioned.file,
        licence=licence,
        targets=Targets(captions=captioned.sentences),
        max_new_tokens=TOKENS,
    )


def caption_benchmark(
    name: str,
    summary: str,
    file: str,
    images: Sequence[str],
    passport: Passport,
    read: Callable[[Path, str], Iterator[Captioned]] = karpathy,
) -> Benchmark:
    """A benchmark that is the test split of one file of captions and its pictures.

    Args:
        name: the benchmark.
        summary: one sentence for `list`.
        file: the annotation file.
        images: folders of the pictures, below the data folder.
        passport: what is known of it.
        read: yields the pictures of a split of the file.
    """

    def load(folder: Path) -> list[Question]:
        pictures = Pictures([folder / place for place in images])
        found = read(folder / file, "test")
        return checked([_question(name, captioned, pictures, passport.imagery_licence) for captioned in found], folder)

    return Benchmark(name, summary, finder(name, [file], passport.location), load, {"strict": strict(name)}, passport)


def table(model: str, source: str, values: Mapping[str, float]) -> tuple[Published, ...]:
    """Published caption scores of one model, per cent as printed."""
    return tuple(Published(model, metric, value, source) for metric, value in values.items())
