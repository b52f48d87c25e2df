"""Systems that can be trained from published parts, though nobody publishes what this project could convert."""

from __future__ import annotations

from pathlib import Path

from lhrs_chat.config import load_yaml
from lhrs_chat.presets import Preset, load_preset

FOLDER = Path(__file__).parent


def load_system(name: str) -> Preset:
    """Return a system of this folder, else the preset of this name.

    Raises:
        ConfigError: there is none of that name.
    """
    own = FOLDER / f"{name}.yaml"
    return load_yaml(own, Preset) if own.is_file() else load_preset(name)
