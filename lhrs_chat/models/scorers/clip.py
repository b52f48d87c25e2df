"""A CLIP as a scorer: the cosine between a picture and a text (CLIP-score; Hessel et al., 2021, without its factor).

Opens folders and hub repositories in the form of open_clip: `open_clip_config.json` and `open_clip_model.safetensors`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image as PilImage

from lhrs_chat.errors import MissingExtraError, WeightsError
from lhrs_chat.models.convert.clip import CONFIG, WEIGHTS
from lhrs_chat.models.scorers import Judged, Score
from lhrs_chat.models.strict import reason
from lhrs_chat.models.weights import weights_hash

BATCH = 64


def is_clip(folder: Path) -> bool:
    """Whether a folder is in the form of open_clip."""
    return (folder / CONFIG).is_file()


class ClipScorer:
    """A CLIP. Pictures that come several times are encoded once.

    Args:
        model: of open_clip.
        tokenizer: its own.
        transform: turns a picture into what the model takes.
        name: what it is called.
        weights_sha256: hash of its weights.
    """

    dialect = "brackets1"

    def __init__(self, model: Any, tokenizer: Any, transform: Any, *, name: str, weights_sha256: str) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.transform = transform
        self.name = name
        self.weights_sha256 = weights_sha256
        self.prompt_sha256 = hashlib.sha256(b"cosine of one picture and the answer alone").hexdigest()

    @classmethod
    def open(cls, folder: Path, name: str) -> Self:
        """Load a folder, strictly.

        Raises:
            MissingExtraError: open_clip is not installed.
            WeightsError: the weights do not fit their configuration.
        """
        open_clip = open_clip_module()
        digest = weights_hash(folder)
        if not (folder / WEIGHTS).is_file():
            raise WeightsError("a CLIP is read from safetensors", found=f"no {folder / WEIGHTS}")
        place = f"local-dir:{folder}"
        try:
            json.loads((folder / CONFIG).read_text())["model_cfg"]
            model, transform = open_clip.create_model_from_pretrained(place)
            tokenizer = open_clip.get_tokenizer(place)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise WeightsError("open_clip cannot open this model", found=f"{folder}: {reason(error)}") from error
        return cls(model, tokenizer, transform, name=name, weights_sha256=digest)

    def score(self, rows: Sequence[Judged]) -> list[Score]:
        """Score rows; see `Scorer`. The question is not read."""
        scores: list[Score] = [self._refusal(row) or Score(math.nan) for row in rows]
        able = [number for number, score in enumerate(scores) if not score.reason]
        for start in range(0, len(able), BATCH):
            batch = able[start : start + BATCH]
            for number, value in zip(batch, self._cosines([rows[number] for number in batch]), strict=True):
                scores[number] = Score(value) if math.isfinite(value) else Score(None, f"the model gave {value}")
        return scores

    def _refusal(self, row: Judged) -> Score | None:
        if not row.answer.strip():
            return Score(None, "the text is empty")
        if len(row.images) != 1:
            return Score(None, f"a CLIP compares a text with one picture, not with {len(row.images)}")
        tokens = len(self.tokenizer.encode(row.answer)) + 2  # the signs of beginning and end
        if tokens > self.tokenizer.context_length:
            return Score(
                None, f"{tokens} tokens are more than the {self.tokenizer.context_length} that the model reads"
            )
        return None

    def _cosines(self, rows: Sequence[Judged]) -> list[float]:
        seen: dict[int, int] = {}
        shown: list[np.ndarray] = []
        for row in rows:
            if id(row.images[0]) not in seen:
                seen[id(row.images[0])] = len(shown)
                shown.append(row.images[0])
        picked = self.pictures(shown)[[seen[id(row.images[0])] for row in rows]]
        return [float(value) for value in (picked * self.texts([row.answer for row in rows])).sum(-1).float()]

    @torch.inference_mode()
    def pictures(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """Return the normalised features of `images`, each (H, W, 3) of uint8: (N, D)."""
        pixels = [self.transform(PilImage.fromarray(np.ascontiguousarray(image)).convert("RGB")) for image in images]
        features: torch.Tensor = self.model.encode_image(torch.stack(pixels), normalize=True)
        return features

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the normalised features of `texts`, cut to what the model reads: (N, D)."""
        features: torch.Tensor = self.model.encode_text(self.tokenizer(list(texts)), normalize=True)
        return features


def open_clip_module() -> Any:
    """Return open_clip.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise MissingExtraError("open_clip_torch", "clip", "a CLIP") from error
    return open_clip
