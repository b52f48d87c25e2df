"""ChatEarthNet (Yuan et al. 2025): long captions of Sentinel-2 pictures, 163,488 by ChatGPT-3.5 and 10,000 by GPT-4V.

`json_files/ChatEarthNet_caps_35_train.json` (and 4v; val, test) are lists of {image or image_id, caption}; the pictures
are 256 px PNG files of the bands 4, 3, 2 in `s2_images`, at 10 m.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lhrs_chat.formats.captions import Captioned
from lhrs_chat.formats.rows import Pictures, Row, stream
from lhrs_chat.schema import Image, Sample

from . import Source, SourceOptions, _captions, _published

GET = "Zenodo record 11003436: json_files.zip and s2_rgb_images.zip, unpacked"
LICENCE = "CC-BY-4.0"
IMAGES = ("s2_rgb_images/s2_images", "s2_images", "s2_rgb_images", "images", ".")
_FILE = re.compile(r"ChatEarthNet_caps_(35|4v)_(train|val|test)\.json")


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row of facts a caption; the two sets of captions share pictures, and so their scenes.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("chatearthnet", folder, GET)
    paths = sorted({*root.glob("json_files/*.json"), *root.glob("*.json")})
    files = [(path, match) for path in paths if (match := _FILE.fullmatch(path.name))]
    if not files:
        raise _published.incomplete("chatearthnet", root, "json_files/ChatEarthNet_caps_35_train.json", GET)
    pictures = Pictures([root / place for place in IMAGES])
    unseen = _captions.once()

    def make(entry: tuple[Row, str, str]) -> Sample:
        row, version, split = entry
        file = row.text("image" if "image" in row.values else "image_id")
        caption = row.values.get("caption")
        sentences = row.texts("caption") if isinstance(caption, list) else (row.text("caption"),)
        path = pictures.path(file, row.where)
        unseen(f"{version}/{file}", row.where)
        image = Image(path=str(path), bands=("B04", "B03", "B02"), sensor="Sentinel-2", gsd_m=10.0)
        captioned = Captioned(file, split, sentences, "", row.where)
        facts = _captions.facts("chatearthnet", LICENCE, captioned, image, {"captioner": version})
        return replace(facts, id=f"chatearthnet/{version}/{file}")

    rows = (
        (row.where, (row, match[1], match[2]))
        for path, match in files
        if options.split in (None, match[2])
        for row in stream(path, reject=options.reject)
    )
    yield from _published.rows(rows, make, options)


SOURCE = Source(LICENCE, read, GET)
