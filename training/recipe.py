"""What a stage is: data, not code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lhrs_chat.config import load_yaml
from lhrs_chat.errors import ConfigError
from lhrs_chat.plugins import nearest
from lhrs_chat.schema import Sample

FOLDER = Path(__file__).parent / "recipes"
EVERY_OTHER = "*"


@dataclass(frozen=True)
class DataPart:
    """Which rows are learned from."""

    folder: Path
    """Folder with rows.jsonl, one `Sample` a line; `words` and `text` also read facts.jsonl beside it."""
    mix: dict[str, float] = field(default_factory=lambda: {EVERY_OTHER: 1.0})
    """How often each picture, or row, of a source comes in one pass; `*` stands for the sources that are not named."""
    task_weights: dict[str, float] = field(default_factory=dict)
    """`text`: how much likelier a question is drawn, by `task` or by `source/task`; 1 where it is not named. A picture
    whose questions all have the weight 0 is left out."""
    questions_per_image: int = 8
    """`text`: questions about one picture in one pack; they share its visual tokens and do not see each other."""
    passes: int = 1
    """How often the mix is gone through."""
    cache_features: bool = False
    """`plain`, `chat`: compute what the encoder sees once and keep it on disk, in half precision. `words` and `text`
    always do."""
    workers: int = 0
    """Processes that read pictures beside the training; 0 reads them between its steps."""

    def share(self, source: str) -> float:
        """Return how often something from `source` comes in one pass."""
        return self.mix.get(source, self.mix.get(EVERY_OTHER, 0.0))

    def weight(self, row: Sample) -> float:
        """How much likelier than others this question is drawn."""
        weights = self.task_weights
        return weights.get(f"{row.source}/{row.task}", weights.get(row.task, 1.0))


@dataclass(frozen=True)
class OptimPart:
    """How it is learned."""

    lr: dict[str, float]
    """Peak learning rate of each part: a regular expression that is searched in the names of the parameters, such as
    `bridge`, `encoder` or `lora`. The last one that fits decides; 0 freezes, and so does none."""
    batch_images: int
    """Pictures, or rows, that pass the model at once."""
    accumulate: int = 1
    """Batches whose gradients make one step. The means of their losses are averaged, as those of processes are."""
    max_steps: int = -1
    """Steps that the schedule is drawn for; -1 goes through the data."""
    stop_step: int | None = None
    """Stop here, before the schedule has ended."""
    schedule: Literal["cosine", "linear", "constant", "cosine_to_min"] = "cosine"
    """`cosine_to_min` falls over all steps to `min_lr`, while `warmup_steps` multiply it; see `schedule.py`. The others
    begin after `warmup_share`, and the first two end at 0."""
    warmup_share: float = 0.05
    """Share of the steps in which the rate rises from 0; not for `cosine_to_min`."""
    warmup_steps: int = 0
    """`cosine_to_min`: steps in which the rate is held back."""
    warmup_start: float = 0.0
    """`cosine_to_min`: what the rate is multiplied with in the first step."""
    min_lr: float = 0.0
    """`cosine_to_min`: where the rates of all parts end."""
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.01
    decay_all: bool = False
    """Norms, biases and scales decay too."""
    clip_norm: float = 1.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """`bf16`, `fp16`: autocast, and the frozen language model is held in that type; what is trained is in float32."""
    compile: bool = False
    """The objective `text`: compile the language model's layers, which needs a C compiler."""
    gradient_checkpointing: bool = False
    """Compute the layers of encoder and language model again on the way back instead of keeping what they gave."""

    def __post_init__(self) -> None:
        own = {"warmup_steps": self.warmup_steps, "warmup_start": self.warmup_start, "min_lr": self.min_lr}
        given = [name for name, value in own.items() if value]
        if given and self.schedule != "cosine_to_min":
            raise ConfigError(f"{', '.join(given)}: only of the schedule cosine_to_min", found=self.schedule)
        low = {pattern: rate for pattern, rate in self.lr.items() if rate and rate < self.min_lr}
        if low:
            raise ConfigError("these learning rates would rise to min_lr", found=low, allowed=f"{self.min_lr} or more")


@dataclass(frozen=True)
class LoraPart:
    """A new adapter on the language model; what is left out is as the preset says."""

    rank: int | None = None
    alpha: int | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourcePart:
    """Where the published parts of a preset lie: folders, or ids of the Hugging Face hub; None as the preset says."""

    language_model: str | None = None
    encoder: str | None = None


@dataclass(frozen=True)
class Recipe:
    """One stage of training."""

    preset: str
    objective: Literal["words", "text", "plain", "chat"]
    """`words` pulls visual tokens to the embeddings of the words they show. The others predict the next token: `text`
    of packed questions about one picture, `chat` of every answer of a conversation and the token that ends it, `plain`
    of a caption and a line end behind a picture, without a question and a template."""
    data: DataPart
    optim: OptimPart
    model: str | None = None
    """Begin from this whole model: a folder of ours, such as `lhrs-chat convert` writes, a preset that is ready to run,
    or a hub id. None puts the preset together from its published parts, with a random bridge."""
    parts: SourcePart = field(default_factory=SourcePart)
    start: Path | None = None
    """Folder of an earlier stage whose trained parts are taken over."""
    bridge_form: Literal["dense", "moe"] | None = None
    """Of the bridge `moe_attn_pooler`: one MLP, or experts; a dense one that is begun from is up-cycled. None takes the
    one that is there."""
    lora: LoraPart | Literal["continue"] | None = None
    """The adapter on the language model: a new one, or the one that `start` or `model` has."""
    place_words: bool = False
    """Begin with grid tokens that carry the words of where they lie; else they keep what they have."""
    out: Path = Path("runs/unnamed")
    seed: int = 0
    save_steps: int = 100
    log_steps: int = 10

    def __post_init__(self) -> None:
        if self.optim.compile and self.objective != "text":
            raise ConfigError(
                "only packed questions are compiled", found=self.objective, allowed="optim.compile: false"
            )


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
