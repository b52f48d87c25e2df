"""How a bridge begins: like the words of the language model, with places, or from a bridge of another form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch.nn import functional

from lhrs_chat.errors import ConfigError
from lhrs_chat.models.bridges import BRIDGES, BridgeShape
from lhrs_chat.models.bridges.moe_attn_pooler import MoeAttnPooler, upcycle
from lhrs_chat.models.strict import load_strictly
from lhrs_chat.models.vlm import LhrsForConditionalGeneration

Form = Literal["dense", "moe"]
_DENSE = ".mlp.c_fc."


def start_like_text(model: LhrsForConditionalGeneration) -> None:
    """Let the bridge begin with tokens of the mean and spread of the language model's own embeddings."""
    table: torch.Tensor = model.get_input_embeddings().weight.detach()  # type: ignore[operator]
    norm: Any = model.bridge.norm
    with torch.no_grad():
        norm.weight.fill_(float((table - table.mean(0)).std()))
        norm.bias.copy_(table.mean(0))


def place_words(model: LhrsForConditionalGeneration, tokenizer: Any, seed: int) -> None:
    """Let each grid token carry where it lies: the words of its row and column, and a direction of its own for each.

    As strong as the tokens themselves: half as strong, the way from a word back to its place was not learned.
    """
    table: torch.Tensor = model.get_input_embeddings().weight.detach()  # type: ignore[operator]
    rows, columns = model.encoder.grids(model.config.image_size_px)[-1]
    generator = torch.Generator().manual_seed(seed)

    def axis(count: int, words: tuple[str, str, str]) -> torch.Tensor:
        said = torch.stack([table[tokenizer(" " + word, add_special_tokens=False).input_ids].mean(0) for word in words])
        said = functional.interpolate((said - table.mean(0)).T[None], size=count, mode="linear", align_corners=True)
        own = torch.randn(count, table.shape[1], generator=generator)
        return functional.normalize(said[0].T, dim=-1) + functional.normalize(own, dim=-1)

    down, across = axis(rows, ("upper", "middle", "lower")), axis(columns, ("left", "centre", "right"))
    places = (down[:, None] + across[None]).reshape(rows * columns, -1)
    strength = float((table - table.mean(0)).std()) / float(places.std())
    position: Any = model.bridge.position
    with torch.no_grad():
        position.copy_(strength * places)


def in_form(settings: Mapping[str, Any], form: Form | None) -> dict[str, Any]:
    """Return a bridge's part of the config in the form that a recipe asks for.

    Raises:
        ConfigError: only `moe_attn_pooler` has two forms.
    """
    if form is None:
        return dict(settings)
    if settings["name"] != "moe_attn_pooler":
        raise ConfigError("only the bridge moe_attn_pooler has two forms", found=f"bridge_form, {settings['name']}")
    return {**settings, "dense": form == "dense"}


def reshape(model: LhrsForConditionalGeneration, form: Form | None) -> None:
    """Bring the bridge of a whole model into the form that a recipe asks for; a dense one is up-cycled.

    Raises:
        ConfigError: experts cannot become one MLP.
    """
    settings = in_form(model.config.bridge, form)
    if settings.get("dense", False) == model.config.bridge.get("dense", False):
        return
    encoder = model.encoder
    shape = BridgeShape(encoder.widths, encoder.grids(model.config.image_size_px), model.config.text_config.hidden_size)
    state = model.bridge.state_dict()
    own = {name: value for name, value in settings.items() if name != "name"}
    model.bridge = BRIDGES.get(settings["name"]).build(own, shape)
    model.config.bridge = settings
    fill_bridge(model, state, "the model that the recipe begins from")


def fill_bridge(model: LhrsForConditionalGeneration, state: Mapping[str, torch.Tensor], what: str) -> None:
    """Load a bridge that was trained before; a dense one is up-cycled where the model has experts.

    Up-cycling drops the GELU between the two layers, as published: an expert has none. See `upcycle`.

    Raises:
        ConfigError: the state has experts and the model has none.
        WeightsError: a tensor is missing, unexpected or wrongly shaped.
    """
    bridge: Any = model.bridge
    if isinstance(bridge, MoeAttnPooler):
        dense = any(_DENSE in name for name in state)
        if bridge.config.dense and not dense:
            raise ConfigError(
                "a bridge with experts cannot become dense", found=what, allowed="bridge_form: moe", next_step=""
            )
        if dense and not bridge.config.dense:
            state = upcycle(state, bridge)
    load_strictly(bridge, state, what)
