"""Packed questions give the loss and the gradients of separate ones."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests import tiny
from training.labels import IGNORED
from training.objectives._next_token import TextObjective
from training.packing import Branch, Pack, collate


@pytest.fixture(scope="module")
def objective():
    model, processor = tiny.model_and_processor()
    torch.manual_seed(0)
    lora = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    model.language_model = get_peft_model(model.language_model, lora)
    return TextObjective(model), processor


def packs_of(processor):
    image = (processor.image_token_id,) * processor.num_image_tokens
    branches = (
        Branch((5, 6, 7), (8, 2)),
        Branch((9, 10), (11, 12, 13, 2)),
        Branch((14, 15, 16, 17, 18), (19, 2)),
    )
    return [Pack("a", (1, 3, *image), branches), Pack("b", (1, *image), branches[:1])]


def loss_of(objective, levels, packs):
    batch = collate(packs, 2)
    loss = objective(levels=levels, **vars(batch)).mean()
    return loss, int((batch.labels != IGNORED).sum())


def test_packed_equals_separate(objective):
    module, processor = objective
    pixels = torch.randn(2, 3, tiny.SIZE_PX, tiny.SIZE_PX)
    levels = module.model.encoder(pixels)
    packs = packs_of(processor)
    packed, count = loss_of(module, levels, packs)
    total = 0.0
    seen = 0
    for row, pack in enumerate(packs):
        for branch in pack.branches:
            alone = Pack(pack.file, pack.prefix, (branch,))
            loss, learned = loss_of(module, [level[row : row + 1] for level in levels], [alone])
            total = total + loss * learned
            seen += learned
    assert seen == count == 10
    assert packed.item() == pytest.approx((total / seen).item(), abs=1e-5)
    trained = [p for p in module.parameters() if p.requires_grad]
    one = torch.autograd.grad(packed, trained, retain_graph=True, allow_unused=True)
    other = torch.autograd.grad(total / seen, trained, allow_unused=True)
    compared = [(a, b) for a, b in zip(one, other, strict=True) if a is not None]
    assert compared
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in compared)


def test_branches_do_not_see_each_other(objective):
    module, processor = objective
    levels = module.model.encoder(torch.randn(1, 3, tiny.SIZE_PX, tiny.SIZE_PX))
    pack = packs_of(processor)[0]
    last = pack.branches[-1]
    other = Pack("a", pack.prefix, (Branch((20, 21, 22), (23, 2)), last))
    same = Pack("a", pack.prefix, (Branch((30, 31, 32), (33, 2)), last))

    def last_loss(rows):
        batch = collate([rows], 2)
        batch.labels[:, : len(rows) - len(last.answer)] = IGNORED
        return module(levels=levels, **vars(batch)).mean().item()

    assert last_loss(other) == pytest.approx(last_loss(same), abs=1e-6)


def test_padding_changes_nothing(objective):
    module, processor = objective
    packs = packs_of(processor)
    levels = module.model.encoder(torch.randn(2, 3, tiny.SIZE_PX, tiny.SIZE_PX))
    batch = collate(packs, 2)
    wider = collate(packs, 7)
    assert not torch.equal(batch.input_ids, wider.input_ids)
    assert module(levels=levels, **vars(batch)).mean().item() == pytest.approx(
        module(levels=levels, **vars(wider)).mean().item(), abs=1e-6
    )


def test_padding_to_a_multiple_changes_nothing(objective):
    module, processor = objective
    levels = module.model.encoder(torch.randn(2, 3, tiny.SIZE_PX, tiny.SIZE_PX))
    packs = packs_of(processor)
    long = collate(packs, 2, 64)
    assert long.input_ids.shape[1] % 64 == 0 != collate(packs, 2).input_ids.shape[1] % 64
    loss, _ = loss_of(module, levels, packs)
    assert module(levels=levels, **vars(long)).mean().item() == pytest.approx(loss.item(), abs=1e-6)
