"""Where weights are found: a preset, a local folder, then the Hugging Face hub; and how a folder is opened."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from lhrs_chat.errors import WeightsError
from lhrs_chat.models.assemble import assemble
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.plugins import nearest
from lhrs_chat.presets import load_preset, preset_names
from lhrs_chat.registry import file_sha256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to run, its processor, and the hash of its weights."""

    model: LhrsForConditionalGeneration
    processor: LhrsProcessor
    weights_sha256: str


def locate(model: str) -> Path:
    """Return the folder of a model: a preset name, a folder on this machine, or a Hugging Face id.

    Raises:
        WeightsError: there is no such model, or it cannot be fetched.
    """
    if model in preset_names():
        return assemble(load_preset(model))
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise WeightsError(
                "this folder holds no model", found=str(folder), allowed="a folder with config.json and safetensors"
            )
        return folder
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        names = preset_names()
        raise WeightsError(
            "no such model",
            found=model,
            allowed=f"{', '.join(names)}, a local folder, or a Hugging Face id such as owner/name",
            next_step=nearest(model, names) or "lhrs-chat models lists what is here",
        )
    return _from_hub(model)


def _from_hub(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{model} could not be had from the Hugging Face hub",
            found=reason,
            next_step="check the id and the network, or give a local folder; lhrs-nano needs no hub",
        ) from error


def is_ours(folder: Path) -> bool:
    """Say whether a folder holds an `LhrsForConditionalGeneration`.

    Raises:
        WeightsError: its config.json cannot be read.
    """
    try:
        kind = json.loads((folder / "config.json").read_text()).get("model_type")
    except (OSError, ValueError) as error:
        raise WeightsError("config.json cannot be read", found=f"{folder}: {error}") from error
    return bool(kind == "lhrs_chat")


def weights_hash(folder: Path) -> str:
    """Hash the weights of a folder and hold them against the hashes recorded when it was made.

    Raises:
        WeightsError: there are none, or a file is not the one that was written.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError("this folder holds no weights", found=str(folder), allowed="*.safetensors")
    hashes = {path.name: file_sha256(path) for path in files}
    record = folder / "weights.json"
    if record.exists():
        try:
            recorded = json.loads(record.read_text())["files"]
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                "weights.json cannot be read", found=f"{record}: {error!r}", next_step=f"delete {folder} and run again"
            ) from error
        for name, digest in hashes.items():
            if recorded.get(name) != digest:
                raise WeightsError(
                    f"{name} is damaged: its hash is not the one it was written with",
                    found=digest,
                    allowed=recorded.get(name),
                    next_step=f"delete {folder} and run again; it is made anew",
                )
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    import hashlib

    return hashlib.sha256("".join(hashes[name] for name in sorted(hashes)).encode()).hexdigest()


def load(folder: Path, *, dtype: torch.dtype = torch.float32) -> Loaded:
    """Open a folder of ours, strictly, in evaluation mode.

    Raises:
        WeightsError: the weights are damaged, or do not fit the model.
    """
    digest = weights_hash(folder)
    try:
        model = LhrsForConditionalGeneration.from_pretrained(folder, dtype=dtype)
    except SafetensorError as error:
        raise WeightsError(
            "a weights file is damaged", found=f"{folder}: {error}", next_step="fetch or convert it again"
        ) from error
    processor = LhrsProcessor.from_pretrained(folder)
    device = "cuda" if torch.cuda.is_available() and "LHRS_CHAT_CPU" not in os.environ else "cpu"
    return Loaded(model.to(device).eval(), processor, digest)
