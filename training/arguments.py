"""A recipe in the words of transformers' Trainer."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from transformers import TrainingArguments

from lhrs_chat.errors import ConfigError, LhrsError

from .recipe import Recipe


def trackers(recipe: Recipe) -> list[str]:
    """Return where a run is logged beside its own file: TensorBoard where it is installed, and what was asked for.

    Raises:
        LhrsError: a tracker is asked for that is not installed.
    """
    for name in recipe.trackers:
        if find_spec(name) is None:
            raise LhrsError(f"{name} is not installed", found=f"trackers: [{name}]", next_step=f"pip install {name}")
    return [*(["tensorboard"] if find_spec("tensorboard") is not None else []), *recipe.trackers]


def arguments(recipe: Recipe) -> TrainingArguments:
    """Translate a recipe into the Trainer's arguments.

    Raises:
        ConfigError: this machine cannot compute in the precision of the recipe.
        LhrsError: a tracker is asked for that is not installed.
    """
    optim = recipe.optim
    if optim.precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("fp16 needs a GPU", found="none", next_step="set optim.precision=bf16, or fp32")
    evaluates = recipe.eval_steps > 0
    return TrainingArguments(
        output_dir=str(recipe.out),
        per_device_train_batch_size=optim.batch_images,
        gradient_accumulation_steps=optim.accumulate,
        max_steps=optim.max_steps,
        num_train_epochs=1,
        warmup_steps=optim.warmup_share,
        lr_scheduler_type="constant" if optim.schedule == "cosine_to_min" else optim.schedule,
        max_grad_norm=optim.clip_norm,
        logging_steps=recipe.log_steps,
        logging_nan_inf_filter=False,
        save_steps=recipe.save_steps,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=recipe.eval_steps or None,
        metric_for_best_model="eval_loss" if evaluates else None,
        greater_is_better=False if evaluates else None,
        seed=recipe.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=optim.precision == "bf16",
        fp16=optim.precision == "fp16",
        remove_unused_columns=False,
        report_to=trackers(recipe),
        run_name=recipe.out.name,
        dataloader_num_workers=recipe.data.workers,
        disable_tqdm=True,
    )
