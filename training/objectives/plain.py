"""The objective `plain`: a caption and a line end behind a picture, without a question and a template."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from lhrs_chat.errors import DataError
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.schema import Sample

from ..labels import Labelled, label_plain
from ..recipe import DataPart
from ..rows import Label
from . import Objective, _rows


def plain(processor: LhrsProcessor, ends: Collection[int], part: DataPart) -> Label:
    """Make rows of captions; the caption of a row is its first answer, the question is not read. See `label_plain`."""

    def label(sample: Sample) -> Labelled:
        caption = next((turn.text for turn in sample.messages if turn.role == "assistant"), None)
        if caption is None or len(sample.images) != 1:
            raise DataError(
                "a row for the objective plain has one picture and its caption as an answer",
                found=f"{len(sample.images)} pictures, {len(sample.messages)} turns",
            )
        return label_plain(processor, caption)

    return label


OBJECTIVE = Objective(partial(_rows.begin, make_label=plain), plain)
