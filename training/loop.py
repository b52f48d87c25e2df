"""One stage from its recipe to what it trained, whatever it teaches: guards, estimate, steps, files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from lhrs_chat.config import dump_yaml
from lhrs_chat.errors import LhrsError
from lhrs_chat.registry import file_sha256

from .arguments import arguments
from .checkpoints import RECIPE, last_checkpoint, provenance, write_facts
from .estimate import tell
from .guards import no_overlap
from .journal import PICTURE, Journal, draw, read_journal
from .meter import Meter, gemm_peak
from .objectives import OBJECTIVES
from .parallel import first_goes_first, is_first, losing_nobody, parallel, wait
from .recipe import Recipe
from .rows import data_hashes
from .stage import Stage
from .trainer import StageTrainer

log = logging.getLogger(__name__)

FINISHED = "finished.json"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def run(recipe: Recipe) -> Path:
    """Run a stage to its end, from its last checkpoint where there is one, and write what it trained.

    Raises:
        LhrsError: the recipe, the rows or what it starts from do not fit, and nothing was trained; or the run cannot go
            on, and its last checkpoint is left.
    """
    settings = arguments(recipe)
    objective = OBJECTIVES.get(recipe.objective)
    if objective.run is not None:
        no_overlap(recipe)
        steps = objective.run(recipe)
        _finish(recipe, steps, provenance(recipe, data_hashes(recipe.data.folder)))
        return recipe.out
    with losing_nobody():
        with first_goes_first():
            no_overlap(recipe)
            stage = objective.begin(recipe)
        fit(recipe, stage, settings)
    return recipe.out


def fit(recipe: Recipe, stage: Stage, settings: TrainingArguments | None = None) -> list[dict[str, Any]]:
    """Train a stage in place, write what it trained, and return what was logged.

    Raises:
        LhrsError: see `run`.
    """
    settings = settings or arguments(recipe)
    if recipe.eval_steps and not stage.held_out:
        raise LhrsError(
            "there is nothing to evaluate on",
            found=f"no row of the split val in {recipe.data.folder}",
            next_step="give some rows the split val, or set eval_steps=0",
        )
    facts = provenance(recipe, stage.data)
    last = last_checkpoint(recipe, facts)
    tell(recipe, stage)
    with first_goes_first():
        if is_first():
            recipe.out.mkdir(parents=True, exist_ok=True)
            (recipe.out / FINISHED).unlink(missing_ok=True)
            write_facts(recipe.out, recipe, facts)
        peak = gemm_peak(DTYPES[recipe.optim.precision])
    meter = Meter(stage.sources, stage.flops_per_token, peak)
    held = parallel(recipe, stage.module)
    trainer = StageTrainer(recipe, stage, held, settings, meter, facts, [Journal(recipe.out)])
    if last is not None:
        log.info("goes on from %s", last)
    try:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    except torch.OutOfMemoryError as error:
        raise LhrsError(
            "the memory of the GPU is not enough",
            found=str(error).splitlines()[0],
            next_step="halve optim.batch_images (and double optim.accumulate, the steps stay the same), set "
            "optim.gradient_checkpointing=true, optim.precision=bf16, a smaller data.pack_tokens, or quantise=4bit",
        ) from error
    trainer.write()
    logged = read_journal(recipe.out)
    if is_first():
        draw(logged, recipe.out / PICTURE)
        _finish(recipe, trainer.state.global_step, facts)
    wait()
    return logged


def _finish(recipe: Recipe, steps: int, facts: dict[str, Any]) -> None:
    weights = {path.name: file_sha256(path) for path in sorted(recipe.out.glob("*.safetensors"))}
    record = {"steps": steps, "weights": weights, **facts}
    (recipe.out / FINISHED).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def is_finished(recipe: Recipe) -> bool:
    """Tell whether this very stage was run to its end.

    Raises:
        LhrsError: it was run to its end with another recipe, on other rows, or from another start.
    """
    record = recipe.out / FINISHED
    if not record.is_file():
        return False
    told = json.loads(record.read_text(encoding="utf-8"))
    now = provenance(recipe, told["data"])
    changed = [name for name in ("start",) if told[name] != now[name]]
    if (recipe.out / RECIPE).read_text(encoding="utf-8") != dump_yaml(recipe):
        changed.append("recipe")
    if changed:
        raise LhrsError(
            "this stage was finished before, but with something else",
            found=f"{recipe.out}: another {', '.join(changed)}",
            next_step="set out=FOLDER for a new run, or remove the folder of this stage and those behind it",
        )
    return True
