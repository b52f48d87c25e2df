"""CDVQA (Yuan et al. 2022): eight types of questions about the change between two aerial pictures of SECOND."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lhrs_chat.formats import cdvqa
from lhrs_chat.formats.rows import Pictures
from lhrs_chat.schema import Image, Message, Sample, Targets

from . import Source, SourceOptions, _published

GET = "github.com/YZHJessica/CDVQA: *_questions.json, *_answers.json, *_images.json; pictures: SECOND, im1 and im2"
LICENCE = "Apache-2.0 (questions); pictures under the terms of the SECOND data set"
SPLITS = {"Train": "train", "Val": "val", "Test": "test", "Test2": "test"}


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a question; the first picture is from before, the second from after.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("cdvqa", folder, GET)
    names = [name for name in SPLITS if (root / f"{name}_questions.json").is_file()]
    if not names:
        raise _published.incomplete("cdvqa", root, "*_questions.json", GET)
    before, after = (Pictures([root / place for place in places]) for places in (cdvqa.BEFORE, cdvqa.AFTER))

    def make(entry: tuple[str, cdvqa.Asked]) -> Sample:
        name, asked = entry
        paths = (before.path(asked.file, asked.where), after.path(asked.file, asked.where))
        return _sample(name, asked, paths)

    asked = (
        (asked.where, (name, asked))
        for name in names
        if options.split in (None, SPLITS[name])
        for asked in cdvqa.questions(root, name, options.reject)
    )
    yield from _published.rows(asked, make, options)


def _sample(name: str, asked: cdvqa.Asked, paths: tuple[Path, Path]) -> Sample:
    return Sample(
        id=f"cdvqa/{name}#{asked.number}",
        images=tuple(Image(path=str(path), bands=_published.RGB) for path in paths),
        task="change",
        source="cdvqa",
        licence=LICENCE,
        scene_id=f"second/{Path(asked.file).stem}",
        messages=(Message.of("user", asked.text, (0, 1)), Message.of("assistant", asked.answer)),
        targets=Targets(answer=asked.answer, choices=cdvqa.TYPES[asked.kind]),
        split=SPLITS[name],
        meta={"image_file": asked.file, "image_roles": ["before", "after"], "question_type": asked.kind},
    )


SOURCE = Source(LICENCE, read, GET)
