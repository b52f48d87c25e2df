from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models.encoders import ENCODERS, efficientnet_lite

DATA = Path(__file__).parents[1] / "data"

VIT = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 28, "patch_size": 7}
TOWERS: dict[str, tuple[str, type, type, dict[str, Any], int]] = {
    "clip": ("clip", CLIPVisionModel, CLIPVisionConfig, {**VIT, "intermediate_size": 64}, 1),
    "siglip": ("siglip", SiglipVisionModel, SiglipVisionConfig, {**VIT, "intermediate_size": 64}, 0),
    "dinov2": ("dinov2", Dinov2Model, Dinov2Config, {**VIT, "mlp_ratio": 2}, 1),
    "registers": (
        "dinov2",
        Dinov2WithRegistersModel,
        Dinov2WithRegistersConfig,
        {**VIT, "mlp_ratio": 2, "num_register_tokens": 3},
        4,
    ),
}


def published_state(variant: str) -> dict[str, torch.Tensor]:
    """Random weights under the published names, which are spelled out here a second time."""
    config = {"variant": variant, "head": True, "classifier": True}
    state = {}
    for name, value in efficientnet_lite.build(config).state_dict().items():
        for ours, theirs in (
            ("stem.conv", "_conv_stem"),
            ("stem.norm", "_bn0"),
            ("head.conv", "_conv_head"),
            ("head.norm", "_bn1"),
            ("classifier", "_fc"),
            ("blocks", "_blocks"),
            ("expand.conv", "_expand_conv"),
            ("expand.norm", "_bn0"),
            ("depthwise.conv", "_depthwise_conv"),
            ("depthwise.norm", "_bn1"),
            ("project.conv", "_project_conv"),
            ("project.norm", "_bn2"),
        ):
            name = name.replace(ours, theirs)
        state[name] = torch.randn(value.shape) if value.is_floating_point() else value
    return state


def built(kind: str, **extra: Any) -> tuple[Any, Any]:
    """Our encoder and transformers' own model with the same weights."""
    name, model_cls, config_cls, vision, _ = TOWERS[kind]
    config = config_cls(**vision)
    theirs = model_cls(config).eval()
    ours = ENCODERS.get(name).build({"vision_config": config.to_dict(), **extra}).eval()
    ours.tower.load_state_dict(theirs.state_dict(), strict=extra.get("layers") is None)
    return ours, theirs


@pytest.mark.parametrize("kind", TOWERS)
def test_tower_levels_are_the_hidden_states_of_transformers(kind: str) -> None:
    extra = TOWERS[kind][-1]
    ours, theirs = built(kind, taps=[0, 1, 3, 4])
    pixels = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        levels = ours(pixels)
        states = theirs(pixels, output_hidden_states=True).hidden_states
    assert ours.widths == (32,) * 4 and ours.grids(28) == ((4, 4),) * 4
    for level, tap in zip(levels, (0, 1, 3, 4), strict=True):
        assert level.shape == (2, 16, 32)
        torch.testing.assert_close(level, states[tap][:, extra:], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", TOWERS)
def test_tower_gives_a_single_image_what_it_gives_it_in_a_batch(kind: str) -> None:
    ours, _ = built(kind, taps=[-2])
    pixels = torch.randn(3, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(ours(pixels[1:2])[0], ours(pixels)[0][1:2], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2"])
def test_tower_takes_other_sizes_and_fills_its_grid(kind: str) -> None:
    ours, _ = built(kind, taps=[2])
    with torch.no_grad():
        (level,) = ours(torch.randn(1, 3, 42, 42))
    assert ours.grids(42) == ((6, 6),) and level.shape == (1, 36, 32)


def test_cut_tower_equals_the_same_layers_of_the_whole_one() -> None:
    ours, theirs = built("siglip", taps=[1, 3], layers=3)
    pixels = torch.randn(1, 3, 28, 28)
    assert len(ours.tower.encoder.layers) == 3
    with torch.no_grad():
        states = theirs(pixels, output_hidden_states=True).hidden_states
        for level, tap in zip(ours(pixels), (1, 3), strict=True):
            torch.testing.assert_close(level, states[tap], atol=1e-6, rtol=0)


def test_negative_taps_count_from_the_last_kept_layer() -> None:
    assert built("clip", taps=[-1, -2])[0].taps == (4, 3)
    assert built("siglip", taps=[-1], layers=3)[0].taps == (3,)


@pytest.mark.parametrize(("kind", "tokens"), [("clip", 17), ("dinov2", 17), ("registers", 20)])
def test_class_token_is_kept_where_asked(kind: str, tokens: int) -> None:
    ours, theirs = built(kind, taps=[4], drop_cls=False)
    pixels = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        (level,) = ours(pixels)
        wanted = theirs(pixels, output_hidden_states=True).hidden_states[4]
    assert ours.grids(28) == ((1, tokens),)
    torch.testing.assert_close(level, wanted, atol=1e-6, rtol=0)


def test_layers_behind_the_last_tap_do_not_run() -> None:
    ours, _ = built("clip", taps=[2])
    ran = []
    for index, layer in enumerate(ours.layers()):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    with torch.no_grad():
        ours(torch.randn(1, 3, 28, 28))
    assert ran == [0, 1]


def test_vision_config_may_lie_inside_a_whole_config() -> None:
    vision = CLIPVisionConfig(**TOWERS["clip"][3]).to_dict()
    encoder = ENCODERS.get("clip").build(
        {"vision_config": {"model_type": "clip", "vision_config": vision}, "taps": [1]}
    )
    assert encoder.widths == (32,)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("clip", {"taps": [5]}, "0 to 4"),
        ("clip", {"taps": []}, "0 to 4"),
        ("clip", {"layers": 5}, "1 to 4"),
        ("siglip", {"layers": 0}, "1 to 4"),
        ("siglip", {}, "siglip_vision_model"),
        ("siglip", {"drop_cls": True}, "drop_cls"),
    ],
)
def test_wrong_tower_configs_are_refused(name: str, change: dict[str, Any], says: str) -> None:
    vision = CLIPVisionConfig(**TOWERS["clip"][3]).to_dict()
    if change and name == "siglip":
        vision["model_type"] = "siglip_vision_model"
    with pytest.raises(ConfigError, match=says):
        ENCODERS.get(name).build({"vision_config": vision, "taps": [1], **change})


@pytest.mark.parametrize(
    ("variant", "widths"),
    [
        ("lite0", (24, 40, 112, 320)),
        ("lite1", (24, 40, 112, 320)),
        ("lite2", (24, 48, 120, 352)),
        ("lite3", (32, 48, 136, 384)),
        ("lite4", (32, 56, 160, 448)),
    ],
)
def test_efficientnet_levels(variant: str, widths: tuple[int, ...]) -> None:
    encoder = ENCODERS.get("efficientnet_lite").build(
        {"variant": variant, "taps": ["stride4", "stride8", "stride16", "stride32"]}
    )
    encoder.eval()
    assert encoder.widths == widths
    with torch.no_grad():
        levels = encoder(torch.randn(2, 3, 64, 64))
    for level, width, (rows, columns), side in zip(levels, widths, encoder.grids(64), (16, 8, 4, 2), strict=True):
        assert (rows, columns) == (side, side)
        assert level.shape == (2, side * side, width)


@pytest.mark.parametrize("size_px", [65, 79, 96])
def test_efficientnet_grids_at_odd_sizes(size_px: int) -> None:
    encoder = efficientnet_lite.build({}).eval()
    with torch.no_grad():
        levels = encoder(torch.randn(1, 3, size_px, size_px))
    assert [level.shape[1] for level in levels] == [rows * columns for rows, columns in encoder.grids(size_px)]


def test_efficientnet_head_taps_in_the_order_asked_for() -> None:
    encoder = efficientnet_lite.build({"taps": ["stride32", "stride16"], "head": True}).eval()
    with torch.no_grad():
        levels = encoder(torch.randn(1, 3, 96, 64))
    assert encoder.widths == (1280, 112)
    assert [tuple(level.shape) for level in levels] == [(1, 6, 1280), (1, 24, 112)]


def test_efficientnet_levels_are_row_major() -> None:
    encoder = efficientnet_lite.build({"taps": ["stride8"]}).eval()
    plain = torch.zeros(1, 3, 128, 128)
    spotted = plain.clone()
    spotted[:, :, 32:40, 96:104] = 3.0  # centre at row 4.5, column 12.5 of 16
    with torch.no_grad():
        change = (encoder(spotted)[0] - encoder(plain)[0]).abs().sum(-1)[0]
    row, column = divmod(int(change.argmax()), 16)
    assert abs(row - 4.5) <= 1.5 and abs(column - 12.5) <= 1.5


def test_efficientnet_pads_as_tensorflow_does() -> None:
    conv = efficientnet_lite.ConvNorm(1, 1, 3, 2).eval()
    torch.nn.init.ones_(conv.conv.weight)
    pixels = torch.zeros(1, 1, 4, 4)
    pixels[0, 0, 0, 0] = 1.0
    pixels[0, 0, 3, 3] = 2.0
    out = conv(pixels)[0, 0] * (1 + 1e-3) ** 0.5
    torch.testing.assert_close(out, torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    assert conv(torch.zeros(1, 1, 5, 5)).shape[-2:] == (3, 3)


@pytest.mark.parametrize("variant", ["lite0", "lite4"])
def test_weight_map_translates_every_name(variant: str) -> None:
    state = published_state(variant)
    for config in (
        {"variant": variant},
        {"variant": variant, "head": True},
        {"variant": variant, "head": True, "classifier": True},
    ):
        encoder = efficientnet_lite.build(config)
        encoder.load_state_dict(efficientnet_lite.weight_map(state, config), strict=True)
    assert torch.equal(encoder.stem.conv.weight, state["_conv_stem.weight"])
    assert torch.equal(encoder.blocks[3].depthwise.norm.running_var, state["_blocks.3._bn1.running_var"])
    assert torch.equal(encoder.blocks[1].expand.norm.bias, state["_blocks.1._bn0.bias"])
    assert torch.equal(encoder.head.norm.weight, state["_bn1.weight"])
    assert torch.equal(encoder.classifier.bias, state["_fc.bias"])


def test_weight_map_lists_every_fault() -> None:
    state = published_state("lite0")
    del state["_fc.bias"]
    state["_blocks.99._bn0.bias"] = torch.zeros(3)
    state["_conv_stem.weight"] = torch.zeros(32, 4, 3, 3)
    with pytest.raises(WeightsError) as caught:
        efficientnet_lite.weight_map(state, {})
    for part in ("missing _fc.bias", "unexpected _blocks.99._bn0.bias", "_conv_stem.weight is (32, 4, 3, 3)"):
        assert part in str(caught.value)


def test_weight_map_refuses_another_variant() -> None:
    with pytest.raises(WeightsError, match="EfficientNet-lite2"):
        efficientnet_lite.weight_map(published_state("lite0"), {"variant": "lite2"})


def test_load_published_reads_tensors_and_nothing_else(tmp_path: Path) -> None:
    good, code, text, other = (tmp_path / name for name in ("good.pth", "code.pth", "text.pth", "other.pth"))
    torch.save({"a": torch.ones(2)}, good)
    torch.save({"a": Path("x")}, code)
    text.write_text("<html>")
    torch.save([1, 2], other)
    assert torch.equal(efficientnet_lite.load_published(good)["a"], torch.ones(2))
    for path in (code, text, other, tmp_path / "missing.pth"):
        with pytest.raises(WeightsError, match=path.name):
            efficientnet_lite.load_published(path)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"variant": "b0"}, "lite0"),
        ({"taps": ["stride2"]}, "stride32"),
        ({"taps": []}, "stride32"),
        ({"classifier": True}, "head"),
        ({"tap": ["stride8"]}, "taps"),
    ],
)
def test_wrong_efficientnet_configs_are_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        efficientnet_lite.build(config)


def test_classify_needs_the_classifier() -> None:
    with pytest.raises(ConfigError, match="classifier"):
        efficientnet_lite.build({"head": True}).classify(torch.zeros(1, 3, 32, 32))
