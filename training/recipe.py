"""What a stage is: data, not code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lhrs_chat.config import load_yaml
from lhrs_chat.errors import ConfigError
from lhrs_chat.plugins import nearest

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class DataPart:
    """Which rows are learned from."""

    folder: Path
    """Folder with facts.jsonl and rows.jsonl, made by `python -m data_prep nano`."""
    mix: dict[str, float]
    """How often each picture of a source comes in one pass; a source that is not named is left out."""
    task_weights: dict[str, float] = field(default_factory=dict)
    """How much likelier a question of this task is drawn; 1 where it is not named."""
    questions_per_image: int = 8
    """Questions about one picture in one pack; they share its visual tokens and do not see each other."""
    passes: int = 1
    """How often the mix is gone through."""


@dataclass(frozen=True)
class OptimPart:
    """How it is learned."""

    lr: dict[str, float]
    """Peak learning rate of each part: `bridge`, `position` (of the bridge), `lora`. One not named is frozen."""
    batch_images: int
    """Pictures of one step."""
    max_steps: int = -1
    """Steps that the schedule is drawn for; -1 goes through the data."""
    stop_step: int | None = None
    """Stop here, before the schedule has ended."""
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: autocast, and the frozen language model is held in bfloat16; what is trained stays in float32."""


@dataclass(frozen=True)
class Recipe:
    """One stage of training."""

    preset: str
    objective: Literal["words", "text"]
    """`words` pulls visual tokens to the embeddings of the words they show; `text` is next-token prediction."""
    data: DataPart
    optim: OptimPart
    start: Path | None = None
    """Folder of an earlier stage whose trained parts are taken over."""
    place_words: bool = False
    """Begin with grid tokens that carry the words of where they lie; else they keep what they have."""
    out: Path = Path("runs/unnamed")
    seed: int = 0
    save_steps: int = 100
    log_steps: int = 10


def recipe_names() -> list[str]:
    """List the recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name: str, overrides: list[str]) -> Recipe:
    """Read a recipe by name, or by the path of a YAML of the user's.

    Raises:
        ConfigError: there is none, or it holds something that a recipe does not have.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        names = recipe_names()
        raise ConfigError("no such recipe", found=name, allowed=", ".join(names), next_step=nearest(name, names))
    return load_yaml(path, Recipe, overrides)
