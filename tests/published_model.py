"""LHRS-Bot and LHRS-Bot-Nova step by step from their published tensors: slow, and no line of it is the library's.

Shapes: B batch, N patches of a level, K visual tokens, D width of the bridge, E experts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from tests.checkpoints import Bridge

Tensors = Mapping[str, torch.Tensor]
EPS = 1e-5


def taps_of(system: str, config: Mapping[str, Any], state: Tensors, taps: tuple[int, ...], pixels: torch.Tensor) -> Any:
    """Tapped `hidden_states` of transformers' own tower, the class token of LHRS-Bot left out: (B, N, D) each."""
    nova = system == "lhrs-bot-nova"
    layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layers."))
    sizes: dict[str, Any] = {**config, "num_hidden_layers": layers}
    if nova:
        tower = SiglipVisionModel(SiglipVisionConfig(**sizes, vision_use_head="head.probe" in state))
    else:
        tower = CLIPVisionModel(CLIPVisionConfig(**sizes))
    tower.load_state_dict(dict(state))
    states = tower.eval()(pixels, output_hidden_states=True).hidden_states
    return [states[tap][:, 0 if nova else 1 :] for tap in taps]


def visual_tokens(system: str, state: Tensors, sizes: Bridge, levels: list[torch.Tensor]) -> torch.Tensor:
    """The bridge, level by level and layer by layer: (B, K, width of the language model)."""
    nova = system == "lhrs-bot-nova"
    pooled = []
    for query, level in zip(state["query"].split(sizes.queries, dim=1), levels, strict=True):
        tokens = linear(state, "in_proj", level) if "in_proj.weight" in state else level
        x = query.repeat(len(tokens), 1, 1)
        if nova:
            x, values = norm(state, "layernorm_query", x), norm(state, "layernorm_kv", tokens)
            keys = values + positions(math.isqrt(tokens.shape[1]), tokens.shape[2])
        else:
            keys = values = torch.cat([x, tokens], dim=1)
        for i in range(sizes.layers):
            name = f"layers.{i}"
            k, v = (norm(state, f"{name}.ln_1_kv", side) for side in (keys, values))
            x = x + attention(state, f"{name}.attn", norm(state, f"{name}.ln_1", x), k, v, sizes.heads)
            h = norm(state, f"{name}.ln_2", x)
            x = x + (experts(state, f"{name}.mlp", h, sizes) if sizes.experts else mlp(state, f"{name}.mlp", h))
        pooled.append(x)
    whole = torch.cat(pooled, dim=1)
    return linear(state, "out_proj", norm(state, "layernorm_post", whole) if nova else whole)


def positions(side: int, width: int) -> torch.Tensor:
    """Channel by channel: sines and cosines of the column, then of the row, of every patch: (side * side, width)."""
    quarter = width // 4
    rows = []
    for patch in range(side * side):
        angles = [[place / 10000 ** (j / quarter) for j in range(quarter)] for place in (patch % side, patch // side)]
        rows.append([wave(angle) for half in angles for wave in (math.sin, math.cos) for angle in half])
    return torch.tensor(rows)


def norm(state: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + EPS).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(state: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def mlp(state: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return linear(state, f"{name}.c_proj", functional.gelu(linear(state, f"{name}.c_fc", x)))


def attention(
    state: Tensors, name: str, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, heads: int
) -> torch.Tensor:
    weights, biases = state[f"{name}.in_proj_weight"].chunk(3), state[f"{name}.in_proj_bias"].chunk(3)
    q, k, v = (
        (side @ weight.T + bias).unflatten(-1, (heads, -1)).transpose(1, 2)
        for side, weight, bias in zip((x, keys, values), weights, biases, strict=True)
    )
    scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
    return linear(state, f"{name}.out_proj", (scores @ v).transpose(1, 2).flatten(2))


def experts(state: Tensors, name: str, x: torch.Tensor, sizes: Bridge) -> torch.Tensor:
    """All experts of all queries, unfolded; those that the gate leaves out get no share."""
    hidden = torch.tanh(x @ state[f"{name}.gate.gate_network.0.weight"].T)
    logits = hidden @ state[f"{name}.gate.gate_network.2.weight"].T
    least = logits.sort(dim=-1, descending=True).values[..., sizes.top_k - 1, None]
    shares = logits.masked_fill(logits < least, -math.inf).softmax(dim=-1)
    out = torch.zeros_like(x)
    for e in range(sizes.experts):
        up, bias_up, down, bias_down = (
            state[f"{name}.calculator.experts.{part}.{e}"]
            for part in ("weight_up", "bias_up", "weight_down", "bias_down")
        )
        out += shares[..., e, None] * ((x @ up.T + bias_up) @ down + bias_down)
    return out


def merged(llm: Tensors, lora: Tensors, scale: float) -> dict[str, torch.Tensor]:
    """The language model with its LoRA merged, and the tables of the adapter in place of its own; float32."""
    state = {name: tensor.float() for name, tensor in llm.items()}
    for name, tensor in lora.items():
        inner = name.removeprefix("base_model.model.")
        if inner.endswith(".lora_A.weight"):
            other = lora[name.replace(".lora_A.", ".lora_B.")].float()
            state[inner.replace(".lora_A.", ".")] += scale * (other @ tensor.float())
        elif ".lora_" not in inner and inner in state:
            state[inner] = tensor.float()
    return state


def logits(
    config: Mapping[str, Any], state: Tensors, ids: torch.Tensor, image_id: int, visual: torch.Tensor
) -> torch.Tensor:
    """Logits of transformers' own Llama, with `visual`: (1, K, D) where `ids`: (1, T) hold `image_id`."""
    rows = len(state["model.embed_tokens.weight"])
    llm = LlamaForCausalLM(LlamaConfig(**{**config, "vocab_size": rows}))
    with torch.no_grad():
        for name, parameter in llm.named_parameters():
            parameter.copy_(state[name])
    places = (ids[0] == image_id).nonzero()[:, 0]
    embedded = state["model.embed_tokens.weight"][ids.masked_fill(ids == image_id, 0)]
    embedded[0, places] = visual[0]
    found: torch.Tensor = llm.eval()(inputs_embeds=embedded).logits
    return found
