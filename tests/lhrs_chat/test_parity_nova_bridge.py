"""Nova's bridge against recordings of the original code in a tiny random size: output, steps, gradients, noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lhrs_chat.models.bridges import BRIDGES, BridgeShape
from lhrs_chat.models.bridges.moe_attn_pooler import MoeAttnPooler, sincos_2d, upcycle
from lhrs_chat.models.strict import load_strictly

DATA = Path(__file__).parents[1] / "data"
BRIDGE = load_file(DATA / "nova_bridge_tiny.safetensors")
BRIDGE_META = json.loads((DATA / "nova_bridge_tiny.json").read_text())
MADE = BRIDGE_META["constructor"]


def below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def assert_near(found: torch.Tensor, wanted: torch.Tensor, most: float) -> None:
    torch.testing.assert_close(found, wanted, atol=most, rtol=0)


def nova_bridge(prefix: str = "", **change: Any) -> MoeAttnPooler:
    config = {
        "queries": MADE["stage_num"],
        "num_layers": MADE["num_layers"],
        "num_heads": MADE["num_attention_heads"],
        "width": MADE["hidden_size"],
        "num_experts": MADE["num_experts"],
        "top_k": MADE["num_selects"],
        "dense": prefix == "dense.",
        **change,
    }
    levels = len(MADE["split_part"])
    shape = BridgeShape(
        (bridge_input(prefix).shape[-1],) * levels, (tuple(MADE["num_patches"]),) * levels, MADE["output_size"]
    )
    bridge = BRIDGES.get("moe_attn_pooler").build(config, shape)
    load_strictly(bridge, below(BRIDGE, f"{prefix}sd."), prefix)
    assert isinstance(bridge, MoeAttnPooler)
    return bridge.eval()


def bridge_input(prefix: str = "") -> torch.Tensor:
    return BRIDGE.get(f"{prefix}input", BRIDGE["input"])


def levels_of(tokens: torch.Tensor) -> Sequence[torch.Tensor]:
    return tokens.split(MADE["split_part"], dim=1)


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "unfolded"])
@pytest.mark.parametrize("prefix", ["", "dense.", "upcycled.", "inproj."])
@torch.no_grad()
def test_nova_bridge_output(prefix: str, fold: bool) -> None:
    bridge = nova_bridge(prefix, fold=fold)
    assert_near(bridge(levels_of(bridge_input(prefix))), BRIDGE[f"{prefix}output"], 1e-5)


@torch.no_grad()
def test_nova_bridge_alone_equals_its_row_of_a_batch() -> None:
    assert_near(nova_bridge()(levels_of(BRIDGE["input"][:1])), BRIDGE["output_first_sample_alone"], 1e-5)


def test_nova_positions() -> None:
    wanted = BRIDGE["pos_embed_3x3"]
    assert_near(sincos_2d(*wanted.shape), wanted.flatten(0, 1), 1e-6)


@torch.no_grad()
def test_nova_experts_and_blocks_step_by_step() -> None:
    bridge = nova_bridge(fold=False)
    seen: list[dict[str, torch.Tensor]] = []
    for layer in bridge.layers:
        layer.mlp.gate.register_forward_hook(
            lambda module, given, made: seen.append({"topk_scores": made[0], "topk_indices": made[1]})
        )
        layer.mlp.register_forward_hook(
            lambda module, given, made: seen[-1].update({"moe_in": given[0], "moe_out": made})
        )
        layer.register_forward_hook(lambda module, given, made: seen[-1].update({"block_out": made}))
    bridge(levels_of(BRIDGE["input"]))
    trace = below(BRIDGE, "trace.")
    places = [f"level{level}.layer{layer}." for level in range(3) for layer in range(len(bridge.layers))]
    assert len(seen) == len(places)
    assert {name.rpartition(".")[0] + "." for name in trace} == set(places)
    for place, found in zip(places, seen, strict=True):
        for name, wanted in below(trace, place).items():
            rows = found[name].transpose(0, 1).reshape(wanted.shape)  # recorded with the queries first
            assert_near(rows, wanted, 1e-5)


def test_nova_gradients() -> None:
    bridge = nova_bridge()
    tokens = BRIDGE["input"].clone().requires_grad_()
    (bridge(levels_of(tokens)) * BRIDGE["grad.probe"]).sum().backward()
    found = {f"grad.sd.{name}": parameter.grad for name, parameter in bridge.named_parameters()}
    found["grad.input"] = tokens.grad
    without = {f"grad.sd.{name}" for name in BRIDGE_META["params_without_grad_in_eval"]}
    assert {name for name, gradient in found.items() if gradient is None} == without
    wanted = {f"grad.{name}": tensor for name, tensor in below(BRIDGE, "grad.").items() if name != "probe"}
    assert found.keys() - without == wanted.keys()
    for name, gradient in wanted.items():
        assert_near(found[name], gradient, 1e-5 * max(1.0, float(gradient.abs().max())))


@torch.no_grad()
def test_nova_gate_noise_in_training_is_the_published_one() -> None:
    bridge = nova_bridge().train()
    torch.manual_seed(1234)
    assert_near(bridge(levels_of(BRIDGE["input"])), BRIDGE["train_mode_output_seed1234"], 1e-5)


def test_nova_upcycling() -> None:
    made = upcycle(below(BRIDGE, "dense.sd."), nova_bridge())
    wanted = below(BRIDGE, "upcycled.sd.")
    assert made.keys() == wanted.keys()
    assert all(torch.equal(made[name], wanted[name]) for name in wanted)
    assert all(tensor.is_contiguous() for tensor in made.values())
    experts = [tensor.data_ptr() for name, tensor in made.items() if ".experts." in name]
    assert len(set(experts)) == len(experts)


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "unfolded"])
@pytest.mark.parametrize(("dtype", "most"), [("fp16", 1e-2), ("bf16", 8e-2)])
@torch.no_grad()
def test_nova_bridge_in_half_precision(dtype: str, most: float, fold: bool) -> None:
    recorded = BRIDGE[f"output_{dtype}"]
    bridge = nova_bridge(fold=fold).to(recorded.dtype)
    out = bridge(levels_of(BRIDGE["input"].to(recorded.dtype)))
    assert out.dtype == recorded.dtype
    assert_near(out.float(), BRIDGE["output"], most)
    assert_near(out.float(), recorded.float(), most)
