"""Checkpoints that are whole or not there: written under another name, flushed, renamed; the oldest are removed."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lhrs_chat.config import dump_yaml, to_dict
from lhrs_chat.errors import ConfigError, DataError, LhrsError
from lhrs_chat.registry import file_sha256

from .order import step_rows
from .parallel import ZERO, config_file, world
from .recipe import Recipe, load_recipe

log = logging.getLogger(__name__)

PROVENANCE, RECIPE = "provenance.json", "recipe.yaml"
PACKAGES = ("lhrs_chat", "torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "numpy", "pillow")
_NAME = re.compile(r"checkpoint-(\d+)")
# What decides which rows make which step; another value of one cannot go on from a checkpoint.
_ORDER = (
    *("objective", "seed", "data.mix", "data.task_weights", "data.questions_per_image", "data.passes"),
    "data.pack_tokens",
)
_CUT = ("optim.batch_images", "optim.accumulate", "processes")  # may change as long as a step has as many rows


def provenance(recipe: Recipe, data: Mapping[str, str]) -> dict[str, Any]:
    """Say what a run is made of: versions, hashes of the rows and of what it starts from."""
    began = sorted(recipe.start.glob("*.safetensors")) if recipe.start is not None else []
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "data": dict(data),
        "start": {path.name: file_sha256(path) for path in began},
        "processes": world(),
        "step_rows": step_rows(recipe.optim),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def write_facts(folder: Path, recipe: Recipe, facts: Mapping[str, Any]) -> None:
    """Put the resolved recipe and its provenance beside weights."""
    (folder / RECIPE).write_text(dump_yaml(recipe), encoding="utf-8")
    (folder / PROVENANCE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def step_of(folder: Path) -> int:
    """Return the step of a checkpoint, -1 where the name is none of a checkpoint."""
    match = _NAME.fullmatch(folder.name)
    return int(match[1]) if match else -1


def checkpoints(out: Path) -> list[Path]:
    """List the whole checkpoints of a run, oldest first."""
    return sorted((path for path in out.glob("checkpoint-*") if step_of(path) >= 0), key=step_of)


def last_checkpoint(recipe: Recipe, facts: Mapping[str, Any]) -> Path | None:
    """Return the checkpoint that a run goes on from, or None where it begins.

    Raises:
        ConfigError: the recipe puts the rows in another order than that of the checkpoint.
        DataError: the rows have changed since.
    """
    found = checkpoints(recipe.out)
    if not found:
        return None
    last = found[-1]
    if not (last / PROVENANCE).is_file():
        log.warning("%s does not say what it was made from: it is gone on from unchecked", last)
        return last
    before = json.loads((last / PROVENANCE).read_text(encoding="utf-8"))
    advice = "name another folder as out, or remove the checkpoints of this one"
    for what, error in (("data", DataError), ("start", ConfigError)):
        if before[what] != facts[what]:
            changed = sorted(k for k in {*before[what], *facts[what]} if before[what].get(k) != facts[what].get(k))
            raise error(f"what this run learns from has changed since {last}", found=changed, next_step=advice)
    then, now = (_flat(to_dict(given)) for given in (load_recipe(str(last / RECIPE), []), recipe))
    then["processes"], now["processes"] = before.get("processes", 1), facts["processes"]
    changed = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    cut = () if before.get("step_rows", facts["step_rows"]) == facts["step_rows"] else _CUT
    fatal = [name for name in changed if name.startswith((*_ORDER, *cut))]
    if fatal:
        raise ConfigError(
            f"the order of rows differs from that of {last}",
            found=", ".join(f"{name}={now.get(name)}, was {then.get(name)}" for name in fatal),
            next_step=advice,
        )
    zero = recipe.sharding is not None and config_file(recipe.sharding).suffix == ".json"
    if zero != (last / ZERO).is_dir() or (zero and "processes" in changed):
        raise ConfigError(
            f"{last.name} was written by processes that held the model in another way",
            found=f"sharding={now['sharding']}, {now['processes']} processes",
            allowed=f"sharding={then['sharding']}, {then['processes']} processes: DeepSpeed splits its files by them",
            next_step="go on as before; what a finished run trained can be used with any number of processes",
        )
    if changed:
        log.warning("since %s the recipe has other values of %s", last.name, ", ".join(changed))
    if before["versions"] != facts["versions"]:
        log.warning("%s was written by other versions: the run may differ from an undisturbed one", last)
    return last


def _flat(section: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in section.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return flat


def part_of(folder: Path) -> Path:
    """Return the name of a checkpoint that is being written."""
    return folder.with_name(f".{folder.name}.part")


@contextmanager
def whole_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a folder to write a checkpoint to, and rename it to `folder` once all of it is on disk.

    Raises:
        LhrsError: it could not be written, as on a full disk; nothing of it is left.
    """
    scratch = part_of(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        yield scratch
        for path in scratch.rglob("*"):
            if path.is_file():
                _flush(path)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
        _flush(folder.parent)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors say a full disk in their own ways
        shutil.rmtree(scratch, ignore_errors=True)
        raise cannot_write(folder, error) from error


def cannot_write(path: Path, error: BaseException) -> LhrsError:
    """Return the error of a run that cannot write on."""
    kept = checkpoints(path.parent)
    return LhrsError(
        f"{path.name} could not be written, the run has stopped",
        found=f"{path}: {str(error).splitlines()[0]}",
        next_step=f"make room on the disk and start the command again; it goes on from {kept[-1].name}"
        if kept
        else "make room on the disk and start the command again; there is no checkpoint yet",
    )


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_old(out: Path, keep: int, best: int | None) -> None:
    """Remove all checkpoints but the last `keep` and that of the step `best`."""
    for path in checkpoints(out)[:-keep]:
        if step_of(path) != best:
            shutil.rmtree(path)
