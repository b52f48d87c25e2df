"""GeoChat-Instruct (Kuckreja et al. 2024): 318,000 conversations about aerial pictures, with turned boxes.

Boxes are `{<x1><y1><x2><y2>|<angle>}` in hundredths of the picture, turned about their centre by whole degrees.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lhrs_chat.formats.rows import Pictures
from lhrs_chat.schema import Sample

from . import Source, SourceOptions, _conversations, _published, _tagged

GET = "Hugging Face data set MBZUAI/GeoChat_Instruct: GeoChat_Instruct.json, images.zip joined and unpacked beside it"
LICENCE = "research use: pictures under the terms of DOTA, DIOR, FAIR1M (SAMRS), RESISC45, FloodNet and RSVQA-LR"
FILE = "GeoChat_Instruct.json"
FORM = _tagged.Form(
    "geochat_instruct",
    LICENCE,
    lambda text: "angles100_turned",
    {
        "refer": _conversations.REFERRING,
        "grounding": _conversations.GROUNDING,
        "identify": _conversations.REGION,
    },
    turned=True,
)


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row a conversation.

    Raises:
        DataError: no folder is given, or it does not hold the set.
    """
    root = _published.root("geochat_instruct", folder, GET)
    if not (root / FILE).is_file():
        raise _published.incomplete("geochat_instruct", root, FILE, GET)
    pictures = Pictures([root / "images", root / "final_images_llava", root / "images" / "final_images_llava", root])
    yield from _tagged.rows(FORM, [_tagged.File(root / FILE, pictures)], options)


SOURCE = Source(LICENCE, read, GET)
