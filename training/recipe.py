"""What a stage is: data, not code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from lhrs_chat.config import load_yaml
from lhrs_chat.errors import ConfigError
from lhrs_chat.plugins import nearest

from .objectives import OBJECTIVES

FOLDER = Path(__file__).parent / "recipes"
EVERY_OTHER = "*"
OWN_MASKS = ("text", "reward")  # objectives whose branches share a beginning and do not see each other
PACKED = ("chat", "plain")  # objectives whose rows may be laid behind one another


class Asked(Protocol):
    """A question: a `Sample`, or what was made of one."""

    @property
    def source(self) -> str:
        """Name of the data set."""

    @property
    def task(self) -> str:
        """Kind of question."""


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
    """`plain`, `chat`, and `clip` with a frozen trunk of timm: compute what the encoder sees once and keep it on disk,
    in half precision. `words` and `text` always do."""
    workers: int = 0
    """Processes that read pictures beside the training; 0 reads them between its steps."""
    pack_tokens: int = 0
    """`plain`, `chat`: lay several rows behind one another, up to so many tokens; they do not see each other. 0 pads
    each row to the longest of its batch."""
    task_tags: dict[str, str] = field(default_factory=dict)
    """`chat`: what stands before each question of a row of a task, such as `vqa: "[vqa]"`."""
    eval_rows: int = 200
    """At most so many rows of the split `val` (`text`: pictures with their questions) are used at an evaluation."""
    held_out: tuple[Path, ...] = ()
    """More folders of rows that must not be learned from, such as those of a benchmark: shared scenes and pictures are
    refused, as those with the splits `val` and `test` of `folder` itself always are."""

    def share(self, source: str) -> float:
        """Return how often something from `source` comes in one pass."""
        return self.mix.get(source, self.mix.get(EVERY_OTHER, 0.0))

    def weight(self, row: Asked) -> float:
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
    """Pictures, rows or packs that pass the model at once."""
    accumulate: int = 1
    """Batches whose gradients make one step. Every learned token of a step, and of all processes, weighs the same."""
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
    attention: Literal["auto", "sdpa", "flash_attention_2"] = "auto"
    """Of the language model; `auto` takes FlashAttention 2 where it is installed and can be used, else torch's own."""
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
    """Names of the layers it lies on, such as `q_proj`, or one regular expression that fits a whole name."""
    dora: bool = False
    """Learn direction and size of a weight apart (Liu et al., 2024)."""


@dataclass(frozen=True)
class SourcePart:
    """Where the published parts of a preset lie: folders, or ids of the Hugging Face hub; None as the preset says."""

    language_model: str | None = None
    encoder: str | None = None


@dataclass(frozen=True)
class ClipPart:
    """What the objective `clip` compares, after FarSLIP (arXiv 2511.14901)."""

    captions: float = 1.0
    """Weight of whole pictures and their captions."""
    categories: float = 0.0
    """Weight of labelled boxes and the texts of their categories."""
    patches: float = 0.0
    """Weight of random crops and the places of the whole picture where they lie."""
    target: Literal["shared", "stopgrad", "ema", "frozen"] = "shared"
    """`patches`: what sees the crops. The same network, with a gradient or without one; a copy that follows it; or the
    one that it was at the beginning."""
    momentum: float = 0.99
    """`ema`: how much of the copy stays at each batch."""
    regions: int = 4
    """So many crops of a picture, and at most so many of its boxes."""
    crop_area: tuple[float, float] = (0.3, 0.7)
    """Smallest and largest crop, in shares of the picture's area."""
    crop_shape: tuple[float, float] = (0.75, 4 / 3)
    """Smallest and largest width of a crop over its height, in shares of the picture's."""
    box_area_px: tuple[float, float] = (64.0**2, 1024.0**2)
    """Labelled boxes of another area, in pixels of the picture, are left out."""
    category_text: str = "a satellite image of {}"


@dataclass(frozen=True)
class GrpoPart:
    """How the objective `grpo` draws and judges answers; the values are those of ScoreRS (arXiv 2503.00743)."""

    rewards: dict[str, str] = field(default_factory=lambda: {EVERY_OTHER: "exact"})
    """A file of `rewards` for each task; `*` stands for the tasks that are not named."""
    form: Literal["think", "free"] = "think"
    """`think`: a thought and an answer in tags, which the question asks for; `free`: the whole text is the answer."""
    scorer: str | None = None
    """The score model of the reward `score`: a folder or a hub id."""
    group: int = 8
    """Answers that are drawn to each question and compared with each other."""
    longest_answer: int = 1024
    """In tokens."""
    temperature: float = 1.0
    top_p: float = 0.99
    beta: float = 0.01
    """Weight of the distance from the model without its adapter."""
    clip_low: float = 0.2
    clip_high: float = 0.3


@dataclass(frozen=True)
class Recipe:
    """One stage of training."""

    objective: str
    """A file of `objectives`. `words` pulls visual tokens to the embeddings of the words they show. The others predict
    the next token: `text` of packed questions about one picture, `chat` of every answer of a conversation and the token
    that ends it, `plain` of a caption and a line end behind a picture, without a question and a template. `clip` draws
    pictures and texts together, `grpo` makes answers likelier that are judged better than others."""
    data: DataPart
    optim: OptimPart
    preset: str = ""
    """The system that is trained; left out where `model` is of another kind than ours."""
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
    clip: ClipPart = field(default_factory=ClipPart)
    """`clip`: which losses, and of what."""
    grpo: GrpoPart = field(default_factory=GrpoPart)
    """`grpo`: how answers are drawn and judged."""
    sharding: str | None = None
    """How several processes split the model: a file of `configs` (`fsdp`, `fsdp_grad`, `zero2`, `zero3`,
    `zero3_offload`), or one of the user's. None gives all of it to each of them."""
    quantise: Literal["none", "8bit", "4bit"] = "none"
    """Hold the linear layers of the frozen language model in fewer bits, through bitsandbytes; with `lora` this is
    QLoRA (Dettmers et al., 2023)."""
    place_words: bool = False
    """Begin with grid tokens that carry the words of where they lie; else they keep what they have."""
    out: Path = Path("runs/unnamed")
    seed: int = 0
    save_steps: int = 100
    keep_checkpoints: int = 2
    """How many of the last checkpoints stay; that of the lowest loss on `val` stays as well."""
    log_steps: int = 10
    eval_steps: int = 0
    """Steps between two evaluations on the rows of the split `val`; 0 leaves them out."""
    eval_answers: int = 4
    """Answers that are written to answers.jsonl at each evaluation."""
    write: Literal["last", "best"] = "last"
    """Which weights the stage leaves behind: the last ones, or those of the lowest loss on `val`."""
    trackers: tuple[Literal["wandb", "trackio"], ...] = ()
    """Where else it is logged. loss.jsonl is always written, TensorBoard where it is installed."""

    def __post_init__(self) -> None:
        names = OBJECTIVES.names()
        if self.objective not in names:
            raise ConfigError(
                "no such objective",
                found=self.objective,
                allowed=", ".join(names),
                next_step=nearest(self.objective, names),
            )
        for wrong, what, found, advice in self._clashes():
            if wrong:
                raise ConfigError(what, found=found, next_step=advice)

    def _clashes(self) -> tuple[tuple[bool, str, object, str], ...]:
        """Combinations that do not work: whether there, what is wrong, what was found, what to do."""
        optim, packed = self.optim, self.data.pack_tokens > 0
        flash = optim.attention == "flash_attention_2"
        own_masks = self.objective in OWN_MASKS
        return (
            (optim.compile and not own_masks, "only packed questions are compiled", self.objective, _NO_COMPILE),
            (
                packed and self.objective not in PACKED,
                "only conversations and captions are packed by length",
                f"data.pack_tokens, objective {self.objective}",
                "set data.pack_tokens=0; the objective text packs the questions of a picture by itself",
            ),
            (
                flash and own_masks,
                "FlashAttention cannot share a picture between questions",
                "optim.attention=flash_attention_2, objective text",
                "leave optim.attention at auto",
            ),
            (
                flash and optim.precision == "fp32",
                "FlashAttention computes in 16 bits",
                "optim.precision=fp32",
                "set optim.precision=bf16",
            ),
            (
                self.quantise != "none" and self.lora is None,
                "a quantised language model learns through an adapter only",
                f"quantise={self.quantise}, lora=null",
                "give the recipe lora: {rank: ..., alpha: ...}, or leave quantise out",
            ),
            (
                self.write == "best" and self.eval_steps <= 0,
                "the best weights are known by evaluations only",
                f"write=best, eval_steps={self.eval_steps}",
                "set eval_steps, and give the data rows of the split val",
            ),
            (
                min(self.save_steps, self.log_steps, self.keep_checkpoints, optim.batch_images, optim.accumulate) < 1,
                "save_steps, log_steps, keep_checkpoints, batch_images and accumulate are at least 1",
                (self.save_steps, self.log_steps, self.keep_checkpoints, optim.batch_images, optim.accumulate),
                "",
            ),
        )


_NO_COMPILE = "set optim.compile=false"


def recipe_names() -> list[str]:
    """List the recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def recipe_file(name: str) -> Path:
    """Return the YAML of a recipe or curriculum, by name or by its path.

    Raises:
        ConfigError: there is none.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        names = recipe_names()
        raise ConfigError("no such recipe", found=name, allowed=", ".join(names), next_step=nearest(name, names))
    return path


def load_recipe(name: str, overrides: list[str]) -> Recipe:
    """Read a recipe by name, or by the path of a YAML of the user's. `extends: NAME` takes over another one.

    Raises:
        ConfigError: there is none, or it holds something that a recipe does not have.
    """
    return load_yaml(recipe_file(name), Recipe, overrides)
