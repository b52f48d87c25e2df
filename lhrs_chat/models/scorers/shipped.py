"""Score models that ship with this package: an adapter and a head, put on a preset in the cache at first use."""

from __future__ import annotations

import hashlib
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
from lhrs_chat.registry import cache_folder, file_sha256

HEAD_FILE = f"{HEAD}.safetensors"
BASE_FILE = "stands_on.json"
"""Names the preset below, and the hashes of what was trained of it when the score model was."""


def names() -> list[str]:
    """List them."""
    return sorted(path.parent.name for path in presets.FOLDER.glob(f"*/{HEAD_FILE}"))


def assemble(name: str) -> Path:
    """Return the folder of a score model, in the ordinary form of transformers; made on first use.

    Raises:
        WeightsError: the preset that it stands on is another one than it was trained on.
    """
    shipped = presets.FOLDER / name
    told = json.loads((shipped / BASE_FILE).read_text(encoding="utf-8"))
    base = presets.load_preset(told["base"])
    now = presets.trained_hashes(base)
    if now != told["trained"]:
        raise WeightsError(
            f"{name} was trained on another {base.name}", found=now, allowed=told["trained"], next_step="train it anew"
        )
    made_from = {path.name: file_sha256(path) for path in sorted(shipped.glob("*.safetensors"))}
    stamp = hashlib.sha256(repr((presets.model_path(base).name, made_from)).encode()).hexdigest()[:12]
    folder = cache_folder() / "models" / f"{name}-{stamp}"
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
        record = {"preset": name, "trained": made_from, "files": files}
        (scratch / presets.RECORD).write_text(json.dumps(record, indent=1))
    return folder
