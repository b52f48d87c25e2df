from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lhrs_chat.errors import ConfigError
from lhrs_chat.models.bridges import BRIDGES, BridgeModule, BridgeShape

DATA = Path(__file__).parents[1] / "data"
ONE = BridgeShape(widths=(12,), grids=((4, 6),), out_width=10)
TWO = BridgeShape(widths=(12, 8), grids=((4, 6), (4, 6)), out_width=10)
UNEVEN = BridgeShape(widths=(12, 12), grids=((4, 6), (2, 3)), out_width=10)
POOLER = {"queries": [5, 3], "num_layers": 2, "num_heads": 4}

# name, config, shape, number of visual tokens
CASES: list[tuple[str, dict[str, Any], BridgeShape, int]] = [
    ("linear", {}, ONE, 24),
    ("linear", {}, TWO, 24),
    ("mlp", {}, ONE, 24),
    ("mlp", {"depth": 3}, TWO, 24),
    ("pixel_shuffle", {}, ONE, 6),
    ("pixel_shuffle", {"factor": 1}, TWO, 24),
    ("attn_pooler", POOLER, UNEVEN, 8),
    ("attn_pooler", {**POOLER, "width": 16}, UNEVEN, 8),
    ("moe_attn_pooler", POOLER, UNEVEN, 8),
    ("moe_attn_pooler", {**POOLER, "width": 16, "num_experts": 3}, UNEVEN, 8),
    ("moe_attn_pooler", {**POOLER, "dense": True}, UNEVEN, 8),
]
ALL = pytest.mark.parametrize(("name", "config", "shape", "tokens"), CASES)


def levels_of(shape: BridgeShape, batch: int) -> list[torch.Tensor]:
    return [
        torch.randn(batch, rows * columns, width)
        for width, (rows, columns) in zip(shape.widths, shape.grids, strict=True)
    ]


@ALL
def test_bridge_gives_its_tokens_alone_and_in_a_batch(
    name: str, config: dict[str, Any], shape: BridgeShape, tokens: int
) -> None:
    bridge = BRIDGES.get(name).build(config, shape).eval()
    levels = levels_of(shape, 3)
    with torch.no_grad():
        together = bridge(levels)
        alone = bridge([level[1:2] for level in levels])
    assert bridge.num_tokens == tokens
    assert together.shape == (3, tokens, 10)
    torch.testing.assert_close(alone, together[1:2], atol=1e-6, rtol=0)
    assert not torch.allclose(together[0], together[1])


@ALL
def test_gradient_reaches_every_parameter_and_every_level(
    name: str, config: dict[str, Any], shape: BridgeShape, tokens: int
) -> None:
    bridge = BRIDGES.get(name).build(config, shape)
    levels = [level.requires_grad_() for level in levels_of(shape, 2)]
    bridge(levels).pow(2).sum().backward()
    for label, parameter in bridge.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, label
    assert all(level.grad is not None and bool((level.grad.abs().sum(-1) > 0).all()) for level in levels)


@ALL
def test_bridge_survives_saving(
    name: str, config: dict[str, Any], shape: BridgeShape, tokens: int, tmp_path: Path
) -> None:
    first = BRIDGES.get(name).build(config, shape).eval()
    save_file(first.state_dict(), tmp_path / "bridge.safetensors")
    second = BRIDGES.get(name).build(config, shape).eval()
    second.load_state_dict(load_file(tmp_path / "bridge.safetensors"), strict=True)
    levels = levels_of(shape, 1)
    with torch.no_grad():
        assert torch.equal(first(levels), second(levels))


def test_mlp_is_the_published_formula() -> None:
    bridge = BRIDGES.get("mlp").build({}, ONE)
    (level,) = levels_of(ONE, 1)
    state = bridge.state_dict()
    hidden = level @ state["layers.0.weight"].T + state["layers.0.bias"]
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(bridge([level]), hidden @ state["layers.2.weight"].T + state["layers.2.bias"])


def test_pixel_shuffle_joins_the_four_neighbours() -> None:
    bridge = BRIDGES.get("pixel_shuffle").build({}, BridgeShape((1,), ((4, 6),), 4))
    bridge.layers = torch.nn.Identity()
    tokens = bridge([torch.arange(24.0).reshape(1, 24, 1)])[0]
    assert tokens.tolist() == [
        [0, 1, 6, 7],
        [2, 3, 8, 9],
        [4, 5, 10, 11],
        [12, 13, 18, 19],
        [14, 15, 20, 21],
        [16, 17, 22, 23],
    ]


def recorded(prefix: str, change: dict[str, Any]) -> tuple[BridgeModule, dict[str, torch.Tensor]]:
    """The bridge of the recording `prefix`, with its weights."""
    tensors = load_file(DATA / "lhrs_bridge_tiny.safetensors")
    made = json.loads((DATA / "lhrs_bridge_tiny.json").read_text())["constructor"]
    config = {
        "queries": made["stage_num"],
        "num_layers": made["num_layers"],
        "num_heads": made["num_attention_heads"],
        "width": made["hidden_size"],
        **change,
    }
    encoder_width = tensors[f"{prefix}input"].shape[-1] if f"{prefix}input" in tensors else made["encoder_hidden_size"]
    shape = BridgeShape((encoder_width,) * 3, ((3, 3),) * 3, made["output_size"])
    bridge = BRIDGES.get("attn_pooler").build(config, shape)
    state = {key.removeprefix(f"{prefix}sd."): v for key, v in tensors.items() if key.startswith(f"{prefix}sd.")}
    bridge.load_state_dict(state, strict=True)
    return bridge, tensors


@pytest.mark.parametrize(
    ("prefix", "change"), [("", {}), ("inproj.", {}), ("int_stage.", {"queries": [4, 4, 4]})], ids=str
)
def test_attn_pooler_equals_the_recording(prefix: str, change: dict[str, Any]) -> None:
    bridge, tensors = recorded(prefix, change)
    pixels = tensors[f"{prefix}input"] if f"{prefix}input" in tensors else tensors["input"]
    for mode in (bridge.eval(), bridge.train()):
        with torch.no_grad():
            torch.testing.assert_close(mode(pixels.split(9, dim=1)), tensors[f"{prefix}output"], atol=1e-5, rtol=0)


def test_attn_pooler_gradients_equal_the_recording() -> None:
    bridge, tensors = recorded("", {})
    tokens = tensors["input"].clone().requires_grad_()
    (bridge(tokens.split(9, dim=1)) * tensors["grad.probe"]).sum().backward()
    found = {f"grad.sd.{name}": parameter.grad for name, parameter in bridge.named_parameters()}
    found["grad.input"] = tokens.grad
    wanted = {name for name in tensors if name.startswith("grad.") and name != "grad.probe"}
    assert set(found) == wanted
    for name in wanted:
        scale = float(tensors[name].abs().max())
        torch.testing.assert_close(found[name], tensors[name], atol=1e-5 * max(scale, 1.0), rtol=0, msg=name)


def test_attn_pooler_of_the_published_size_has_the_published_parameters() -> None:
    shape = BridgeShape((1024,) * 3, ((16, 16),) * 3, 4096)
    with torch.device("meta"):
        bridge = BRIDGES.get("attn_pooler").build({}, shape)
    state = bridge.state_dict()
    assert bridge.num_tokens == 144
    assert state["query"].shape == (1, 144, 1024)
    assert state["layers.5.attn.in_proj_weight"].shape == (3072, 1024)
    assert state["layers.0.mlp.c_fc.weight"].shape == (4096, 1024)
    assert state["out_proj.weight"].shape == (4096, 1024)
    assert len(state) == 6 * 14 + 3


@pytest.mark.parametrize(
    ("name", "config", "shape", "says"),
    [
        ("linear", {"depth": 2}, ONE, "depth"),
        ("linear", {}, UNEVEN, "attn_pooler"),
        ("mlp", {"depth": 0}, ONE, "1 or more"),
        ("mlp", {}, UNEVEN, "attn_pooler"),
        ("pixel_shuffle", {"factor": 3}, ONE, r"\[1, 2\]"),
        ("pixel_shuffle", {"factor": 0}, ONE, "1 or more"),
        ("attn_pooler", {**POOLER, "queries": [5]}, UNEVEN, "2 numbers"),
        ("attn_pooler", {**POOLER, "queries": []}, UNEVEN, "1 or more"),
        ("attn_pooler", {**POOLER, "num_heads": 5}, UNEVEN, "5 heads, width 12"),
        ("attn_pooler", POOLER, TWO, "width"),
        ("moe_attn_pooler", {**POOLER, "queries": [5]}, UNEVEN, "2 numbers"),
        ("moe_attn_pooler", {**POOLER, "queries": []}, UNEVEN, "1 or more"),
        ("moe_attn_pooler", {**POOLER, "num_heads": 5}, UNEVEN, "5 heads, width 12"),
        ("moe_attn_pooler", {**POOLER, "num_heads": 2, "width": 18}, UNEVEN, "2 heads, width 18"),
        ("moe_attn_pooler", {**POOLER, "top_k": 5}, UNEVEN, "1 to 4"),
        ("moe_attn_pooler", {**POOLER, "top_k": 0}, UNEVEN, "1 to 4"),
        ("moe_attn_pooler", {**POOLER, "experts": 4}, UNEVEN, "experts"),
        ("moe_attn_pooler", POOLER, TWO, "width"),
    ],
)
def test_bridges_refuse_what_does_not_fit(name: str, config: dict[str, Any], shape: BridgeShape, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        BRIDGES.get(name).build(config, shape)
