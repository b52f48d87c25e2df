"""The objective `grpo`: answers are drawn, judged, and the better ones of a group made likelier, by TRL's GRPOTrainer.

For vision-language models of transformers with a chat template, through an adapter. Rewards are the files of `rewards`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lhrs_chat import samples
from lhrs_chat.errors import ConfigError, DataError, MissingExtraError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.models.backends.transformers import TransformersBackend
from lhrs_chat.schema import Sample

from ..arguments import trackers
from ..boxes import check_boxes, size_px_of, spoken
from ..checkpoints import last_checkpoint, provenance, write_facts
from ..foreign import adapter_names, is_foreign, open_foreign, write_adapter
from ..journal import Journal
from ..optimizer import adamw, choose
from ..pictures import opened
from ..recipe import EVERY_OTHER, Recipe
from ..rewards import REWARDS, Judge, Wanted
from ..rewards._form import THINK, gated
from ..rows import data_hashes, files_of
from ..stage import Stage
from ..turns import Writer
from . import Objective

log = logging.getLogger(__name__)


class Questions:
    """Makes questions as TRL takes them; pictures are opened when they are asked for.

    Args:
        wanted: of each question.
        form: of the answers.
    """

    def __init__(self, wanted: Sequence[Wanted], form: str) -> None:
        self.wanted = wanted
        self.form = form

    def __call__(self, batch: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        """Return the questions whose numbers a batch holds."""
        rows = [self.wanted[number] for number in batch["row"]]
        return {
            "prompt": [self._prompt(row) for row in rows],
            "images": [[opened(file) for file in row.files] for row in rows],
            "row": list(batch["row"]),
        }

    def _prompt(self, row: Wanted) -> list[dict[str, Any]]:
        words = f"{row.question}\n{THINK}" if self.form == "think" else row.question
        return [{"role": "user", "content": words}]


class Judged:
    """The reward function that TRL calls with a batch of answers.

    Args:
        wanted: of each question.
        judges: by task.
        form: of the answers.
    """

    __name__ = "reward"

    def __init__(self, wanted: Sequence[Wanted], judges: Mapping[str, Judge], form: str) -> None:
        self.wanted = wanted
        self.judges = judges
        self.form = form

    def __call__(self, completions: Sequence[list[dict[str, str]]], row: Sequence[int], **_: Any) -> list[float]:
        """Return what answers are worth; TRL hands over more than is needed.

        Args:
            completions: each one turn of the assistant.
            row: numbers of their questions.
        """
        texts = [turns[-1]["content"] for turns in completions]
        return gated(texts, [self.wanted[number] for number in row], self.judges, EVERY_OTHER, self.form)


def _short(entry: Mapping[str, Any]) -> str:
    """Write a line for a person: what answers were worth, and how long they were."""
    return f"reward {entry['reward']:.3f}, answers of {entry['completions/mean_length']:.0f} tokens"


def run(recipe: Recipe) -> int:
    """Train a stage and write its adapter; return its steps.

    Raises:
        MissingExtraError: TRL is not installed.
        LhrsError: the recipe or its rows do not fit.
    """
    try:
        from datasets import Dataset
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.grpo_trainer import GRPOTrainer
    except ImportError as error:
        raise MissingExtraError("trl", "grpo", "the objective grpo") from error
    if not is_foreign(recipe):
        raise ConfigError(
            "grpo teaches vision-language models of transformers",
            found=recipe.model or recipe.preset,
            allowed="model: a folder or a hub id, such as Qwen/Qwen2.5-VL-3B-Instruct",
        )
    backend = open_foreign(recipe)
    wanted = _wanted(recipe, backend)
    judges = {task: REWARDS.get(name).begin(recipe.grpo) for task, name in recipe.grpo.rewards.items()}
    facts = provenance(recipe, data_hashes(recipe.data.folder))
    last = last_checkpoint(recipe, facts)
    recipe.out.mkdir(parents=True, exist_ok=True)
    write_facts(recipe.out, recipe, facts)
    model: Any = backend.model
    holder = nn.ModuleDict({"model": model})
    rates = choose(holder, recipe.optim.lr, adapter_names(holder))
    optimizer = adamw(holder, rates, recipe.optim)
    backend.processor.tokenizer.padding_side = "left"
    judge: Any = Judged(wanted, judges, recipe.grpo.form)  # TRL's word for it names a function
    rows = Dataset.from_dict({"row": list(range(len(wanted)))})
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=judge,
        args=GRPOConfig(**_settings(recipe)),
        train_dataset=rows.with_transform(Questions(wanted, recipe.grpo.form)),
        processing_class=backend.processor,
        callbacks=[Journal(recipe.out, _short)],
        optimizers=(optimizer, None),
    )
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    write_adapter(backend, recipe.out)
    return int(trainer.state.global_step)


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Say a recipe in TRL's words."""
    optim, grpo = recipe.optim, recipe.grpo
    if (optim.batch_images * optim.accumulate) % grpo.group:
        raise ConfigError(
            "a step holds whole groups of answers",
            found=f"batch_images {optim.batch_images} x accumulate {optim.accumulate}, grpo.group {grpo.group}",
            allowed=f"a product that {grpo.group} divides",
        )
    return {
        "output_dir": str(recipe.out),
        "per_device_train_batch_size": optim.batch_images,
        "gradient_accumulation_steps": optim.accumulate,
        "max_steps": optim.stop_step or optim.max_steps,
        "num_train_epochs": recipe.data.passes,
        "lr_scheduler_type": optim.schedule,
        "warmup_steps": optim.warmup_share,
        "max_grad_norm": optim.clip_norm,
        "num_generations": grpo.group,
        "max_completion_length": grpo.longest_answer,
        "temperature": grpo.temperature,
        "top_p": grpo.top_p,
        "beta": grpo.beta,
        "epsilon": grpo.clip_low,
        "epsilon_high": grpo.clip_high,
        "logging_steps": recipe.log_steps,
        "save_steps": recipe.save_steps,
        "save_total_limit": recipe.keep_checkpoints,
        "seed": recipe.seed,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": optim.precision == "bf16",
        "fp16": optim.precision == "fp16",
        "gradient_checkpointing": optim.gradient_checkpointing,
        "remove_unused_columns": False,
        "report_to": trackers(recipe),
        "run_name": recipe.out.name,
        "disable_tqdm": True,
    }


def _wanted(recipe: Recipe, backend: TransformersBackend) -> list[Wanted]:
    """Read the first question of each row.

    Raises:
        DataError: there is none, or no reward is named for its task.
    """
    part = recipe.data
    writer = Writer(backend, part.task_tags)
    rows = [row for row in samples.read(part.folder) if row.split == "train" and part.share(row.source)]
    made = [_question(row, writer.layout, backend.dialect) for row in rows]
    if not made:
        raise DataError("there is nothing to learn from", found=f"no row of the split train in {part.folder}")
    named = recipe.grpo.rewards
    tasks = sorted({row.task for row in made} - named.keys()) if EVERY_OTHER not in named else []
    if tasks:
        raise ConfigError("tasks without a reward", found=", ".join(tasks), next_step="name them in grpo.rewards, or *")
    return made


def _question(sample: Sample, layout: Callable[[tuple[int, int]], Placement | None], dialect: str) -> Wanted:
    check_boxes(sample)
    turns = spoken(sample, dialect, layout)
    answer = next((turn.text for turn in turns if turn.role == "assistant"), sample.targets.answer or "")
    question = next((turn.text for turn in turns if turn.role == "user"), None)
    if question is None or not answer.strip():
        raise DataError("a row for grpo has a question and its answer", found=sample.id)
    size = size_px_of(sample.images[0]) if sample.images else (1, 1)
    placement = layout(size) if sample.images else None
    return Wanted(sample.id, sample.task, question, answer, sample.targets, files_of(sample), size, dialect, placement)


def begin(recipe: Recipe) -> Stage:
    """Refuse: answers are drawn by TRL's own loop.

    Raises:
        ConfigError: always.
    """
    raise ConfigError("grpo has no loss of its own that our loop could follow", found=recipe.objective, allowed="run")


OBJECTIVE = Objective(begin, run=run)
