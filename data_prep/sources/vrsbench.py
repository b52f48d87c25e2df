"""VRSBench (Li et al. 2024), training split: captions, referring expressions and questions on DOTA and DIOR pictures.

`VRSBench_train.json` holds 142,390 conversations of one turn, tagged `[caption]`, `[refer]` or `[vqa]`, with boxes
`{<x1><y1><x2><y2>}` in hundredths. `Annotations_train` holds one file a picture: its caption, its objects with their
corners in shares of the picture, its questions. The conversations are read as instructions, the files as facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Pictures, Row, read_json
from lhrs_chat.schema import Box, Image, Sample, Targets

from . import Source, SourceOptions, _conversations, _published, _tagged

GET = "Hugging Face data set xiang709/VRSBench: VRSBench_train.json or Annotations_train.zip, and Images_train.zip"
LICENCE = "CC-BY-4.0 (texts); pictures under the terms of DOTA and DIOR"
FILE, FOLDER = "VRSBench_train.json", "Annotations_train"
FORM = _tagged.Form(
    "vrsbench",
    LICENCE,
    lambda text: "angles100",
    {
        "refer": _conversations.REFERRING,
        "caption": _conversations.CAPTION,
        "vqa": _conversations.VQA,
    },
)


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a conversation of `VRSBench_train.json`; where it is not there, one row of facts a picture.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("vrsbench", folder, GET)
    pictures = Pictures([root / place for place in ("Images_train", "Images_train/Images_train", "images", ".")])
    if (root / FILE).is_file():
        yield from _tagged.rows(FORM, [_tagged.File(root / FILE, pictures)], options)
        return
    files = sorted((root / FOLDER).rglob("*.json"))
    if not files:
        raise _published.incomplete("vrsbench", root, f"{FILE} or {FOLDER}/*.json", GET)
    yield from _published.rows(((path.name, path) for path in files), lambda path: _facts(path, pictures), options)


def _facts(path: Path, pictures: Pictures) -> Sample:
    row = read_json(path)
    file = row.text("image")
    objects = row.rows("objects")
    scene_id, tile = _tagged.scene(file, "vrsbench")
    return Sample(
        id=f"vrsbench/{Path(file).stem}",
        images=(Image(path=str(pictures.path(file, row.where)), bands=_published.RGB),),
        task="facts",
        source="vrsbench",
        licence=LICENCE,
        scene_id=scene_id,
        targets=Targets(boxes=tuple(_box(item) for item in objects), captions=(row.text("caption"),)),
        meta={
            "image_file": file,
            **({"tile": tile} if tile else {}),
            "expressions": [item.text("referring_sentence") for item in objects],
            "questions": [{key: pair.word(key) for key in ("question", "answer")} for pair in row.rows("qa_pairs")],
        },
    )


def _box(item: Row) -> Box:
    """The box of an object, from its four corners where they are told."""
    label = _published.spoken(item.text("obj_cls"))
    if "obj_corner" in item.values:
        x1, y1, x2, y2, x3, y3, x4, y4 = item.numbers("obj_corner", 8)
        return Box.oriented(((x1, y1), (x2, y2), (x3, y3), (x4, y4)), "unit", label)
    x1, y1, x2, y2 = item.numbers("obj_coord", 4)
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise DataError(f"{item.where}: bad field 'obj_coord'", found=(x1, y1, x2, y2), allowed="shares of the picture")
    return Box((x1, y1, x2, y2), "unit", label)


SOURCE = Source(LICENCE, read, GET)
