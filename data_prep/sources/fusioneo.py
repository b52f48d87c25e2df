"""FusionEO, the paired data of EarthMind (Shu et al. 2025): dialogues about an optical and a SAR picture of one place.

`pair_data/train/final_all.json` is a list of conversations in LLaVA's form; its pictures have the same name in
`rgb/img` and `sar/img` beside it, and share one placeholder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Pictures, Row, stream
from lhrs_chat.schema import Image, Part, Sample

from . import Source, SourceOptions, _conversations, _published
from ._conversations import IMAGE, Told, Turn

GET = "Hugging Face data set sy1998/Multisensor_RS_Data: train (and test) with *.json, rgb/img and sar/img"
LICENCE = "no licence stated: research use (BigEarthNet-MM, OpenEarthMap-SAR, DFC2023, SpaceNet-6 and others)"


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a conversation: the optical picture first, then the SAR picture.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("fusioneo", folder, GET)
    files = [
        (path, split)
        for split in ("train", "test")
        for place in (root / split, root / "pair_data" / split)
        for path in sorted(place.glob("*.json"))
    ]
    if not files:
        raise _published.incomplete("fusioneo", root, "train/*.json or pair_data/train/*.json", GET)

    def make(entry: tuple[Path, str, Row]) -> Sample:
        path, split, row = entry
        file = row.text("image")
        optical, radar = (Pictures([path.parent / sensor / "img"]).path(file, row.where) for sensor in ("rgb", "sar"))
        turns = [Turn(speaker, _words(text, row.where)) for speaker, text in _conversations.said(row)]
        told = Told(
            id=f"fusioneo/{split}/{path.stem}#{row.place}",
            source="fusioneo",
            licence=LICENCE,
            scene_id=f"fusioneo/{Path(file).stem}",
            images=(
                Image(path=str(optical), bands=_published.RGB, sensor="optical"),
                Image(path=str(radar), sensor="sar"),
            ),
            split=split,
            meta={"image_file": file, "image_roles": ["optical", "sar"]},
        )
        return _conversations.sample(turns, told, row.where)

    rows = (
        (row.where, (path, split, row))
        for path, split in files
        if options.split in (None, split)
        for row in stream(path, reject=options.reject)
    )
    yield from _published.rows(rows, make, options)


def _words(text: str, where: str) -> tuple[Part, ...]:
    """A turn without its placeholder: one stands for the pair, and both pictures come before the first question."""
    words = text.replace(IMAGE, "").strip()
    if not words:
        raise DataError(f"{where}: a turn without words", found=text[:80])
    return _conversations.words(words)


SOURCE = Source(LICENCE, read, GET)
