"""Models that score how well a text fits its pictures. Higher is better; the scale is a model's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lhrs_chat.errors import WeightsError


@dataclass(frozen=True)
class Judged:
    """What is scored: an answer, or a caption where `question` is empty.

    `images`: each (H, W, 3), uint8; `earlier`: questions and answers that came before, the pictures with the first.
    """

    answer: str
    question: str = ""
    images: tuple[np.ndarray, ...] = ()
    earlier: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Score:
    """A score, or None and the reason why there is none."""

    value: float | None
    reason: str = ""


class Scorer(Protocol):
    """What score, select, best-of-N and rewards know of a model."""

    name: str
    weights_sha256: str
    dialect: str
    """How it reads boxes, a name of `lhrs_chat.text.grounding.DIALECTS`."""
    prompt_sha256: str
    """Hash of all that decides how a row is put before the model."""

    def score(self, rows: Sequence[Judged]) -> list[Score]:
        """Score rows, in their order; a row that cannot be scored says why, and never gets a number."""
        ...


def open_scorer(model: str, *, dtype: str = "auto", layout: str | None = None) -> Scorer:
    """Open a score model, or a CLIP: one that ships with this package, a local folder or a hub id.

    Args:
        model: which one.
        dtype: number format of the backbone; the head is in float32.
        layout: how rows are put, a name of `layouts.LAYOUTS`; as the model says where left out.

    Raises:
        LhrsError: there is no such model, it is no score model, or its weights do not fit.
    """
    from lhrs_chat import presets
    from lhrs_chat.models.scorer import is_score_model
    from lhrs_chat.models.scorers import shipped
    from lhrs_chat.models.scorers.clip import ClipScorer, is_clip
    from lhrs_chat.models.scorers.vlm import VlmScorer
    from lhrs_chat.models.weights import Precision, locate
    from lhrs_chat.plugins import nearest

    if model in presets.scorer_names():
        return VlmScorer.open(shipped.assemble(model), model, Precision(dtype), layout)
    place = Path(model).expanduser()
    if is_clip(place):
        return ClipScorer.open(place, model)
    if "/" not in model and not place.is_dir() and model not in presets.preset_names():
        names = presets.scorer_names()
        raise WeightsError(
            "no such score model",
            found=model,
            allowed=f"{', '.join(names)}, a local folder, or a Hugging Face id such as owner/name",
            next_step=nearest(model, names) or "lhrs-chat score --help tells what is taken",
        )
    folder = locate(model)
    if is_clip(folder):
        return ClipScorer.open(folder, model)
    if not is_score_model(folder):
        raise WeightsError(
            "this is no score model",
            found=model,
            allowed="a folder whose config.json names a ...ForSequenceClassification",
            next_step="train one with the recipe reward, or convert a published one",
        )
    return VlmScorer.open(folder, model, Precision(dtype), layout)
