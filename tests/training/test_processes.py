"""Two processes learn what one does: the same losses and weights, from checkpoints that any number can go on from."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from lhrs_chat.errors import ConfigError
from tests.training.processes import furthest, journal, start
from tests.training.systems import tiny_recipe
from training import loop
from training.export import export_model
from training.parallel import CONFIGS, config_file
from training.trainer import Rows

# Two batches a step, three of them without a picture, an evaluation, a pass that does not come out even.
SETTINGS = (
    *("optim.batch_images=1", "optim.max_steps=6", "save_steps=2", "log_steps=1", "keep_checkpoints=9"),
    *("eval_steps=3", "eval_answers=1", "data.eval_rows=3", "optim.eps=1e-3", "optim.weight_decay=0"),
)
SHARDINGS = ("null", "fsdp", "fsdp_grad")
ZERO = ("zero2", "zero3")


@pytest.fixture(scope="module")
def alone(tiny_model, mixed, tmp_path_factory) -> Path:
    """One process, four batches a step."""
    out = tmp_path_factory.mktemp("alone") / "run"
    return loop.run(tiny_recipe(tiny_model, mixed, out, *SETTINGS, "optim.accumulate=4"))


def together(tiny_model, mixed, out, *more):
    return tiny_recipe(tiny_model, mixed, out, *SETTINGS, "optim.accumulate=2", *more)


def ran(recipe, log: Path, processes: int = 2) -> str:
    with log.open("ab") as stream:
        code = start(recipe, stream, processes).wait()
    said = log.read_text()
    assert code == 0, said[-3000:]
    return said


def same(one: Path, other: Path) -> None:
    a, b = journal(one), journal(other)
    assert [set(line) for line in a] == [set(line) for line in b]
    for name in ("loss", "eval_loss", "loss/long", "loss/short"):
        found = [line[name] for line in a if name in line]
        assert found == pytest.approx([line[name] for line in b if name in line], abs=1e-4)
        assert found
    assert [line.get("tokens") for line in a] == [line.get("tokens") for line in b]
    for file in ("bridge.safetensors", "adapter_model.safetensors"):
        assert furthest(one / file, other / file) < 1e-4


def checked(sharding, alone, tiny_model, mixed, tmp_path) -> None:
    """A run, and one that goes on from the middle of it, equal one process; what they trained becomes a model."""
    whole = together(tiny_model, mixed, tmp_path / "whole", f"sharding={sharding}")
    ran(whole, tmp_path / "log")
    same(whole.out, alone)
    for folder in ("checkpoint-4", "checkpoint-6"):
        (whole.out / folder).rename(tmp_path / folder)
    (whole.out / "finished.json").unlink()
    assert "goes on from" in ran(whole, tmp_path / "log")
    same(whole.out, alone)
    assert furthest(whole.out / "checkpoint-4/trained.safetensors", tmp_path / "checkpoint-4/trained.safetensors") == 0
    model = export_model(whole.out, tmp_path / "model")
    assert (model / "model.safetensors").is_file()


@pytest.mark.parametrize("sharding", SHARDINGS[:1])
def test_two_processes_equal_one(sharding, alone, tiny_model, mixed, tmp_path):
    checked(sharding, alone, tiny_model, mixed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS[1:])
def test_two_processes_that_share_the_model_equal_one(sharding, alone, tiny_model, mixed, tmp_path):
    checked(sharding, alone, tiny_model, mixed, tmp_path)


@pytest.mark.slow
def test_one_process_goes_on_from_a_shared_checkpoint(alone, tiny_model, mixed, tmp_path):
    shared = together(tiny_model, mixed, tmp_path / "run", "sharding=fsdp")
    ran(shared, tmp_path / "log")
    for folder in ("checkpoint-4", "checkpoint-6"):
        (shared.out / folder).rename(tmp_path / folder)
    loop.run(tiny_recipe(tiny_model, mixed, shared.out, *SETTINGS, "optim.accumulate=4"))
    same(shared.out, alone)


@pytest.mark.slow
def test_dropout_goes_on_as_if_nothing_had_been(tiny_model, mixed, tmp_path):
    """Both processes and their launcher are killed at once; each has its own random numbers to remember."""
    more = ("lora.dropout=0.1", "eval_steps=0", "optim.max_steps=8")
    whole = together(tiny_model, mixed, tmp_path / "whole", *more)
    cut = together(tiny_model, mixed, tmp_path / "cut", *more)
    ran(whole, tmp_path / "log")
    with (tmp_path / "cut.log").open("wb") as log:
        killed = start(cut, log)
        workers = _after(killed, cut.out / "loss.jsonl", 3)
        for pid in (killed.pid, *workers):
            os.kill(pid, signal.SIGKILL)
        killed.wait()
    ran(cut, tmp_path / "log")
    assert journal(cut.out) == journal(whole.out)
    assert furthest(cut.out / "bridge.safetensors", whole.out / "bridge.safetensors") == 0


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS[:2])
def test_a_killed_process_stops_all(sharding, tiny_model, mixed, tmp_path):
    recipe = together(tiny_model, mixed, tmp_path / "run", f"sharding={sharding}", "optim.max_steps=400")
    with (tmp_path / "log").open("wb") as log:
        run = start(recipe, log)
        os.kill(_after(run, recipe.out / "loss.jsonl", 3)[-1], signal.SIGKILL)
        code = run.wait(timeout=60)
    said = (tmp_path / "log").read_text()
    assert code == 1
    assert "exitcode  : -9" in said.replace("exitcode : ", "exitcode  : ")
    assert not (recipe.out / "finished.json").exists()
    assert not (recipe.out / "bridge.safetensors").exists()
    kept = [path for path in recipe.out.glob("checkpoint-*")]
    assert all((path / "trainer_state.json").is_file() for path in kept)


@pytest.mark.deepspeed
@pytest.mark.parametrize("sharding", ZERO)
def test_deepspeed_equals_one_process(sharding, alone, tiny_model, mixed, tmp_path):
    checked(sharding, alone, tiny_model, mixed, tmp_path)


def _after(run, file: Path, lines: int) -> list[int]:
    """Wait until a run has logged so many lines, and return the ids of its processes."""
    while run.poll() is None and (not file.exists() or len(file.read_bytes().splitlines()) < lines):
        time.sleep(0.01)
    return [int(pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]


@pytest.mark.parametrize("count", [1, 5, 8, 9])
def test_every_row_comes_once_and_every_process_has_as_many_batches(count):
    """As accelerate deals batches to processes: in turns."""
    rows = Rows(list(range(count)), together=2 * 2)
    batches = [[rows[place] for place in range(start, start + 2)] for start in range(0, len(rows), 2)]
    first, second = batches[::2], batches[1::2]
    assert len(first) == len(second)
    assert sorted(row for batch in batches for row in batch if row is not None) == list(range(count))


def test_shipped_shardings_are_named():
    for name in (*SHARDINGS[1:], *ZERO, "zero3_offload"):
        assert config_file(name).parent == CONFIGS
    with pytest.raises(ConfigError, match=r"no such sharding(.|\n)*fsdp, fsdp_grad, zero2"):
        config_file("zero4")
    with pytest.raises(ConfigError, match="no such sharding"):
        config_file("accelerate")


def test_one_process_cannot_share(tiny_model, mixed, tmp_path):
    with pytest.raises(ConfigError, match=r"nothing to share(.|\n)*torchrun"):
        loop.run(tiny_recipe(tiny_model, mixed, tmp_path / "run", "sharding=fsdp"))
