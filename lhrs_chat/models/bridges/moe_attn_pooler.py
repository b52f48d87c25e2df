"""The bridge of LHRS-Bot-Nova (Li et al., 2024): learned queries look at each level, then pass a mixture of experts.

Every level has its own queries; all levels share the layers and never see each other. Queries and patches are normed
before the first layer, the result after the last one. Keys get a 2-D sin-cos position, values do not. An expert is two
linear layers with nothing between them, so for inference it is folded into one matrix without changing the result;
norms of keys and values are folded into the attention's matrices in the same way. What is folded is derived from the
tensors of the state dict, whose names are those of the published bridge, and is never saved.

Config: `queries`, one number per level (Nova: 112, 96, 64); `num_layers` 6; `num_heads` 8; `width` of the queries, the
encoder's where left out; `mlp_ratio` 4; `num_experts` 4, of which each query passes `top_k` 2; `dense` puts one MLP
with GELU in place of the experts, as in Nova's first stage; `fold: false` runs the published steps one by one in
evaluation too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from lhrs_chat.config import from_dict
from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models.bridges import Bridge, BridgeModule, BridgeShape
from lhrs_chat.models.bridges._start import INIT_STD, start_linear

_LEAST_NOISE = 0.01


@dataclass(frozen=True)
class MoeAttnPoolerConfig:
    """The bridge's part of a preset."""

    queries: tuple[int, ...] = (112, 96, 64)
    num_layers: int = 6
    num_heads: int = 8
    width: int | None = None
    mlp_ratio: float = 4.0
    num_experts: int = 4
    top_k: int = 2
    dense: bool = False
    fold: bool = True

    def __post_init__(self) -> None:
        counts = (*self.queries, self.num_layers, self.num_heads)
        if not self.queries or min(counts) < 1:
            raise ConfigError("queries, num_layers and num_heads are positive", found=counts, allowed="1 or more")
        if not 1 <= self.top_k <= self.num_experts:
            raise ConfigError(
                "a query passes some of the experts", found=f"top_k {self.top_k}", allowed=f"1 to {self.num_experts}"
            )


def sincos_2d(rows: int, columns: int, width: int) -> torch.Tensor:
    """Return positions of a grid, row by row: (rows * columns, width), float32.

    The first half of the channels holds the column, the second the row; each half is sines, then cosines, of the index
    times 10000^(-j / (width / 4)), as in He et al., CVPR 2022.
    """
    rates = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64, device="cpu") / (width // 4))

    def waves(count: int) -> torch.Tensor:
        angles = torch.outer(torch.arange(count, dtype=torch.float64, device="cpu"), rates)
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    across = waves(columns)[None].expand(rows, -1, -1)
    down = waves(rows)[:, None].expand(-1, columns, -1)
    return torch.cat([across, down], dim=-1).reshape(rows * columns, width).float()


@lru_cache(maxsize=16)
def _positions(rows: int, columns: int, width: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Keep the positions where and in what they are added."""
    with torch.inference_mode(mode=False):
        return sincos_2d(rows, columns, width).to(device, dtype)


class Gate(nn.Module):
    """Chooses the experts of each query, and how much of each."""

    def __init__(self, width: int, num_experts: int, top_k: int):
        super().__init__()
        self.top_k = top_k
        self.gate_network = nn.Sequential(
            nn.Linear(width, num_experts, bias=False), nn.Tanh(), nn.Linear(num_experts, num_experts, bias=False)
        )
        self.weight_noise = nn.Linear(width, num_experts, bias=False)

    def forward(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the share (B, Q, top_k) and the number (B, Q, top_k) of the experts of `queries`: (B, Q, D).

        In training the choice is disturbed by noise whose size is learned (Shazeer et al., ICLR 2017).
        """
        logits = self.gate_network(queries)
        if self.training:
            spread = functional.softplus(self.weight_noise(queries)) + _LEAST_NOISE
            # drawn with the batch as the faster index, as published: a seed gives the published noise
            drawn = torch.randn_like(logits.transpose(0, 1), memory_format=torch.contiguous_format)
            logits = logits + drawn.transpose(0, 1) * spread
        best, chosen = logits.topk(self.top_k, dim=-1)
        return best.float().softmax(dim=-1).to(queries.dtype), chosen


class Experts(nn.Module):
    """Pairs of linear layers: up from D to the inner width, down again. Both weights are stored (inner, D)."""

    def __init__(self, width: int, inner: int, num_experts: int):
        super().__init__()

        def parameters(*shape: int) -> nn.ParameterList:
            # the start of torch's own linear layers: uniform, as far as one over the root of the width
            return nn.ParameterList(
                nn.Parameter(torch.empty(shape).uniform_(-(width**-0.5), width**-0.5)) for _ in range(num_experts)
            )

        self.weight_up, self.bias_up = parameters(inner, width), parameters(inner)
        self.weight_down, self.bias_down = parameters(inner, width), parameters(width)

    def forward(self, number: int, queries: torch.Tensor) -> torch.Tensor:
        """Pass `queries`: (R, D) through one expert: (R, D)."""
        inner = functional.linear(queries, self.weight_up[number], self.bias_up[number])
        return functional.linear(inner, self.weight_down[number].mT, self.bias_down[number])


class Calculator(nn.Module):
    """Holds the experts under their published name."""

    def __init__(self, width: int, inner: int, num_experts: int):
        super().__init__()
        self.experts = Experts(width, inner, num_experts)


class MoeMlp(nn.Module):
    """Each query passes `top_k` experts; their results are added in the shares of the gate."""

    def __init__(self, width: int, inner: int, num_experts: int, top_k: int):
        super().__init__()
        self.gate = Gate(width, num_experts, top_k)
        self.calculator = Calculator(width, inner, num_experts)

    def forward(self, queries: torch.Tensor, folded: FoldedExperts | None = None) -> torch.Tensor:
        """Pass `queries`: (B, Q, D) through their experts, or through the same experts `folded`."""
        shares, chosen = (each.flatten(0, 1) for each in self.gate(queries))
        rows = queries.flatten(0, 1)
        out = torch.zeros_like(rows)
        for number in range(len(self.calculator.experts.weight_up)):
            where, rank = (chosen == number).nonzero(as_tuple=True)
            if folded is None:
                found = self.calculator.experts(number, rows[where])
            else:
                found = functional.linear(rows[where], folded.weights[number], folded.biases[number])
            out = out.index_add(0, where, (found * shares[where, rank, None]).to(out.dtype))
        return out.view_as(queries)

    def fold(self) -> FoldedExperts:
        """Return every expert as one matrix, made in float32: down (up x + b) + c = (down up) x + (down b + c)."""
        experts = self.calculator.experts
        weights, biases = [], []
        for up, down, inner, outer in zip(
            experts.weight_up, experts.weight_down, experts.bias_up, experts.bias_down, strict=True
        ):
            turned = down.detach().float().mT
            weights.append((turned @ up.detach().float()).to(up.dtype))
            biases.append((turned @ inner.detach().float() + outer.detach().float()).to(up.dtype))
        return FoldedExperts(tuple(weights), tuple(biases))


@dataclass(frozen=True)
class FoldedExperts:
    """Experts as one layer each. `weights`: (D, D), `biases`: (D,), one an expert."""

    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class FoldedLayer:
    """What one layer needs at inference beside its own tensors; H heads of width E = D / H.

    `key`: (H, E, D), with the norm's weight and the attention's scale in it. `value`: (H, E, D), with the norm's weight
    in it; `value_bias`: (D,). The bias of the keys is left out, since it moves all scores of a query alike.
    """

    key: torch.Tensor
    value: torch.Tensor
    value_bias: torch.Tensor
    experts: FoldedExperts | None


class KeyedAttentionLayer(nn.Module):
    """Queries look at keys and take from values, then an MLP or experts; both add to what was there."""

    def __init__(self, width: int, config: MoeAttnPoolerConfig):
        super().__init__()
        inner = int(width * config.mlp_ratio)
        self.ln_1 = nn.LayerNorm(width)
        self.ln_1_kv = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, config.num_heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp: nn.Module = (
            nn.Sequential(OrderedDict(c_fc=nn.Linear(width, inner), gelu=nn.GELU(), c_proj=nn.Linear(inner, width)))
            if config.dense
            else MoeMlp(width, inner, config.num_experts, config.top_k)
        )

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Let `queries`: (B, Q, D) look at `keys`: (B, N, D) and take from `values`: (B, N, D)."""
        asked = self.ln_1(queries)
        queries = queries + self.attn(asked, self.ln_1_kv(keys), self.ln_1_kv(values), need_weights=False)[0]
        out: torch.Tensor = queries + self.mlp(self.ln_2(queries))
        return out

    def fold(self) -> FoldedLayer:
        """Derive what `run_folded` takes, multiplied in float32."""
        heads, width = self.attn.num_heads, self.attn.embed_dim
        _, key, value = (part.detach().float() for part in self.attn.in_proj_weight.chunk(3))
        bias = self.attn.in_proj_bias.detach().float()[2 * width :]
        scale, shift = self.ln_1_kv.weight.detach().float(), self.ln_1_kv.bias.detach().float()
        dtype = self.attn.in_proj_weight.dtype
        return FoldedLayer(
            (key * scale * self.attn.head_dim**-0.5).view(heads, -1, width).to(dtype),
            (value * scale).view(heads, -1, width).to(dtype),
            (value @ shift + bias).to(dtype),
            self.mlp.fold() if isinstance(self.mlp, MoeMlp) else None,
        )

    def run_folded(
        self, queries: torch.Tensor, splits: Sequence[int], sources: Sequence[Source], folded: FoldedLayer
    ) -> torch.Tensor:
        """Do what `forward` does for all levels at once; `queries`: (B, Q, D), `splits` of them for each source."""
        width, heads = self.attn.embed_dim, self.attn.num_heads
        asked = functional.linear(
            self.ln_1(queries), self.attn.in_proj_weight[:width], self.attn.in_proj_bias[:width]
        ).unflatten(-1, (heads, -1))
        seen = [
            _look(part.transpose(1, 2), source, folded).transpose(1, 2).flatten(2)
            for part, source in zip(asked.split(tuple(splits), dim=1), sources, strict=True)
        ]
        queries = queries + self.attn.out_proj(torch.cat(seen, dim=1) + folded.value_bias)
        normed = self.ln_2(queries)
        out: torch.Tensor = queries + (self.mlp(normed) if folded.experts is None else self.mlp(normed, folded.experts))
        return out


@dataclass(frozen=True)
class Source:
    """Keys and values of one level, (B, N, D) each, normed to mean 0 and variance 1: the same for every layer."""

    keys: torch.Tensor
    values: torch.Tensor


def _look(asked: torch.Tensor, source: Source, folded: FoldedLayer) -> torch.Tensor:
    """Attention of `asked`: (B, H, Q, E), without the bias of the values: (B, H, Q, E).

    (q K) x = q (K x): the matrix of the keys is put on the side that takes fewer multiplications, and so is the one of
    the values. With few queries and many patches, these are the queries.
    """
    batch, heads, count, _ = asked.shape
    patches, width = source.keys.shape[1:]
    if patches * (width + count) <= count * (width + heads * patches):
        keys, values = (
            functional.linear(side, weight.flatten(0, 1)).unflatten(-1, (heads, -1)).transpose(1, 2)
            for side, weight in ((source.keys, folded.key), (source.values, folded.value))
        )
        return functional.scaled_dot_product_attention(asked, keys, values, scale=1.0)
    scores = (asked @ folded.key).reshape(batch, heads * count, width) @ source.keys.mT
    taken = scores.softmax(dim=-1) @ source.values
    return taken.view(batch, heads, count, width) @ folded.value.mT


class MoeAttnPooler(BridgeModule):
    """Queries per level, layers shared by the levels, one projection."""

    def __init__(self, config: MoeAttnPoolerConfig, shape: BridgeShape):
        super().__init__()
        if len(config.queries) != len(shape.widths):
            raise ConfigError(
                "every level needs its number of queries", found=config.queries, allowed=f"{len(shape.widths)} numbers"
            )
        if len(set(shape.widths)) != 1:
            raise ConfigError("the levels need one width, since they share the layers", found=shape.widths)
        encoder_width = shape.widths[0]
        width = encoder_width if config.width is None else config.width
        if width % config.num_heads or width % 4:
            raise ConfigError(
                "num_heads and 4, for the positions, divide the width", found=f"{config.num_heads} heads, width {width}"
            )
        self.config = config
        self.grids = shape.grids
        self.num_tokens = sum(config.queries)
        self.query = nn.Parameter(torch.zeros(1, self.num_tokens, width))
        self.in_proj = nn.Linear(encoder_width, width) if encoder_width != width else None
        self.layernorm_query = nn.LayerNorm(width)
        self.layernorm_kv = nn.LayerNorm(width)
        self.layers = nn.ModuleList(KeyedAttentionLayer(width, config) for _ in range(config.num_layers))
        self.layernorm_post = nn.LayerNorm(width)
        self.out_proj = nn.Linear(width, shape.out_width)
        nn.init.trunc_normal_(self.query, std=INIT_STD)
        self.apply(start_linear)
        self._folded: tuple[FoldedLayer, ...] = ()
        self._folded_from: tuple[object, ...] = ()

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Turn `levels`, one (B, N, D) tensor each, into visual tokens (B, K, W), shallow level first."""
        queries = self.layernorm_query(self.query).expand(levels[0].shape[0], -1, -1)
        sources = [self._source(level, grid) for level, grid in zip(levels, self.grids, strict=True)]
        pooled = self._run_folded(queries, sources) if self._may_fold() else self._run(queries, sources)
        out: torch.Tensor = self.out_proj(self.layernorm_post(pooled))
        return out

    def fold(self) -> tuple[FoldedLayer, ...]:
        """Return the folded form of every layer, made anew only where a tensor has changed since.

        `forward` calls it in evaluation; call it before the first image to have the work done.
        """
        stamp = tuple(
            (each.data_ptr(), each.device, 0 if each.is_inference() else each._version)
            for each in self.layers.parameters()
        )
        if stamp != self._folded_from:
            with torch.inference_mode(mode=False), torch.no_grad():
                self._folded = tuple(layer.fold() for layer in self._layers())
            self._folded_from = stamp
        return self._folded

    def train(self, mode: bool = True) -> MoeAttnPooler:
        """Switch to training, which forgets what was folded, or to evaluation."""
        if mode:
            self._folded, self._folded_from = (), ()
        super().train(mode)
        return self

    def _layers(self) -> list[KeyedAttentionLayer]:
        return cast(list[KeyedAttentionLayer], list(self.layers))

    def _may_fold(self) -> bool:
        """Folded matrices carry no gradient to the experts, so they serve where none is asked for."""
        learning = torch.is_grad_enabled() and any(each.requires_grad for each in self.layers.parameters())
        return self.config.fold and not self.training and not learning

    def _source(self, level: torch.Tensor, grid: tuple[int, int]) -> Source:
        """Norm one level, (B, N, D), and add the position to its keys."""
        values = self.layernorm_kv(level if self.in_proj is None else self.in_proj(level))
        return Source(values + _positions(*grid, values.shape[-1], values.device, values.dtype), values)

    def _run(self, queries: torch.Tensor, sources: Sequence[Source]) -> torch.Tensor:
        """Run the published steps: level by level, layer by layer; `queries`: (B, K, D)."""
        pooled = []
        for part, source in zip(queries.split(self.config.queries, dim=1), sources, strict=True):
            for layer in self.layers:
                part = layer(part, source.keys, source.values)
            pooled.append(part)
        return torch.cat(pooled, dim=1)

    def _run_folded(self, queries: torch.Tensor, sources: Sequence[Source]) -> torch.Tensor:
        """Run the folded layers, all levels at once; `queries`: (B, K, D)."""
        normed = [Source(_standardised(source.keys), _standardised(source.values)) for source in sources]
        for layer, folded in zip(self._layers(), self.fold(), strict=True):
            queries = layer.run_folded(queries, self.config.queries, normed, folded)
        return queries


def upcycle(dense: Mapping[str, torch.Tensor], moe: MoeAttnPooler) -> dict[str, torch.Tensor]:
    """Return the state of a dense bridge as one of experts: every expert starts as a copy of the MLP.

    The gates are those of `moe`. The MLP's GELU has no place in an expert, so the bridge says something else until it
    is trained on: this is how Nova's second stage begins.

    Args:
        dense: state dict of a bridge with `dense: true`.
        moe: the bridge that the result is for; it is not changed.

    Raises:
        WeightsError: `dense` is not the state of a dense bridge. What else may be missing, loading finds out.
    """
    state = {name: tensor.detach().clone() for name, tensor in moe.state_dict().items() if ".mlp.gate." in name}
    for name, tensor in dense.items():
        layer, inside, part = name.partition(".mlp.")
        if not inside:
            state[name] = tensor
            continue
        side, _, kind = part.partition(".")
        if side not in ("c_fc", "c_proj"):
            raise WeightsError("only a dense bridge is up-cycled", found=name, allowed="c_fc and c_proj below mlp")
        target = f"{layer}.mlp.calculator.experts.{kind}_{'up' if side == 'c_fc' else 'down'}"
        for number in range(moe.config.num_experts):
            turned = tensor.mT if side == "c_proj" and kind == "weight" else tensor
            state[f"{target}.{number}"] = turned.clone(memory_format=torch.contiguous_format)
    return state


def _standardised(tokens: torch.Tensor) -> torch.Tensor:
    """Bring `tokens`: (B, N, D) to mean 0 and variance 1 along D."""
    return functional.layer_norm(tokens, tokens.shape[-1:])


def build(config: dict[str, Any], shape: BridgeShape) -> MoeAttnPooler:
    """Make the bridge with random weights."""
    return MoeAttnPooler(from_dict(MoeAttnPoolerConfig, config), shape)


BRIDGE = Bridge(build)
