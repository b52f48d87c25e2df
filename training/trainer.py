"""transformers' Trainer for stages: every learned item of a step weighs the same, and a run resumes exactly."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lhrs_chat.errors import LhrsError
from lhrs_chat.models.strict import refuse

from .checkpoints import checkpoints, remove_old, step_of, whole_or_nothing, write_facts
from .guards import EveryPictureIsLearned
from .meter import Meter, by_source
from .optimizer import adamw
from .recipe import Recipe
from .schedule import cosine_to_min
from .stage import TOLD, Stage, Told

TRAINED, STATE = "trained.safetensors", "trainer_state.json"
ANSWERS = "answers.jsonl"


class Rows(Dataset[Any]):
    """A list, as torch wants it."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class StageTrainer(Trainer):
    """Trainer of a stage: fixed order, token-weighted steps, checkpoints of what is trained only.

    Args:
        recipe: of the stage.
        stage: what is trained, on what.
        settings: from `arguments`.
        meter: counts what passes.
        facts: provenance, written into every checkpoint.
        callbacks: more of them.
    """

    loss_is_scaled_for_ga = True  # by the learned items of all batches of a step

    def __init__(
        self,
        recipe: Recipe,
        stage: Stage,
        settings: TrainingArguments,
        meter: Meter,
        facts: Mapping[str, Any],
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        super().__init__(
            model=stage.module,
            args=settings,
            train_dataset=Rows(stage.rows),
            eval_dataset=Rows(stage.held_out) if stage.held_out else None,
            data_collator=stage.batch,
            optimizers=(adamw(stage.module, stage.rates, recipe.optim), None),
            callbacks=[Boundaries(recipe.optim.stop_step), *callbacks],
        )
        self.remove_callback(PrinterCallback)  # the journal tells of each line
        self.recipe, self.stage, self.meter, self.facts = recipe, stage, meter, facts
        self.guard: EveryPictureIsLearned | None = EveryPictureIsLearned(stage.visual) if stage.visual else None

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """Make the schedule of the recipe."""
        chosen = optimizer or self.optimizer
        if self.recipe.optim.schedule == "cosine_to_min" and chosen is not None:
            self.lr_scheduler = cosine_to_min(chosen, self.recipe.optim, num_training_steps)
            return self.lr_scheduler
        return super().create_scheduler(num_training_steps, optimizer)

    # --- one step -----------------------------------------------------------------------------------------------------

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        """Count the learned items of all batches of a step, over all processes."""
        items = torch.tensor(sum(len(batch[TOLD].sources) for batch in batch_samples), device=device)
        return self.accelerator.gather(items).sum() if self.args.world_size > 1 else items

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Run one batch there and back.

        Raises:
            LhrsError: the loss is no number.
            DataError: the pictures do not reach what is learned.
        """
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise self._diverged("the loss", float(loss), inputs[TOLD])
        if self.guard is not None and self.guard.checked(inputs[TOLD]):
            self.guard = None
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the share of this batch in the mean over all learned items of the step.

        Gradients of processes are averaged, so each one's share is multiplied by their number.
        """
        given = {name: value for name, value in inputs.items() if name != TOLD}
        losses: torch.Tensor = model(**given)
        self.meter.add(inputs[TOLD], losses)
        items = len(losses) if num_items_in_batch is None else num_items_in_batch
        share: torch.Tensor = losses.sum() * self.args.world_size / items
        return share

    def _diverged(self, what: str, value: float, told: Told | None) -> LhrsError:
        kept = checkpoints(self.recipe.out)
        rows = f" in a batch of the rows {', '.join(told.ids[:16])}" if told is not None else ""
        return LhrsError(
            f"{what} is no finite number at step {self.state.global_step + 1}, the run has stopped",
            found=f"{value}{rows}",
            next_step="lower optim.lr or optim.clip_norm, or look at these rows; "
            + (f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"),
        )

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Return the norm of the gradient; one that is no number would spoil every weight."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        if self.recipe.optim.precision != "fp16" and not math.isfinite(float(norm)):  # fp16 skips such a step by itself
            raise self._diverged("the gradient", float(norm), None)
        return norm

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        self.state.num_input_tokens_seen += inputs[TOLD].tokens

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the meter counted to a line of the log."""
        if "loss" in logs:
            logs = {**logs, "tokens": float(self.state.num_input_tokens_seen), **self.meter.read()}
        super().log(logs, None)

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Return the loss of the held-out rows, all and by source, and write a few answers."""
        module, rows = self.trained_module, self.stage.held_out
        size = self.args.per_device_train_batch_size
        sums = torch.zeros(2, len(self.stage.sources), dtype=torch.float64)
        module.eval()
        with torch.no_grad(), torch.random.fork_rng():
            for start in range(0, len(rows), size):
                batch = self._prepare_inputs(self.stage.batch(rows[start : start + size]))
                told: Told = batch.pop(TOLD)
                with self.compute_loss_context_manager():
                    losses = module(**batch).double().cpu()
                sums[0].index_add_(0, told.sources.cpu(), losses)
                sums[1].index_add_(0, told.sources.cpu(), torch.ones_like(losses))
            if self.args.should_save:
                self._answer()
        total, count = sums.sum(1).tolist()
        parts = by_source(self.stage.sources, *sums)
        metrics = {"eval_loss": total / count, **{f"eval_{name}": value for name, value in parts.items()}}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _answer(self) -> None:
        if self.stage.answer is None:
            return
        chosen = self.stage.held_out[:: max(1, len(self.stage.held_out) // max(1, self.recipe.eval_answers))]
        with (self.recipe.out / ANSWERS).open("a", encoding="utf-8") as stream:
            for row in chosen[: self.recipe.eval_answers]:
                said = dataclasses.asdict(self.stage.answer(row))
                stream.write(json.dumps({"step": self.state.global_step, **said}, ensure_ascii=False) + "\n")

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Keep a checkpoint of every step that is better than all before."""
        best: bool = super()._determine_best_metric(metrics, trial)
        if best:
            self.control.should_save = True
        return best

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint that is whole or not there, and remove the oldest."""
        state, out = self.state, self.recipe.out
        folder = out / f"checkpoint-{state.global_step}"
        if not self.args.should_save:  # of several processes, the first one writes
            return
        state.best_model_checkpoint = (
            str(out / f"checkpoint-{state.best_global_step}") if state.best_global_step else None
        )
        with whole_or_nothing(folder) as scratch:
            self.save_model(str(scratch), _internal_call=True)
            self._save_optimizer_and_scheduler(str(scratch))
            self._save_scaler(str(scratch))
            self._save_rng_state(str(scratch))
            state.save_to_json(str(scratch / STATE))
            write_facts(scratch, self.recipe, self.facts)
        remove_old(out, self.recipe.keep_checkpoints, state.best_global_step)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save_file(trained_state(self.trained_module), Path(output_dir or str(self.args.output_dir)) / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trained(self.trained_module, Path(resume_from_checkpoint) / TRAINED)

    def take_best(self) -> None:
        """Put back the weights of the lowest loss on the held-out rows."""
        best = next(path for path in checkpoints(self.recipe.out) if step_of(path) == self.state.best_global_step)
        load_trained(self.trained_module, best / TRAINED)

    # --- what the Trainer would do otherwise --------------------------------------------------------------------------

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {name: _moved(value, self.args.device) for name, value in inputs.items()}

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(rows)

    @property
    def trained_module(self) -> nn.Module:
        """The module that is trained."""
        return self.stage.module


class Boundaries(TrainerCallback):
    """Ends a run at a step, with a checkpoint, and ends a line of the log wherever a checkpoint or evaluation comes.

    Without the latter a run that goes on from a checkpoint would lose what its line had counted before.
    """

    def __init__(self, stop_step: int | None) -> None:
        self.stop_step = stop_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Stop where it was asked for."""
        if self.stop_step is not None and state.global_step >= self.stop_step:
            control.should_training_stop = control.should_save = True
        if control.should_save or control.should_evaluate:
            control.should_log = True
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
