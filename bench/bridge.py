"""The folded bridge of LHRS-Bot-Nova against its published steps, on random weights of the published size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from bench.row import Row
from lhrs_chat.models.bridges import BridgeShape
from lhrs_chat.models.bridges.moe_attn_pooler import MoeAttnPooler, MoeMlp, build
from lhrs_chat.presets import load_preset

PRESET = "lhrs-bot-nova"
WIDTH = 1152
GRID = (27, 27)
OUT_WIDTH = 4096
PAIRS = 7
FFN_TARGET = 3.0
BRIDGE_TARGET = 2.0
NEAR = 1e-4


def random_bridge(out_width: int, **more: bool) -> MoeAttnPooler:
    """Make the bridge in its published size, for a language model of `out_width`, in evaluation mode."""
    settings = {key: value for key, value in load_preset(PRESET).bridge.items() if key != "name"}
    levels = len(settings["queries"])
    shape = BridgeShape((WIDTH,) * levels, (GRID,) * levels, out_width)
    torch.manual_seed(0)
    return build({**settings, **more}, shape).requires_grad_(False).eval()


def bridges() -> tuple[MoeAttnPooler, MoeAttnPooler]:
    """Make the bridge twice with one set of random weights, folded and unfolded."""
    folded = random_bridge(OUT_WIDTH)
    with torch.device("meta"):
        unfolded = random_bridge(OUT_WIDTH, fold=False)
    unfolded.load_state_dict(folded.state_dict(), assign=True)
    return folded, unfolded


def compare(fast: Callable[[], torch.Tensor], slow: Callable[[], torch.Tensor]) -> tuple[float, float, float, float]:
    """Run both in turns: median seconds of each, median of the ratios of the pairs, largest difference of results."""
    apart = float((fast() - slow()).abs().max())
    seconds: dict[str, list[float]] = {"fast": [], "slow": []}
    ways = {"fast": fast, "slow": slow}
    for turn in range(PAIRS):
        for name in ("fast", "slow")[:: 1 if turn % 2 else -1]:
            before = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - before)
    ratio = statistics.median(b / a for a, b in zip(seconds["fast"], seconds["slow"], strict=True))
    return statistics.median(seconds["fast"]), statistics.median(seconds["slow"]), ratio, apart


def row(what: str, target: float, found: tuple[float, float, float, float], remark: str) -> Row:
    """Write one comparison as a line of the table."""
    fast, slow, ratio, apart = found
    return Row(
        what=what,
        ours=f"{fast * 1000:.0f} ms (folded)",
        against=f"{slow * 1000:.0f} ms (published steps)",
        ratio=ratio,
        target=f"at least {target:g}x faster",
        passed=ratio >= target and apart <= NEAR,
        remark=f"median of {PAIRS} pairs, {torch.get_num_threads()} threads, float32; {remark}; largest difference "
        f"{apart:.1e}",
    )


@torch.inference_mode()
def measure() -> list[Row]:
    """Compare the experts of one layer, on the queries of all levels, and the whole bridge, on one picture."""
    folded, unfolded = bridges()
    before = time.perf_counter()
    layers = folded.fold()
    took = time.perf_counter() - before
    generator = torch.Generator().manual_seed(1)
    queries = torch.randn(1, folded.num_tokens, WIDTH, generator=generator)
    levels = [torch.randn(1, GRID[0] * GRID[1], WIDTH, generator=generator) for _ in folded.config.queries]
    experts = [layer.mlp for layer in unfolded.layers if isinstance(layer.mlp, MoeMlp)]

    def ffn(fold: bool) -> torch.Tensor:
        """Pass the queries through the experts of every layer."""
        made = [mlp(queries, layer.experts if fold else None) for mlp, layer in zip(experts, layers, strict=True)]
        return torch.stack(made)

    picture = f"1 picture, {folded.num_tokens} queries, width {WIDTH}"
    return [
        row(
            "experts of Nova's bridge",
            FFN_TARGET,
            compare(partial(ffn, True), partial(ffn, False)),
            f"{len(layers)} layers, {picture}",
        ),
        row(
            "Nova's whole bridge",
            BRIDGE_TARGET,
            compare(lambda: folded(levels), lambda: unfolded(levels)),
            f"{picture}; folding once took {took:.1f} s",
        ),
    ]
