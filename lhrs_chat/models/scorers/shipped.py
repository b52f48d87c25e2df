"""Score models that ship with this package: an adapter and a head, put on a preset in the cache at first use."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file

from lhrs_chat import presets
from lhrs_chat.errors import WeightsError
from lhrs_chat.models import assemble as parts
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.scorer import HEAD, with_head
from lhrs_chat.models.scorers.layouts import TRAINED_WITH
from lhrs_chat.models.strict import load_strictly
from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.registry import file_sha256

HEAD_FILE = f"{HEAD}.safetensors"


def assemble(name: str) -> Path:
    """Return the folder of a score model, in the ordinary form of transformers; made on first use.

    Raises:
        WeightsError: the preset that it stands on is another one than it was trained on.
    """
    shipped = presets.FOLDER / name
    base, trained = presets.scorer_base(name)
    now = presets.trained_hashes(base)
    if now != trained:
        raise WeightsError(
            f"{name} was trained on another {base.name}", found=now, allowed=trained, next_step="train it anew"
        )
    folder = presets.scorer_path(name)
    if presets.is_assembled(folder):
        return folder
    below = parts.assemble(base)
    model = LhrsForConditionalGeneration.from_pretrained(below)
    parts.put_adapter(model, shipped)
    made = with_head(model, layout=TRAINED_WITH)
    load_strictly(made.score, load_file(shipped / HEAD_FILE), str(shipped / HEAD_FILE))
    with parts.atomic(folder) as scratch:
        made.save_pretrained(scratch)
        LhrsProcessor.from_pretrained(below).save_pretrained(scratch)
        files = {path.name: file_sha256(path) for path in sorted(scratch.glob("*.safetensors"))}
        record = {"preset": name, "trained": presets.scorer_weights(name), "files": files}
        (scratch / presets.RECORD).write_text(json.dumps(record, indent=1))
    return folder
