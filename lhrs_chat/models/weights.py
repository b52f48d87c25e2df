"""Where weights are found: a preset, a local folder, then the Hugging Face hub; and how a folder is opened."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import BitsAndBytesConfig
from transformers.quantizers.auto import AutoHfQuantizer

from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models.assemble import assemble
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.strict import reason
from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.plugins import nearest
from lhrs_chat.presets import load_preset, preset_names
from lhrs_chat.registry import file_sha256

log = logging.getLogger(__name__)

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTISE = ("none", "8bit", "4bit")
NEVER_QUANTISED = ("encoder", "bridge", "lm_head")  # of our models


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to run, its processor, and the hash of its weights."""

    model: LhrsForConditionalGeneration
    processor: LhrsProcessor
    weights_sha256: str


@dataclass(frozen=True)
class Precision:
    """How the numbers of a model are held in memory.

    Args:
        dtype: one of `DTYPES`; `auto` is the format in which the weights are stored.
        quantise: one of `QUANTISE`: the language model's linear layers in 8 bits (Dettmers et al., 2022) or in 4-bit
            NormalFloat (Dettmers et al., 2023) through bitsandbytes; `dtype` is what they compute in, `auto` bfloat16.

    Raises:
        ConfigError: a name that is not known.
    """

    dtype: str = "auto"
    quantise: str = "none"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ConfigError("unknown number format", found=self.dtype, allowed=", ".join(DTYPES))
        if self.quantise not in QUANTISE:
            raise ConfigError("unknown quantisation", found=self.quantise, allowed=", ".join(QUANTISE))

    def __str__(self) -> str:
        """What is said behind a model's name: nothing where all is as usual."""
        said = [value for value, usual in ((self.dtype, "auto"), (self.quantise, "none")) if value != usual]
        return f" ({', '.join(said)})" if said else ""

    def settings(self, kept: Sequence[str] | None = None) -> dict[str, Any]:
        """Return what `from_pretrained` is told: number format, quantisation, and the device of this machine.

        Args:
            kept: names of modules that are not quantised; None leaves that to transformers, which keeps the head.

        Raises:
            WeightsError: this machine cannot quantise.
        """
        device = "cuda" if torch.cuda.is_available() and "LHRS_CHAT_CPU" not in os.environ else "cpu"
        made: dict[str, Any] = {"dtype": self.dtype, "device_map": {"": device}}
        if self.quantise == "none":
            return made
        config = BitsAndBytesConfig(
            load_in_8bit=self.quantise == "8bit",
            load_in_4bit=self.quantise == "4bit",
            llm_int8_skip_modules=None if kept is None else list(kept),
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype="bfloat16" if self.dtype == "auto" else self.dtype,
        )
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of every layer that casts its input
        try:
            AutoHfQuantizer.from_config(config, pre_quantized=False).validate_environment()
        except (ImportError, RuntimeError) as error:
            raise WeightsError(
                f"this machine cannot load a model in {self.quantise}",
                found=reason(error),
                next_step="pip install 'lhrs_chat[quantise]', or load it in bfloat16, which halves the memory",
            ) from error
        return {**made, "quantization_config": config}


AS_STORED = Precision()


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
        raise WeightsError(
            f"{model} could not be had from the Hugging Face hub",
            found=reason(error),
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


def load(folder: Path, precision: Precision = AS_STORED) -> Loaded:
    """Open a folder of ours, strictly, in evaluation mode; on the first GPU where there is one.

    Raises:
        WeightsError: the weights are damaged, or do not fit the model, or this machine cannot quantise.
    """
    settings = precision.settings(NEVER_QUANTISED)
    digest = weights_hash(folder)
    if (folder / "adapter_model.safetensors").exists() and not (folder / "adapter_config.json").exists():
        raise WeightsError("this folder has half an adapter", found=f"{folder}: no adapter_config.json")
    try:
        model = LhrsForConditionalGeneration.from_pretrained(folder, **settings)
    except SafetensorError as error:
        raise WeightsError(
            "a weights file is damaged", found=f"{folder}: {error}", next_step="fetch or convert it again"
        ) from error
    except (OSError, ValueError) as error:  # a file that is missing or cannot be read, an adapter of another model
        raise WeightsError(
            "transformers cannot open this model",
            found=f"{folder}: {reason(error)}",
            next_step="fetch or convert it again",
        ) from error
    processor = LhrsProcessor.from_pretrained(folder)
    return Loaded(model.eval(), processor, digest)
