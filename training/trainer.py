"""transformers' Trainer for stages: every learned item of a step weighs the same, and a run resumes exactly."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lhrs_chat.errors import LhrsError

from .checkpoints import cannot_write, checkpoints, part_of, remove_old, step_of, whole_or_nothing, write_facts
from .guards import EveryPictureIsLearned
from .meter import Meter, by_source
from .optimizer import adamw
from .parallel import Parallel, is_first, wait
from .recipe import Recipe
from .schedule import cosine_to_min
from .stage import TOLD, Stage, Told

TRAINED, STATE, SCHEDULE = "trained.safetensors", "trainer_state.json", "scheduler.pt"
ANSWERS = "answers.jsonl"


class Rows(Dataset[Any]):
    """A list, as torch wants it.

    Behind its end it has so many places with nothing in them that every process gets as many batches.
    """

    def __init__(self, items: Sequence[Any], together: int = 1) -> None:
        self.items = items
        self.size = -(-len(items) // together) * together

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return self.items[index] if index < len(self.items) else None


class StageTrainer(Trainer):
    """Trainer of a stage: fixed order, token-weighted steps, checkpoints of what is trained only.

    Args:
        recipe: of the stage.
        stage: what is trained, on what.
        parallel: how the processes hold it.
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
        parallel: Parallel,
        settings: TrainingArguments,
        meter: Meter,
        facts: Mapping[str, Any],
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        self.recipe, self.stage, self.meter, self.facts = recipe, stage, meter, facts
        self.parallel, self.called = parallel, stage.module
        super().__init__(
            model=stage.module,
            args=settings,
            train_dataset=Rows(stage.rows, recipe.optim.batch_images * settings.world_size),
            eval_dataset=Rows(stage.held_out) if stage.held_out else None,
            data_collator=self._batch,
            optimizers=(adamw(stage.module, stage.rates, recipe.optim), None),
            callbacks=[Boundaries(recipe.optim.stop_step), *callbacks],
        )
        self.remove_callback(PrinterCallback)  # the journal tells of each line
        self.guard: EveryPictureIsLearned | None = EveryPictureIsLearned(stage.visual) if stage.visual else None

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """Make the schedule of the recipe."""
        chosen = optimizer or self.optimizer
        if self.recipe.optim.schedule == "cosine_to_min" and chosen is not None:
            self.lr_scheduler = cosine_to_min(chosen, self.recipe.optim, num_training_steps)
            return self.lr_scheduler
        return super().create_scheduler(num_training_steps, optimizer)

    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        """Return what is called in a step; accelerate leaves what is not the model itself as it is."""
        if training and self.called is self.stage.module and self.optimizer is not None:
            self.called, self.optimizer = self.parallel.wrap(self.optimizer)
        return self.called

    def _move_model_to_device(self, model: nn.Module, device: torch.device) -> None:
        """Move a whole model; what is shared is moved part by part by what shares it."""
        if self.recipe.sharding is None:
            super()._move_model_to_device(model, device)

    # --- one step -----------------------------------------------------------------------------------------------------

    def _batch(self, drawn: Sequence[Any]) -> dict[str, Any]:
        """Make a batch; one of nothing is computed like another one, but nothing is learned of it."""
        rows = [row for row in drawn if row is not None]
        made = self.stage.batch(rows or self.stage.rows[:1])
        if not rows:
            told: Told = made[TOLD]
            made[TOLD] = dataclasses.replace(told, ids=(), sources=told.sources[:0], tokens=0, slots=0, samples=0)
        return made

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        """Count the learned items of all batches of a step, over all processes, and the tokens beside them."""
        told: list[Told] = [batch[TOLD] for batch in batch_samples]
        counts = torch.tensor([[sum(len(one.sources) for one in told), sum(one.tokens for one in told)]], device=device)
        items: torch.Tensor
        items, tokens = self.accelerator.gather(counts).sum(0)
        self.state.num_input_tokens_seen += int(tokens)
        return items

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
        if self.guard is not None and inputs[TOLD].ids and self.guard.checked(inputs[TOLD]):
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
        losses: torch.Tensor = model(**given)[: len(inputs[TOLD].sources)]  # none of them in a batch of nothing
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
        norm = self.parallel.clipped(super()._get_grad_norm(model, grad_norm=grad_norm))  # type: ignore[no-untyped-call]
        if self.recipe.optim.precision != "fp16" and not math.isfinite(norm):  # fp16 skips such a step by itself
            raise self._diverged("the gradient", norm, None)
        return norm

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        """Do nothing: the tokens of a step are counted with its items."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the meter counted to a line of the log."""
        if "loss" in logs:
            logs = {**logs, "tokens": float(self.state.num_input_tokens_seen), **self.meter.read()}
        super().log(logs, None)

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Return the loss of the held-out rows, all and by source, and write a few answers."""
        module, rows = self.called, self.stage.held_out
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
            with self.parallel.asking() as asks:
                if asks:
                    self._answer()
        total, count = sums.sum(1).tolist()
        parts = {**by_source(self.stage.sources, *sums), **(self.stage.measure() if self.stage.measure else {})}
        metrics = {"eval_loss": total / count, **{f"eval_{name}": value for name, value in parts.items()}}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _answer(self) -> None:
        if self.stage.answer is None:
            return
        chosen = self.stage.held_out[:: max(1, len(self.stage.held_out) // max(1, self.recipe.eval_answers))]
        said = [dataclasses.asdict(self.stage.answer(row)) for row in chosen[: self.recipe.eval_answers]]
        lines = [json.dumps({"step": self.state.global_step, **each}, ensure_ascii=False) + "\n" for each in said]
        if is_first():
            with (self.recipe.out / ANSWERS).open("a", encoding="utf-8") as stream:
                stream.writelines(lines)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Keep a checkpoint of every step that is better than all before."""
        best: bool = super()._determine_best_metric(metrics, trial)
        if best:
            self.control.should_save = True
        return best

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint that is whole or not there, and remove the oldest.

        Every process writes its random state and what only it has; the first one writes all else.
        """
        state, out = self.state, self.recipe.out
        state.best_model_checkpoint = (
            str(out / f"checkpoint-{state.best_global_step}") if state.best_global_step else None
        )
        trained = self.parallel.trained()
        optimizer: Any = self.optimizer
        schedule: Any = self.lr_scheduler
        with self._all_or_nothing(out / f"checkpoint-{state.global_step}") as scratch:
            self.parallel.save_optimizer(optimizer, scratch)
            self._save_rng_state(str(scratch))
            if is_first():
                save_file(trained, scratch / TRAINED)
                torch.save(schedule.state_dict(), scratch / SCHEDULE)
                self._save_scaler(str(scratch))
                state.save_to_json(str(scratch / STATE))
                write_facts(scratch, self.recipe, self.facts)
        if is_first():
            remove_old(out, self.recipe.keep_checkpoints, state.best_global_step)

    @contextmanager
    def _all_or_nothing(self, folder: Path) -> Iterator[Path]:
        """Give all processes one folder to write to; the first one makes it and, when all have written, renames it."""
        if is_first():
            with whole_or_nothing(folder) as scratch:
                wait()
                yield scratch
                wait()
        else:
            wait()
            try:
                yield part_of(folder)
            except (OSError, RuntimeError) as error:
                raise cannot_write(folder, error) from error
            wait()
        wait()  # nobody goes on before it has its name

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.parallel.put(Path(resume_from_checkpoint) / TRAINED)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Put back what makes the steps."""
        if checkpoint is not None and self.optimizer is not None and self.lr_scheduler is not None:
            self.parallel.load_optimizer(self.optimizer, Path(checkpoint))
            self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULE, weights_only=True))

    def write(self) -> None:
        """Write what was trained: the last weights, or those of the lowest loss on the held-out rows."""
        if self.recipe.write == "best":
            kept = checkpoints(self.recipe.out)
            self.parallel.put(next(path for path in kept if step_of(path) == self.state.best_global_step) / TRAINED)
        with self.parallel.plain():
            if is_first():
                self.stage.write(self.recipe.out)

    # --- what the Trainer would do otherwise --------------------------------------------------------------------------

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {name: _moved(value, self.args.device) for name, value in inputs.items()}

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(rows)


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


def _moved(value: Any, device: torch.device) -> Any:
    """Put the tensors of a batch where the model is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    if isinstance(value, Mapping):
        return {name: _moved(item, device) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{name: _moved(item, device) for name, item in vars(value).items()})
    return value
