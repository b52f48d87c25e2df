"""Training speed: our loop at nanoVLM's shapes, and packing against transformers.Trainer with padded batches.

Weights and tokens are random, pictures lie in memory: what is timed is the step, from rows to new weights.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

from bench.row import Row
from lhrs_chat.models import LhrsConfig, LhrsForConditionalGeneration
from lhrs_chat.presets import load_preset
from training.arguments import arguments
from training.attention import prepare_layers
from training.conversations import RowPack, lay
from training.labels import IGNORED, Labelled
from training.meter import Meter, measure_gemm
from training.objectives._next_token import TextObjective
from training.optimizer import choose
from training.order import batch_lengths, packed, waste
from training.parallel import Replicas
from training.recipe import DataPart, OptimPart, Recipe
from training.rows import Row as TrainingRow
from training.stage import TOLD, Stage, Told
from training.trainer import StageTrainer

# SmolLM2-135M, and the sizes of its nanoVLM of 222 M parameters: huggingface/nanoVLM, tag v0.1, models/config.py.
SMOLLM2_135M = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
}
SIGLIP_B_16_224 = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
}
NANOVLM_TOKENS = 128  # 49 visual tokens (14 x 14 patches, pixel shuffle 2) and lm_max_length = 128 - 49
NANOVLM_LEARNED = 40  # of them: an answer is about half of the text
NANOVLM_BATCH = 4  # its default, 256, does not fit a CPU
NANOVLM_STEPS = 4
MIXED_LAYERS = 3  # of SmolLM2's 30, so that two cores can run it; the layers are of its size
MIXED_ROWS = 40
MIXED_BATCH = 8
PACK_TOKENS = 2048
ROUNDS = 3
FASTER, PADDING = 1.5, 0.05
IMAGE_ID = SMOLLM2_135M["vocab_size"]
PAD_ID = 0


@dataclass(frozen=True)
class Timed:
    """Tokens of a run's steps behind the first one, and the seconds that they took."""

    tokens: int
    seconds: float
    padding: float

    @property
    def speed(self) -> float:
        """Tokens a second, without padding."""
        return self.tokens / self.seconds


class Clock(TrainerCallback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note it."""
        self.ends.append(time.perf_counter())


def model_of(encoder: dict[str, Any], bridge: dict[str, Any], layers: int) -> LhrsForConditionalGeneration:
    """Make a model with random weights around SmolLM2's layers."""
    torch.manual_seed(0)
    text = AutoConfig.for_model("llama", **{**SMOLLM2_135M, "num_hidden_layers": layers})
    return LhrsForConditionalGeneration(LhrsConfig(encoder, bridge, text.to_dict(), 224, int(IMAGE_ID)))


def rows_of(lengths: Sequence[int], learned: Sequence[int], visual: int) -> list[TrainingRow]:
    """Make rows that begin with a picture, with random text behind it; the last tokens are learned."""
    rng = np.random.default_rng(0)
    rows = []
    for number, (length, last) in enumerate(zip(lengths, learned, strict=True)):
        ids = rng.integers(1, int(IMAGE_ID), length).astype(np.int32)
        ids[1 : 1 + visual] = IMAGE_ID
        rows.append(
            TrainingRow(str(number), "made", "made", (str(number),), Labelled(ids, np.arange(length) >= length - last))
        )
    return rows


def stage_of(model: LhrsForConditionalGeneration, packs: Sequence[RowPack], rates: Mapping[str, float]) -> Stage:
    """Make a stage of the objective `chat` whose pictures lie in memory."""
    objective = TextObjective(model)
    chosen = choose(objective, rates)
    pixels = _pixels(sum(len(pack.rows) for pack in packs))

    def batch(drawn: Sequence[RowPack]) -> dict[str, Any]:
        rows = [row for pack in drawn for row in pack.rows]
        made = vars(lay(drawn, PAD_ID)).copy()
        items = sum(int(row.tokens.learned[1:].sum()) for row in rows)
        told = Told(
            tuple(row.id for row in rows),
            torch.zeros(items, dtype=torch.long),
            sum(map(len, rows)),
            made["input_ids"].numel(),
            len(rows),
        )
        return {**made, "pixel_values": pixels[[int(row.id) for row in rows]], TOLD: told}

    return Stage(objective, packs, (), batch, ("made",), lambda out: None, chosen, visual=model.bridge)


def _pixels(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def ours(
    model: LhrsForConditionalGeneration, packs: Sequence[RowPack], rates: dict[str, float], batch: int, pack: int
) -> Timed:
    """Time our loop on packs."""
    with tempfile.TemporaryDirectory(prefix="lhrs-bench-") as folder:
        recipe = Recipe(
            preset="lhrs-nano",
            objective="chat",
            data=DataPart(Path(folder), pack_tokens=pack),
            optim=OptimPart(lr=rates, batch_images=batch, schedule="constant"),
            out=Path(folder) / "out",
            log_steps=10**6,
        )
        stage = stage_of(model, packs, rates)
        prepare_layers(model, recipe)
        settings = replace(arguments(recipe), save_strategy="no", report_to=[])
        clock = Clock()
        trainer = StageTrainer(recipe, stage, Replicas(stage.module), settings, Meter(stage.sources, 0, 0), {}, [clock])
        trainer.train()
    steps = batch_lengths(packs, batch)
    return Timed(sum(map(sum, steps[1:])), clock.ends[-1] - clock.ends[0], waste(steps))


def padded(model: LhrsForConditionalGeneration, rows: Sequence[TrainingRow], batch: int) -> Timed:
    """Time transformers' own Trainer on the same rows, side by side and padded to the longest of a batch."""
    pixels = _pixels(len(rows))
    lengths: list[list[int]] = []

    def collate(drawn: Sequence[TrainingRow]) -> dict[str, torch.Tensor]:
        lengths.append([len(row) for row in drawn])
        ids = [torch.from_numpy(row.tokens.ids.astype("int64")) for row in drawn]
        labels = [torch.from_numpy(row.tokens.labels.astype("int64")) for row in drawn]
        return {
            "input_ids": pad_sequence(ids, True, PAD_ID),
            "labels": pad_sequence(labels, True, IGNORED),
            "attention_mask": pad_sequence([torch.ones_like(each) for each in ids], True, 0),
            "pixel_values": pixels[[int(row.id) for row in drawn]],
        }

    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="lhrs-bench-") as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            save_strategy="no",
            logging_steps=10**6,
            report_to=[],
            remove_unused_columns=False,
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
        )
        trainer = Trainer(model, settings, collate, list(rows), callbacks=[clock])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return Timed(sum(map(sum, lengths[1:])), clock.ends[-1] - clock.ends[0], waste(lengths))


def step_flops(model: LhrsForConditionalGeneration, tokens: int, learned: int, pictures: int, patches: int) -> float:
    """Return what a step computes where everything is trained: 6 for each weight and each token that passes it."""
    text: Any = model.language_model
    body = sum(tensor.numel() for name, tensor in text.model.layers.named_parameters() if tensor.dim() == 2)
    tower = sum(tensor.numel() for tensor in model.encoder.parameters() if tensor.dim() > 1)
    head = text.lm_head.weight.numel()
    return float(6 * (body * tokens + head * learned + tower * pictures * patches))


def measure_nanovlm() -> Row:
    """Tokens a second at nanoVLM's shapes, everything trained, as its loop does; whoever has it can compare."""
    tower = {"name": "siglip", "vision_config": SIGLIP_B_16_224, "taps": [12]}
    model = model_of(tower, {"name": "pixel_shuffle", "factor": 2}, int(SMOLLM2_135M["num_hidden_layers"]))
    visual = model.bridge.num_tokens
    count = NANOVLM_BATCH * (NANOVLM_STEPS + 1)
    rows = rows_of([NANOVLM_TOKENS] * count, [NANOVLM_LEARNED] * count, visual)
    rates = {"encoder": 1e-4, "language_model": 1e-4, "bridge": 2e-3}
    peak = measure_gemm("cpu", torch.float32)
    timed = ours(model, [RowPack((row,)) for row in rows], rates, NANOVLM_BATCH, 0)
    peak = max(peak, measure_gemm("cpu", torch.float32))
    tokens = NANOVLM_BATCH * NANOVLM_TOKENS
    flops = step_flops(model, tokens, NANOVLM_BATCH * NANOVLM_LEARNED, NANOVLM_BATCH, 196)
    floor = tokens / (flops / peak)
    size = sum(tensor.numel() for tensor in model.parameters()) / 1e6
    return Row(
        what=f"training, nanoVLM's shapes ({size:.0f} M parameters, all trained)",
        ours=f"{timed.speed:.1f} tokens/s",
        against=f"{floor:.1f} tokens/s (its products of matrices at the GEMM peak)",
        ratio=timed.speed / floor,
        target="-",
        passed=None,
        remark=f"float32, {torch.get_num_threads()} threads, batches of {NANOVLM_BATCH} rows of {NANOVLM_TOKENS} "
        f"tokens, {visual} of them visual, {NANOVLM_LEARNED} learned; {flops / tokens / 1e9:.2f} GFLOP a token, GEMM "
        f"peak {peak / 1e9:.0f} GFLOP/s: the ratio is the MFU",
    )


def measure_packing() -> list[Row]:
    """Rows of mixed length: our loop with packs against transformers.Trainer with padded batches, taken in turns."""
    nano = load_preset("lhrs-nano")
    make: Callable[[], LhrsForConditionalGeneration] = lambda: model_of(nano.encoder, nano.bridge, MIXED_LAYERS)  # noqa: E731
    visual = make().bridge.num_tokens
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(5.3, 0.8, MIXED_ROWS), visual + 20, PACK_TOKENS).astype(int).tolist()
    rows = rows_of(lengths, [max(8, (length - visual) // 2) for length in lengths], visual)
    packs = [RowPack(pack) for pack in packed(rows, PACK_TOKENS, np.random.default_rng(0))]
    rates = {"bridge": 1e-4, "language_model": 1e-4}
    pairs = list(_pairs(make, rows, packs, rates))
    ratio = statistics.median(one.speed / other.speed for one, other in pairs)
    one, other = pairs[-1]
    mean = np.mean(lengths)
    remark = (
        f"median of {len(pairs)} pairs taken in turns, float32, {torch.get_num_threads()} threads; {MIXED_ROWS} rows "
        f"of {min(lengths)} to {max(lengths)} tokens, {mean:.0f} on average, {visual} of them visual; the encoder and "
        f"bridge of lhrs-nano, {MIXED_LAYERS} layers of SmolLM2-135M; packs of {PACK_TOKENS} tokens against batches of "
        f"{MIXED_BATCH}"
    )
    return [
        Row(
            what="training on rows of mixed length",
            ours=f"{one.speed:.0f} tokens/s (packs)",
            against=f"{other.speed:.0f} tokens/s (transformers.Trainer, padded)",
            ratio=ratio,
            target=f"at least {FASTER}x faster",
            passed=ratio >= FASTER,
            remark=remark,
        ),
        Row(
            what="places of a batch that are padding",
            ours=f"{one.padding:.1%} (packs)",
            against=f"{other.padding:.1%} (padded)",
            ratio=None,
            target=f"under {PADDING:.0%}",
            passed=one.padding < PADDING,
        ),
    ]


def _pairs(
    make: Callable[[], LhrsForConditionalGeneration],
    rows: Sequence[TrainingRow],
    packs: Sequence[RowPack],
    rates: dict[str, float],
) -> Iterator[tuple[Timed, Timed]]:
    for _ in range(ROUNDS):
        one = ours(make(), packs, rates, 1, PACK_TOKENS)
        other = make()
        other.encoder.requires_grad_(False)
        yield one, padded(other, rows, MIXED_BATCH)


def measure(shapes: Sequence[str]) -> list[Row]:
    """The lines of some shapes: `nanovlm`, `mixed`."""
    transformers_logging.set_verbosity_error()
    rows = []
    if "nanovlm" in shapes:
        rows.append(measure_nanovlm())
    if "mixed" in shapes:
        rows += measure_packing()
    return rows
