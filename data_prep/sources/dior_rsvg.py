"""DIOR-RSVG (Zhan et al. 2023): 38,320 referring expressions for objects in DIOR pictures, upright boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lhrs_chat.formats import voc_grounding
from lhrs_chat.formats.rows import Pictures
from lhrs_chat.schema import Sample

from . import SPLITS, Source, SourceOptions, _published, _referring

GET = "Google Drive folder linked by github.com/ZhanYang-nwpu/RSVG-pytorch: Annotations, JPEGImages, train.txt ..."
LICENCE = "no licence stated: research use (terms of DIOR, Google Earth imagery)"


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row an expression, split by split.

    Raises:
        DataError: no folder is given, it does not hold the set, or an XML file is broken: without it the numbers of
            the splits would name other objects.
    """
    root = _published.root("dior_rsvg", folder, GET)
    splits = [split for split in SPLITS if (root / f"{split}.txt").is_file()]
    if not splits:
        raise _published.incomplete("dior_rsvg", root, "train.txt", GET)
    pictures = Pictures([root / "JPEGImages", root / "images"])

    def make(entry: tuple[str, voc_grounding.Referred]) -> Sample:
        split, referred = entry
        path = pictures.path(referred.file, referred.where)
        return _referring.sample("dior_rsvg", LICENCE, split, referred, path)

    found = (
        (referred.where, (split, referred))
        for split in splits
        if options.split in (None, split)
        for referred in voc_grounding.referred(root, split, options.reject)
    )
    yield from _published.rows(found, make, options)


SOURCE = Source(LICENCE, read, GET)
