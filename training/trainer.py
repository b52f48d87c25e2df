"""transformers' Trainer for objectives that return their loss. It saves only what is trained, and resumes exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.models.strict import refuse

from .recipe import OptimPart, Recipe
from .schedule import cosine_to_min

TRAINED = "trained.safetensors"


class Rows(Dataset[Any]):
    """A list, as torch wants it."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class StageTrainer(Trainer):
    """Trainer whose model returns the loss, whose order is fixed, and which saves trained tensors only."""

    def __init__(self, optim: OptimPart, **settings: Any) -> None:
        super().__init__(**settings)
        self.optim = optim

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """Make the schedule of the recipe."""
        chosen = optimizer or self.optimizer
        if self.optim.schedule == "cosine_to_min" and chosen is not None:
            self.lr_scheduler = cosine_to_min(chosen, self.optim, num_training_steps)
            return self.lr_scheduler
        return super().create_scheduler(num_training_steps, optimizer)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run the objective."""
        loss: torch.Tensor = model(**inputs)
        return loss

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {name: _moved(value, self.args.device) for name, value in inputs.items()}

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(rows)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(trained_state(self.trained_module), folder / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trained(self.trained_module, Path(resume_from_checkpoint) / TRAINED)

    @property
    def trained_module(self) -> nn.Module:
        """The module that is trained."""
        if self.model is None:
            raise DataError("a stage has an objective", found="none")
        return self.model


class StopAt(TrainerCallback):
    """Ends a run at a step, with a checkpoint; None lets it go on."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Stop where it was asked for."""
        if self.step is not None and state.global_step >= self.step:
            control.should_training_stop = control.should_save = True
        return control


def trained_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of `module` that are trained."""
    return {name: tensor.detach().contiguous() for name, tensor in module.named_parameters() if tensor.requires_grad}


def load_trained(module: nn.Module, file: Path) -> None:
    """Put back what `trained_state` gave, all of it."""
    own = trained_state(module)
    stored = load_file(file)
    misshaped = [name for name in own.keys() & stored.keys() if own[name].shape != stored[name].shape]
    refuse(str(file), own.keys() - stored.keys(), stored.keys() - own.keys(), misshaped)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stored[name])


def _moved(value: Any, device: torch.device) -> Any:
    """Put the tensors of a batch where the model is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{name: _moved(item, device) for name, item in vars(value).items()})
    return value


def arguments(recipe: Recipe) -> TrainingArguments:
    """Translate a recipe into the Trainer's arguments.

    Raises:
        ConfigError: this machine cannot compute in the precision of the recipe.
    """
    optim = recipe.optim
    if optim.precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("fp16 needs a GPU", found="none", next_step="set optim.precision=bf16, or fp32")
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
        save_steps=recipe.save_steps,
        save_total_limit=2,
        seed=recipe.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=optim.precision == "bf16",
        fp16=optim.precision == "fp16",
        remove_unused_columns=False,
        report_to=[],
        dataloader_num_workers=recipe.data.workers,
        disable_tqdm=True,
    )
