"""SkyEye-968k (Zhan et al. 2024): the files of one task each, in folders `caption`, `vqa`, `vg` and so on.

The pictures are those of the sets that it is made from and are to be got there; they are looked for below `images`, in
a folder named like the file (`images/RSVQAHR_train`), or anywhere given in the name. A row has `conversations`, or a
question in `text` and its answer in `ground_truth`. The rows of `caption` have a caption and, mostly, no question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lhrs_chat.formats.rows import Pictures, Row
from lhrs_chat.schema import Sample

from . import Source, SourceOptions, _conversations, _published, _tagged

GET = "Hugging Face data set ZhanYang-nwpu/SkyEye-968k: SkyEye-968k.rar unpacked; pictures from the sets it names"
LICENCE = "CC-BY-4.0 (texts); pictures under the terms of the sets that they come from"
TASKS = {
    "caption": _conversations.CAPTION,
    "multitask_conversation": _conversations.DIALOGUE,
    "phrasegrounding": _conversations.GROUNDING,
    "vg": _conversations.REFERRING,
    "vqa": _conversations.VQA,
}
FORM = _tagged.Form(
    "skyeye_968k",
    LICENCE,
    lambda text: "angles100",
    {
        "caption": _conversations.CAPTION,
        "vqa": _conversations.VQA,
        "refer": _conversations.REFERRING,
        "grounding": _conversations.GROUNDING,
        "detection": _conversations.GROUNDING,
        "identify": _conversations.REGION,
    },
)


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a conversation or question; `Describe the picture.` asks for a caption.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("skyeye_968k", folder, GET)
    paths = [path for task in TASKS for path in sorted((root / task).glob("*.json"))]
    if not paths:
        raise _published.incomplete("skyeye_968k", root, "caption/*.json, vqa/*.json ...", GET)
    files = [
        _tagged.File(
            path,
            Pictures([root / "images" / path.stem, root / "images", root]),
            task=TASKS[path.parent.name],
        )
        for path in paths
    ]
    yield from _tagged.rows(FORM, files, options, _talk)


def _talk(row: Row) -> Sequence[tuple[str, str]]:
    if "conversations" in row.values:
        return _conversations.said(row)
    if "ground_truth" in row.values:
        return [("human", row.text("text")), ("gpt", row.word("ground_truth"))]
    return [("human", "Describe the picture."), ("gpt", row.text("text"))]


SOURCE = Source(LICENCE, read, GET)
