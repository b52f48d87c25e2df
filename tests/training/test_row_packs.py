"""Rows behind one another in one pack: the loss and gradients of separate rows, and hardly any padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lhrs_chat.errors import ConfigError, DataError
from tests.training.systems import tiny_recipe
from training import loop
from training.conversations import RowPack, lay
from training.journal import read_journal
from training.objectives import OBJECTIVES
from training.order import batch_lengths, packed, waste
from training.recipe import load_recipe
from training.stage import TOLD


def stage_of(tiny_model, mixed, tmp_path, *more):
    return OBJECTIVES.get("chat").begin(tiny_recipe(tiny_model, mixed, tmp_path / "run", *more))


def losses(stage, rows):
    batch = stage.batch(rows)
    told = batch.pop(TOLD)
    found = stage.module(**batch)
    assert len(found) == len(told.sources)
    return found


def test_packed_rows_have_the_loss_and_gradient_of_separate_ones(tiny_model, mixed, tmp_path):
    """Several pictures in a pack, rows without one, and packs of different lengths in one batch."""
    stage = stage_of(tiny_model, mixed, tmp_path, "data.pack_tokens=1024")
    stage.module.eval()
    packs = stage.rows[:3]
    assert all(len(pack.rows) > 1 for pack in packs)
    assert len({len(pack) for pack in packs}) > 1
    assert max(sum(len(row.files) for row in pack.rows) for pack in packs) > 2
    together = losses(stage, packs)
    alone = torch.cat([losses(stage, [RowPack((row,))]) for pack in packs for row in pack.rows])
    assert len(together) == len(alone) > 100
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert float(together.mean()) == pytest.approx(float(alone.mean()), abs=1e-5)
    trained = [tensor for tensor in stage.module.parameters() if tensor.requires_grad]
    one = torch.autograd.grad(together.mean(), trained)
    other = torch.autograd.grad(alone.mean(), trained)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_a_row_does_not_see_the_row_before_it(tiny_model, mixed, tmp_path):
    stage = stage_of(tiny_model, mixed, tmp_path)
    stage.module.eval()
    blind = [pack.rows[0] for pack in stage.rows if not pack.rows[0].files][:3]

    def last(first):
        batch = vars(lay([RowPack((first, blind[2]))], 2))
        return stage.module(**batch)[-int(blind[2].tokens.learned.sum()) :]

    torch.testing.assert_close(last(blind[0]), last(blind[1]), atol=1e-5, rtol=0)


def test_positions_begin_anew_and_first_tokens_are_not_learned(tiny_model, mixed, tmp_path):
    stage = stage_of(tiny_model, mixed, tmp_path)
    one, two = (pack.rows[0] for pack in stage.rows[:2])
    made = lay([RowPack((one, two)), RowPack((one,))], 2)
    assert made.position_ids[0].tolist() == [*range(len(one)), *range(len(two))]
    assert made.position_ids[1].tolist() == [*range(len(one)), *range(len(two))]
    assert made.labels[0, len(one)] == -100
    assert (made.labels[1, len(one) :] == -100).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_mixed_set_is_packed_almost_without_padding(seed):
    rng = np.random.default_rng(seed)
    rows = [range(int(size)) for size in np.clip(rng.lognormal(5.5, 0.8, 3000), 20, 2048)]
    packs = packed(rows, 4096, np.random.default_rng(0))
    assert sorted(len(row) for pack in packs for row in pack) == sorted(map(len, rows))
    lengths = batch_lengths(packs, 2, lambda pack: sum(map(len, pack)))
    assert max(map(max, lengths)) <= 4096
    assert waste(lengths) < 0.05
    padded = batch_lengths(rows, 16)
    assert waste(padded) > 0.4


def test_a_packed_run_learns_and_tells_its_padding(tiny_model, mixed, tmp_path):
    more = ("data.pack_tokens=1536", "optim.batch_images=1", "optim.max_steps=8")
    entries = read_journal(loop.run(tiny_recipe(tiny_model, mixed, tmp_path / "run", *more)))
    assert entries[-1]["loss"] < 0.8 * entries[0]["loss"]
    assert all(entry["padding"] == 0 for entry in entries)


def test_what_cannot_be_packed_is_refused(tiny_model, mixed, tmp_path):
    with pytest.raises(DataError, match=r"longer than a pack(.|\n)*data.pack_tokens"):
        stage_of(tiny_model, mixed, tmp_path, "data.pack_tokens=50")
    with pytest.raises(ConfigError, match="longer than the context"):
        stage_of(tiny_model, mixed, tmp_path, "data.pack_tokens=5000")
    with pytest.raises(ConfigError, match="packed by length"):
        load_recipe("nano_instruct", ["data.pack_tokens=1024"])
