"""LHRS-Instruct and the other instruction files of LHRS-Bot and LHRS-Bot-Nova (Muhtar et al. 2024).

A file is a list of rows, or {"data": [...]}; its pictures lie in the folder `STEM_Image` beside it. A row has `conv`,
one {Question, Answer} or a list of them, or `question` and `answer`. Boxes are `[x1,y1,x2,y2]` in shares of the
picture, in `<bbox>` tags with Nova.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import SUFFIXES, Pictures, Row, as_row, opening
from lhrs_chat.schema import Sample

from . import Source, SourceOptions, _conversations, _published, _tagged

GET = "Hugging Face data sets PumpkinCat/LHRS_Data (Stage2, Stage3) or LHRS/LHRSBotv2; pictures in FILE_Image"
LICENCE = "MIT (texts, as the data set states); pictures: Google Earth, and the sets that the files name"
NAMES = ("image", "name", "filename", "img")
FORM = _tagged.Form(
    "lhrs_instruct",
    LICENCE,
    lambda text: "bbox_tag1" if "<bbox>" in text else "brackets1",
    {
        "vg": _conversations.REFERRING,
        "det": _conversations.REFERRING,
        "cls": _conversations.SCENE,
        "vqa": _conversations.VQA,
        "consize": _conversations.VQA,
        "identify": _conversations.REGION,
    },
)


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a conversation of every JSON file of the folder.

    Raises:
        DataError: no folder is given, or there is no JSON file in it.
    """
    root = _published.root("lhrs_instruct", folder, GET)
    paths = sorted(root.glob("*.json"))
    if not paths:
        raise _published.incomplete("lhrs_instruct", root, "*.json", GET)
    files = [
        _tagged.File(
            path,
            Pictures([root / f"{path.stem}_Image", root / "images", root]),
            "data" if opening(path) == "{" else "",
        )
        for path in paths
    ]
    yield from _tagged.rows(FORM, files, options, _talk, _picture)


def _talk(row: Row) -> Sequence[tuple[str, str]]:
    if "conv" not in row.values:
        return [("human", row.text("question")), ("gpt", row.word("answer"))]
    conv = row.values["conv"]
    turns = [as_row(conv, f"conv of {row.where}")] if isinstance(conv, dict) else row.rows("conv")
    if not turns:
        raise row.bad("conv", "{Question, Answer}, or a list of them")
    pairs = [(turn.text("Question"), turn.word("Answer" if "Answer" in turn.values else "value")) for turn in turns]
    return [said for question, answer in pairs for said in (("human", question), ("gpt", answer))]


def _picture(row: Row) -> str:
    """The file name of a picture; names without a suffix are those of JPEG files."""
    key = next((name for name in NAMES if name in row.values), "")
    if not key:
        raise DataError(f"{row.where}: no picture", found=ascii(list(row.values))[:120], allowed=", ".join(NAMES))
    name = row.texts(key)[0] if isinstance(row.values[key], list) else row.word(key)
    return name if Path(name).suffix.lower() in SUFFIXES else f"{name}.jpg"


SOURCE = Source(LICENCE, read, GET)
