"""RSVG (Sun et al. 2022): referring expressions for objects in large Google Earth pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lhrs_chat.formats import rsvg
from lhrs_chat.formats.rows import Pictures
from lhrs_chat.formats.voc_grounding import Referred
from lhrs_chat.schema import Sample

from . import SPLITS, Source, SourceOptions, _published, _referring

GET = "sunyuxi.github.io/publication/GeoVG: rsvg_train.pth, rsvg_val.pth, rsvg_test.pth and the folder images"
LICENCE = "no licence stated: research use (Google Earth imagery)"


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row an expression, split by split.

    Raises:
        DataError: no folder is given, or a file of the set is missing or broken.
    """
    root = _published.root("rsvg", folder, GET)
    files = {split: root / f"rsvg_{split}.pth" for split in SPLITS if (root / f"rsvg_{split}.pth").is_file()}
    if not files:
        raise _published.incomplete("rsvg", root, "rsvg_train.pth", GET)
    from lhrs_chat.models import saved_list  # torch, which takes its time

    pictures = Pictures([root / "images", root])

    def make(entry: tuple[str, Referred]) -> Sample:
        split, referred = entry
        path = pictures.path(referred.file, referred.where)
        return _referring.sample("rsvg", LICENCE, split, referred, path)

    found = (
        (referred.where, (split, referred))
        for split, file in files.items()
        if options.split in (None, split)
        for referred in rsvg.referred(saved_list.load(file), file.name, options.reject)
    )
    yield from _published.rows(found, make, options)


SOURCE = Source(LICENCE, read, GET)
