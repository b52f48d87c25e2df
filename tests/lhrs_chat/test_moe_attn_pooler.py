"""The folded form of Nova's bridge: when it is used, that it follows the weights, and that it is never saved."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from lhrs_chat.errors import WeightsError
from lhrs_chat.models import LhrsConfig, LhrsForConditionalGeneration
from lhrs_chat.models.bridges import BridgeShape
from lhrs_chat.models.bridges.moe_attn_pooler import MoeAttnPooler, build, upcycle
from lhrs_chat.models.strict import load_strictly

# Few queries on many patches, and many on few: the matrices of the attention go to the queries, and to the patches.
GRIDS = ((12, 9), (2, 3))
SHAPE = BridgeShape((24, 24), GRIDS, 10)
QUERIES = [4, 30]


def bridge(**change: Any) -> MoeAttnPooler:
    torch.manual_seed(3)
    made = build({"queries": QUERIES, "num_layers": 3, "num_heads": 2, **change}, SHAPE)
    with torch.no_grad():
        for parameter in made.parameters():  # norms and biases too, so that nothing drops out of the folding
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return made.eval()


def levels(batch: int = 2) -> list[torch.Tensor]:
    return [torch.randn(batch, rows * columns, 24) for rows, columns in GRIDS]


def unfolded(made: MoeAttnPooler, given: list[torch.Tensor]) -> torch.Tensor:
    plain = bridge(**{**vars(made.config), "queries": list(made.config.queries), "fold": False})
    load_strictly(plain, made.state_dict(), "the same bridge")
    return plain.to(made.query.dtype)(given)


@pytest.mark.parametrize("dense", [False, True], ids=["experts", "dense"])
@torch.no_grad()
def test_folded_equals_unfolded(dense: bool) -> None:
    made, given = bridge(dense=dense), levels()
    out = made(given)
    torch.testing.assert_close(out, unfolded(made, given), atol=1e-4, rtol=1e-4)
    double = copy.deepcopy(made).double()
    doubles = [level.double() for level in given]
    torch.testing.assert_close(double(doubles).float(), out, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_folded_experts_equal_their_two_layers() -> None:
    layer = bridge().layers[1].mlp
    rows = torch.randn(7, 24)
    for number, (weight, bias) in enumerate(zip(layer.fold().weights, layer.fold().biases, strict=True)):
        wanted = layer.calculator.experts(number, rows)
        torch.testing.assert_close(rows @ weight.T + bias, wanted, atol=1e-4, rtol=1e-4)


def test_folding_leaves_the_state_dict_alone() -> None:
    made = bridge()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    made.fold()
    after = made.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(name for name, _ in made.named_buffers())


@pytest.mark.parametrize("change", ["in place", "load", "dtype", "swap"])
@torch.no_grad()
def test_changed_weights_are_folded_anew(change: str) -> None:
    made, given = bridge(), levels()
    made(given)
    if change == "in place":
        made.layers[2].mlp.calculator.experts.weight_up[1].mul_(2)
    elif change == "load":
        made.load_state_dict({name: tensor * 1.1 for name, tensor in made.state_dict().items()})
    elif change == "dtype":
        made, given = made.double(), [level.double() for level in given]
    else:
        weight = made.layers[0].attn.in_proj_weight
        made.layers[0].attn.in_proj_weight = torch.nn.Parameter(weight.flip(1).contiguous())
    torch.testing.assert_close(made(given), unfolded(made, given), atol=1e-4, rtol=1e-4)


def test_folded_once_for_many_pictures() -> None:
    made = bridge()
    first = made.fold()
    with torch.inference_mode():
        made(levels())
    assert made.fold() is first
    made.train()
    assert made.fold() is not first


def test_gradients_reach_the_experts_in_evaluation_too() -> None:
    made = bridge()
    made(levels()).sum().backward()
    up = made.layers[0].mlp.calculator.experts.weight_up
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in up)


def test_a_frozen_folded_bridge_passes_gradients_through() -> None:
    made = bridge().requires_grad_(False)
    with torch.inference_mode():
        made(levels())  # what was folded here must serve outside too
    given = [level.requires_grad_() for level in levels()]
    made(given).sum().backward()
    found = [level.grad for level in given]
    again = [level.detach().clone().requires_grad_() for level in given]
    unfolded(made, again).sum().backward()
    for ours, level in zip(found, again, strict=True):
        torch.testing.assert_close(ours, level.grad, atol=1e-3, rtol=1e-3)


def test_noise_is_for_training_only() -> None:
    made, given = bridge(), levels()
    with torch.no_grad():
        assert torch.equal(made(given), made(given))
        made.train()
        assert not torch.equal(made(given), made(given))


def test_upcycled_bridge_starts_from_the_dense_one() -> None:
    dense, moe = bridge(dense=True), bridge(num_experts=3, top_k=1)
    load_strictly(moe, upcycle(dense.state_dict(), moe), "the up-cycled bridge")
    rows = torch.randn(5, 24)
    mlp, experts = dense.layers[0].mlp, moe.layers[0].mlp.calculator.experts
    with torch.no_grad():
        for number in range(3):
            torch.testing.assert_close(experts(number, rows), mlp.c_proj(mlp.c_fc(rows)), atol=1e-5, rtol=1e-5)
    with pytest.raises(WeightsError, match="only a dense bridge"):
        upcycle(moe.state_dict(), moe)


def test_model_with_the_bridge_survives_saving(tmp_path: Any) -> None:
    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    llm = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 48, "vocab_size": 20}
    llm |= {"num_attention_heads": 4, "num_key_value_heads": 4}
    config = LhrsConfig(
        {"name": "siglip", "vision_config": {**tower, "image_size": 44, "patch_size": 14}, "taps": [1, 2], "layers": 2},
        {"name": "moe_attn_pooler", "queries": [3, 2], "num_layers": 2, "num_heads": 2},
        AutoConfig.for_model("llama", **llm).to_dict(),
        44,
        20,
    )
    model = LhrsForConditionalGeneration(config).eval()
    pixels = torch.randn(1, 3, 44, 44)
    with torch.inference_mode():
        before = model.visual_tokens(pixels)
        model.save_pretrained(tmp_path)
        again = LhrsForConditionalGeneration.from_pretrained(tmp_path).eval()
        torch.testing.assert_close(again.visual_tokens(pixels), before)
